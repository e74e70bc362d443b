"""GPM: gradient projection memory. Saha et al., ICLR 2021, arXiv:2103.09762 (baseline B9)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax import combine, curvature, objectives
from unlearnjax.core import Method, ModelFn, Verbs, check, descend, fold, view_model
from unlearnjax.core.tree import paths
from unlearnjax.methods.continual.parts import chosen, learner, open_head
from unlearnjax.methods.parts import layer_inputs


def gpm(
  *,
  threshold: float = 0.97,
  rise: float = 0.003,
  sampled: int = 300,
  sites: Mapping[str, str] | None = None,
  unprojected: str | None = None,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Steps that are orthogonal, layer by layer, to the inputs that earlier tasks send through the layer.

  dW - M M^T dW, M an orthonormal basis of each layer's inputs: after a task, the directions of the inputs of `sampled`
  of its examples that M lacks are added until M holds the share `threshold + rise * t` of their energy. Biases and the
  parameters of norms are frozen after the first task. The layer of all heads is projected like any other by default.

  Args:
    threshold: share of the energy, in (0, 1].
    rise: by which the share grows from task to task; it stays below 1.
    sampled: examples of a task that are looked at.
    sites: {kernel path: site of its input}; None takes all kernels of a model that knows its sites. Convolutions are
      seen at stride 1 with padding "SAME".
    unprojected: regular expression of kernels that are left to the gradient, as the paper leaves the heads where every
      task has outputs of its own: r"(^|/)head/".
    tx: plain SGD, 0.1 by default.
    epochs: passes over each task.
    batch_size: rows of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Raises:
    ValueError: a threshold out of range, or a model whose sites are not known.

  Example:
    >>> gpm(threshold=0.95).name
    'gpm'
  """
  share = energy_share(threshold, rise)
  check.positive("sampled", sampled)
  tx = optax.sgd(0.1) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    inputs = projected(layer_inputs(fn) if sites is None else sites, unprojected)
    covariance = curvature.input_covariance(fn, inputs)
    step = descend(
      {"current": objectives.cross_entropy(open_head(fn))},
      tx,
      combine=combine.gpm(basis="basis"),
      state_from="current",
    )

    def zeros(model, key):
      rows = lambda p: int(np.prod(p.shape[:-1])) if p.ndim > 1 else 1
      return {"basis": jax.tree.map(lambda p: jnp.zeros((rows(p), rows(p)), jnp.float32), model.params)}

    def after(state, refs, task, run):
      def bases():
        found = fold(covariance, view_model(fn, state), chosen(task, sampled, state.rng), run, name="inputs")
        old, structure = jax.tree.flatten(refs["basis"])
        new = [np.ones_like(m) if m.size == 1 else m for m in map(np.asarray, old)]  # frozen: their input is always 1
        for i, path in enumerate(paths(refs["basis"])):
          if path in found:
            new[i] = grown(np.asarray(old[i]), np.asarray(found[path]), share(task.index))
        return jax.tree.unflatten(structure, [jnp.asarray(m, jnp.float32) for m in new])

      return state, {**refs, "basis": run.once("basis", bases)}

    return learner(fn, step, epochs=epochs, batch_size=batch_size, every=every, refs=zeros, after=after)

  return Method("gpm", bind)


def energy_share(threshold: float, rise: float) -> Callable[[int], float]:
  """Task number -> the share of the energy of its inputs that is kept: threshold + rise * t, at most 1.

  Raises:
    ValueError: a threshold outside (0, 1], a negative rise.

  Example:
    >>> [round(energy_share(0.97, 0.01)(t), 2) for t in (0, 1, 5)]
    [0.97, 0.98, 1.0]
  """
  check.fraction("threshold", threshold)
  check.positive("rise", rise, zero=True)
  return lambda task: min(threshold + rise * task, 1.0)


def projected(sites: Mapping[str, str], unprojected: str | None) -> dict[str, str]:
  """The sites of the kernels whose path the regular expression does not find.

  Example:
    >>> projected({"body/kernel": "body:in", "head/kernel": "head:in"}, "^head")
    {'body/kernel': 'body:in'}
  """
  return {path: site for path, site in sites.items() if not (unprojected and re.search(unprojected, path))}


def grown(basis: np.ndarray, covariance: np.ndarray, share: float) -> np.ndarray:
  """The basis with the fewest further directions so that it holds `share` of the trace of the covariance.

  Args:
    basis: f[d, d], orthonormal rows, then rows of zeros.
    covariance: f[d, d], sum of x x^T.
    share: in (0, 1].

  Returns:
    f[d, d] of the same form.

  Example:
    >>> basis = np.zeros((3, 3))
    >>> basis[0, 0] = 1.0
    >>> np.abs(grown(basis, np.diag([5.0, 4.0, 1.0]), 0.9)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
  """
  kept = np.asarray(basis[np.abs(basis).sum(1) > 0], np.float64)
  covariance = np.asarray(covariance, np.float64)
  total = np.trace(covariance)
  if total <= 0 or len(kept) == len(basis):
    return basis
  off = np.eye(len(basis)) - kept.T @ kept
  values, vectors = np.linalg.eigh(off @ covariance @ off)
  values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1].T
  have = np.trace(kept @ covariance @ kept.T)
  reached = (have + np.concatenate([[0.0], np.cumsum(values)])) / total
  more = min(int(np.searchsorted(reached, share - 1e-9)), len(basis) - len(kept))
  found = np.concatenate([kept, vectors[:more]])
  found = np.linalg.qr(found.T)[0].T if len(found) else found
  return np.concatenate([found, np.zeros((len(basis) - len(found), len(basis)))])


def pooled(union: np.ndarray, covariance: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
  """A task's own basis out of the directions that are kept and those that are new, the strongest of both first.

  Kept directions b count with b^T C b, new ones with the eigenvalues of C off the kept ones; taken until they hold
  `share` of the trace of C, or there is no more room. New ones that are taken join the union, kept ones stay as they
  are.

  Args:
    union: f[r, d], r <= d, orthonormal rows, then rows of zeros: the room for new ones.
    covariance: C, f[d, d], sum of x x^T.
    share: in (0, 1].

  Returns:
    (union f[r, d], owned bool[r]: the rows of it that are the task's basis).

  Example:
    >>> union = np.zeros((3, 3))
    >>> union[0, 2] = 1.0
    >>> union, owned = pooled(union, np.diag([5.0, 4.0, 1.0]), 0.9)
    >>> np.abs(union).tolist(), owned.tolist()
    ([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [False, True, True])
  """
  union, covariance = np.asarray(union, np.float64), np.asarray(covariance, np.float64)
  (size, width), kept = union.shape, union[np.abs(union).sum(1) > 0]
  total = np.trace(covariance)
  if total <= 0:
    return union, np.zeros(size, bool)
  off = np.eye(width) - kept.T @ kept
  values, vectors = np.linalg.eigh(off @ covariance @ off)
  room = size - len(kept)
  values, new = np.maximum(values[::-1], 0)[:room], vectors[:, ::-1].T[:room]
  energy = np.concatenate([np.einsum("ri,ij,rj->r", kept, covariance, kept), values])
  order = np.argsort(-energy, kind="stable")
  reached = np.concatenate([[0.0], np.cumsum(energy[order])]) / total
  taken = np.zeros(size, bool)
  taken[order[: min(int(np.searchsorted(reached, share - 1e-9)), size)]] = True
  fresh = new[taken[len(kept) :]]
  for _ in range(2 if len(fresh) else 0):  # once more against what rounding left
    fresh = fresh - fresh @ kept.T @ kept
    fresh = np.linalg.qr(fresh.T)[0].T
  owned = np.zeros(size, bool)
  owned[: len(kept)] = taken[: len(kept)]
  owned[len(kept) : len(kept) + len(fresh)] = True
  rows = np.concatenate([kept, fresh])
  return np.concatenate([rows, np.zeros((size - len(rows), width))]), owned
