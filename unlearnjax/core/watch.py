"""Evaluation inside the loop: what a model can do while it is being trained, without leaving the device."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.state import UnlearnState
from unlearnjax.core.types import Batch, Info, ModelFn, Refs, Transform


def watch(fn: ModelFn, every: int, *, ref: str = "watch", target: str = "y") -> Transform:
  """A link of `sequence` that logs the accuracy on resident samples every so many steps, in eval mode.

  It changes nothing and draws nothing. Between evaluations it logs NaN and costs nothing (`lax.cond`).

  Args:
    fn: the model that is watched.
    every: steps between evaluations, >= 1; the step counter of the state decides.
    ref: `refs[ref]` holds the samples as a role batch of leaves [T, n, ...], one row a task.
    target: column of int labels.

  Returns:
    a Transform that reports `watch/0`, ..., `watch/T-1`, each in [0, 1].

  Example:
    >>> from unlearnjax.core.types import Outputs
    >>> link = watch(lambda params, inputs, **_: Outputs(inputs["x"]), every=2)
    >>> state = UnlearnState.create({}, rng=jax.random.key(0))
    >>> sample = {"inputs": {"x": jnp.eye(2)[None]}, "y": jnp.array([[0, 0]]), "valid": jnp.ones((1, 2), bool)}
    >>> seen = []
    >>> for _ in range(2):
    ...   state, info = link.update(state, {}, {"watch": sample})
    ...   seen.append(float(info["watch/0"]))
    >>> seen
    [nan, 0.5]
  """
  check.positive("every", every)

  def update(state: UnlearnState, batch: Batch, refs: Refs) -> tuple[UnlearnState, Info]:
    del batch
    if ref not in refs:
      raise ValueError(f"watch reads refs[{ref!r}], the samples that it evaluates on; found {sorted(refs)}")
    sample = refs[ref]
    tasks, size = sample["valid"].shape

    def look():
      inputs = jax.tree.map(lambda x: x.reshape(tasks * size, *x.shape[2:]), sample["inputs"])
      logits = fn(state.params, inputs, state=state.model_state, refs=refs, train=False).logits
      right = (logits.argmax(-1) == sample[target].ravel()).reshape(tasks, size) & sample["valid"]
      return right.sum(1) / jnp.maximum(sample["valid"].sum(1), 1).astype(jnp.float32)

    due = (state.step + 1) % every == 0
    found = jax.lax.cond(due, look, lambda: jnp.full(tasks, jnp.nan, jnp.float32))
    info = {f"{ref}/{t}": found[t] for t in range(tasks)}
    return state.replace(step=state.step + 1), {**info, "ok": jnp.array(True)}

  return Transform(lambda state: state, update)
