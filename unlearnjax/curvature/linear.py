"""The first-order Taylor expansion of a model in its weights, as a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import EMPTY, Array, ArrayTree, Model, ModelFn, Outputs, Params, Refs


@dataclasses.dataclass(frozen=True, eq=False)
class LinearFn:
  """A `ModelFn` that is linear in its parameters; see `linearize`."""

  fn: ModelFn
  origin: Params | None
  ref: str

  def __call__(
    self,
    params: Params,
    inputs: Mapping[str, Array],
    *,
    state: ArrayTree = (),
    refs: Refs = EMPTY,
    rng: Array | None = None,
    train: bool = False,
    capture: tuple[str, ...] = (),
    inject: Mapping[str, Callable[[Array], Array]] = EMPTY,
  ) -> Outputs:
    origin = self.origin
    if origin is None:
      if self.ref not in refs:
        raise ValueError(f"a linearised model needs its origin in refs[{self.ref!r}]; found {sorted(refs)}")
      origin, refs = refs[self.ref], {k: v for k, v in refs.items() if k != self.ref}
    check.same_structure("params", params, origin, "the origin of the linearisation")
    taps = {"capture": tuple(capture)} if capture else {}
    taps |= {"inject": inject} if inject else {}

    def run(p):
      out = self.fn(p, inputs, state=state, refs=refs, rng=rng, train=train, **taps)
      return (out.logits, dict(out.hidden)), out.state

    move = jax.tree.map(lambda p, o: (p - o).astype(o.dtype), params, origin)
    (logits, hidden), along, state = jax.jvp(run, (origin,), (move,), has_aux=True)
    logits, hidden = jax.tree.map(jnp.add, (logits, hidden), along)
    return Outputs(logits, hidden, state)

  def init(self, key: Array) -> Model:
    """A fresh model of the same architecture, at its own origin where the origin is a ref."""
    model = self.fn.init(key)
    refs = model.refs if self.origin is not None else {**model.refs, self.ref: model.params}
    return model.replace(refs=refs, fn=self)

  @property
  def sites(self):
    """The sites of the model that was linearised."""
    return self.fn.sites


def linearize(fn: ModelFn, params0: Params | None = None, *, ref: str = "origin") -> LinearFn:
  """f(params0) + J(params0) (params - params0): the model as its tangent sees it.

  Outputs and captured activations are expanded alike; the state is that of the model at the origin. Its Hessian is the
  Gauss-Newton matrix, its neural tangent kernel does not move, and ridge regression trains it.

  Args:
    fn: the model.
    params0: where it is expanded. The function holds these weights, and compiled programs then hold them as constants:
      for large models leave it out, and they are read from `refs[ref]`.
    ref: name of that ref.

  Returns:
    a ModelFn of the same parameters. Two calls give two functions: build it once.

  Raises:
    ValueError: when called, parameters of another structure than the origin's, or a missing ref.

  Example:
    >>> fn = lambda params, inputs, **_: Outputs(params**2 * inputs["x"])
    >>> linear = linearize(fn, jnp.array(3.0))
    >>> float(linear(jnp.array(4.0), {"x": jnp.array(1.0)}).logits)  # 9 + 6 (4 - 3)
    15.0
    >>> float(linearize(fn)(jnp.array(4.0), {"x": jnp.array(1.0)}, refs={"origin": jnp.array(3.0)}).logits)
    15.0
  """
  return LinearFn(fn, params0, ref)
