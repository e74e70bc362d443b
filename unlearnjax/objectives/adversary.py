"""A model as an adversary sees it: run at inputs that were moved against their own label."""

from __future__ import annotations

from unlearnjax.core import check
from unlearnjax.core.types import EMPTY, ModelFn
from unlearnjax.objectives.boundary import fgsm


def adversary(fn: ModelFn, *, eps: float = 0.1, low: float | None = 0.0, high: float | None = 1.0) -> ModelFn:
  """`fn` in eval mode at x' = clip(x + eps sign(grad_x CE(f(x), y))); the label y comes as the input `"cond"`.

  With `core.outputs` it gives the adversarial class of every example in one pass:
  `outputs(Model(params, state, {}, adversary(fn)), data.replace(cond=data.column("y")))`. The pass needs a gradient in
  the input for each example, which `outputs` does not count.

  Args:
    fn: a classifier of an input `"x"`.
    eps: >= 0, in the units of the input.
    low: lower end of the valid range, or None.
    high: upper end of the valid range, or None.

  Raises:
    ValueError: eps < 0, or inputs without `"cond"`.

  Example:
    >>> import jax.numpy as jnp
    >>> from unlearnjax.core.types import Outputs
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"] @ params)
    >>> inputs = {"x": jnp.array([[0.9, 0.5]]), "cond": jnp.array([0])}
    >>> [round(v, 2) for v in adversary(fn, eps=0.25)(jnp.eye(2), inputs).logits[0].tolist()]
    [0.65, 0.75]
  """
  check.positive("eps", eps, zero=True)

  def attacked(params, inputs, *, state=(), refs=EMPTY, capture=(), **_):
    if "cond" not in inputs:
      raise ValueError(f"adversary needs the labels as the input 'cond'; found {sorted(inputs)}")
    clean = {name: value for name, value in inputs.items() if name != "cond"}
    moved = fgsm(fn, params, clean, inputs["cond"], eps=eps, low=low, high=high, state=state, refs=refs)
    return fn(params, {**clean, "x": moved}, state=state, refs=refs, train=False, capture=capture)

  return attacked
