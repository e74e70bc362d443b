"""UNSIR: noise that impairs, then repair. Tarun et al., TNNLS 2023, arXiv:2111.08947 (baseline B10)."""

from __future__ import annotations

import jax
import numpy as np
import optax

from unlearnjax import objectives
from unlearnjax.core import (
  Examples,
  Method,
  ModelFn,
  UnlearnState,
  Verbs,
  as_examples,
  check,
  descend,
  fit,
  need_retain,
  plain_init,
  plain_model,
  zip_roles,
)
from unlearnjax.core.types import Array
from unlearnjax.methods.parts import restart, teacher


def unsir(
  *,
  impair: optax.GradientTransformation | None = None,
  repair: optax.GradientTransformation | None = None,
  noise: optax.GradientTransformation | None = None,
  noise_steps: int = 40,
  noise_size: int = 256,
  l2: float = 0.1,
  copies: int = 20,
  retain_per_class: int = 1000,
  batch_size: int = 256,
) -> Method:
  """Learns noise that the model finds as unlike the class as it can, trains on it as that class, then repairs.

  1. For each class c that goes: N (noise_size inputs) ~ N(0, 1); min_N -CE(f(theta_o; N), c) + l2 mean |N|^2.
  2. Impair, one epoch: CE on `copies` times the noise, labelled c, and some retain examples, shuffled together.
  3. Repair, one epoch: CE on those retain examples.

  Each class has its own noise and label. The noise is made in eval mode; impair and repair run in train mode.

  Args:
    impair: Adam 0.02 by default; the result is sensitive to it.
    repair: Adam 0.01 by default.
    noise: Adam 0.1 by default.
    noise_steps: steps on the noise; 5 epochs of 8 in the paper's notebook.
    noise_size: inputs of noise a class.
    l2: >= 0, keeps the noise small.
    copies: how often the noise is repeated in the epoch.
    retain_per_class: retain examples of each class, drawn once.
    batch_size: rows of a step.

  Raises:
    ValueError: a request that names no classes or has no retain set, or a number out of range.

  Example:
    >>> unsir(copies=10).name
    'unsir'
  """
  for name, value in (("noise_steps", noise_steps), ("noise_size", noise_size), ("copies", copies)):
    check.positive(name, value)
  check.positive("retain_per_class", retain_per_class)

  def bind(fn: ModelFn) -> Verbs:
    worst = objectives.error_maximizing_noise(fn, l2=l2, reference="original")
    xent = objectives.cross_entropy(fn)
    confuse = descend({"noise": worst}, optax.adam(0.1) if noise is None else noise)
    impairing = descend({"both": xent}, impair or optax.adam(0.02), state_from="both", name="impair")
    repairing = descend({"retain": xent}, repair or optax.adam(0.01), state_from="retain", name="repair")

    def forget(state, refs, request, run):
      if not request.classes:
        raise ValueError("unsir forgets whole classes only, and the request names none")
      retain = as_examples(need_retain("unsir", request))
      refs, key = {"original": teacher(state)}, jax.random.fold_in(jax.random.fold_in(state.rng, 1), state.step)
      shape = retain.column("x").shape[1:]

      def noise_of(label: int) -> np.ndarray:
        draw, order = jax.random.split(jax.random.fold_in(key, label))
        start = {"noise": jax.random.normal(draw, (noise_size, *shape))}
        rows = Examples({"y": np.full(noise_size, label, np.int32)})
        plan = zip_roles(noise=rows, batch_size=noise_size, epochs=noise_steps)
        learner = confuse.init(UnlearnState.create(start, rng=order, copy=False))
        learner, _ = fit(confuse, learner, plan, refs, run, name=f"noise_{label}")
        return np.asarray(learner.params["noise"])

      kept = some_per_class(retain, retain_per_class, key)
      both = mixture({c: noise_of(c) for c in request.classes}, kept, copies)
      state = restart(state, impairing, repairing)
      state, _ = fit(impairing, state, zip_roles(both=both, batch_size=batch_size), refs, run, name="impair")
      state, _ = fit(repairing, state, zip_roles(retain=kept, batch_size=batch_size), refs, run, name="repair")
      return state, refs

    start = plain_init(impairing, repairing, refs=lambda model, key: {"original": teacher(model)})
    return Verbs(start, plain_model(fn), forget=forget)

  return Method("unsir", bind)


def some_per_class(source: Examples, count: int, key: Array) -> Examples:
  """At most `count` random rows of every label, in the source's order.

  Example:
    >>> data = Examples({"y": np.array([0, 0, 0, 1])})
    >>> some_per_class(data, 2, jax.random.key(0)).column("y").tolist()
    [0, 0, 1]
  """
  rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
  labels = source.column("y")
  kept = [rng.permutation(np.flatnonzero(labels == c))[:count] for c in np.unique(labels)]
  return source[np.sort(np.concatenate(kept))]


def mixture(noise: dict[int, np.ndarray], retain: Examples, copies: int) -> Examples:
  """A table of noise by label and retain examples, in which every row of noise is meant `copies` times.

  Example:
    >>> retain = Examples({"x": np.zeros((2, 1), np.float32), "y": np.array([1, 1])})
    >>> mixture({0: np.ones((1, 1), np.float32)}, retain, copies=3).column("y").tolist()
    [0, 0, 0, 1, 1]
  """
  x = np.concatenate([*noise.values(), retain.column("x")]).astype(np.float32)
  labels = np.repeat(list(noise), [len(n) for n in noise.values()])
  y = np.concatenate([labels, retain.column("y")]).astype(np.int32)
  rows = np.arange(len(x))
  made = len(labels)
  return Examples({"x": x, "y": y}, np.concatenate([np.tile(rows[:made], copies), rows[made:]]))
