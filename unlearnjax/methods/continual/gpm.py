"""GPM: gradient projection memory. Saha et al., ICLR 2021, arXiv:2103.09762 (baseline B9)."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax import combine, curvature, objectives
from unlearnjax.core import Method, ModelFn, Verbs, check, descend, fold, view_model
from unlearnjax.core.tree import paths
from unlearnjax.methods.classification.pgu import layer_inputs
from unlearnjax.methods.continual.parts import chosen, learner, open_head


def gpm(
  *,
  threshold: float = 0.97,
  rise: float = 0.003,
  sampled: int = 300,
  sites: Mapping[str, str] | None = None,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Steps that are orthogonal, layer by layer, to the inputs that earlier tasks send through the layer.

  dW - M M^T dW, M an orthonormal basis of each layer's inputs: after a task, the directions of the inputs of `sampled`
  of its examples that M lacks are added until M holds the share `threshold + rise * t` of their energy. Biases and the
  parameters of norms are frozen after the first task. The layer of all heads is projected like any other.

  Args:
    threshold: share of the energy, in (0, 1].
    rise: by which the share grows from task to task; it stays below 1.
    sampled: examples of a task that are looked at.
    sites: {kernel path: site of its input}; None takes all kernels of a model that knows its sites. Convolutions are
      seen at stride 1 with padding "SAME".
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
  check.fraction("threshold", threshold)
  check.positive("rise", rise, zero=True)
  check.positive("sampled", sampled)
  tx = optax.sgd(0.1) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    covariance = curvature.input_covariance(fn, layer_inputs(fn) if sites is None else sites)
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
      share = min(threshold + rise * task.index, 1.0)

      def bases():
        found = fold(covariance, view_model(fn, state), chosen(task, sampled, state.rng), run, name="inputs")
        old, structure = jax.tree.flatten(refs["basis"])
        new = [np.ones_like(m) if m.size == 1 else m for m in map(np.asarray, old)]  # frozen: their input is always 1
        for i, path in enumerate(paths(refs["basis"])):
          if path in found:
            new[i] = grown(np.asarray(old[i]), np.asarray(found[path]), share)
        return jax.tree.unflatten(structure, [jnp.asarray(m, jnp.float32) for m in new])

      return state, {**refs, "basis": run.once("basis", bases)}

    return learner(fn, step, epochs=epochs, batch_size=batch_size, every=every, refs=zeros, after=after)

  return Method("gpm", bind)


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
