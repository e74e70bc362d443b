"""Methods that move some of the weights only: a mask from the request, then any other method."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from unlearnjax import updates
from unlearnjax.core import ForgetRequest, Method, Model, ModelFn, Run, Verbs, view_model
from unlearnjax.core.types import Array, ArrayTree

Masker = Callable[[Model, ForgetRequest, Run, Array], ArrayTree]
"""(model, request, run, key) -> a tree of bool arrays like the parameters."""


def masked(
  name: str,
  method: Callable[[optax.GradientTransformation], Method],
  tx: optax.GradientTransformation,
  masker: Callable[[ModelFn], Masker],
) -> Method:
  """A method whose updates pass a mask that is made once for each request.

  The mask is the last link of the optimizer's chain: neither decay nor momentum moves a frozen weight by one bit. It is
  saved, so that after a crash the same weights are frozen.

  Args:
    name: of the result, and of its mask in refs.
    method: the method with a given optimizer. It must train the parameters that it is given and pass refs on.
    tx: its optimizer, without a mask.
    masker: builds what makes the mask; called once, when the method is bound.

  Raises:
    ValueError: when bound, a method that cannot forget; when it forgets, one that does not pass refs on.

  Example:
    >>> from unlearnjax import methods
    >>> make = lambda model, request, run, key: {"head": jnp.array(True), "body": jnp.array(False)}
    >>> masked("head_only", lambda tx: methods.fine_tune(tx=tx), optax.sgd(0.1), lambda fn: make).name
    'head_only'
  """
  method = method(optax.chain(tx, updates.mask_by(name)))

  def bind(fn: ModelFn) -> Verbs:
    verbs = method.bind(fn)
    if verbs.forget is None:
      raise ValueError(f"{name} needs a method that forgets, and {method.name} does not")
    make = masker(fn)

    def init(model: Model, key: Array):
      state, refs = verbs.init(model, key)
      return state, {**refs, name: jax.tree.map(lambda p: jnp.ones(p.shape, bool), model.params)}

    def forget(state, refs, request: ForgetRequest, run: Run):
      mask = run.once(name, lambda: make(view_model(fn, state, refs), request, run, state.rng))
      state, refs = verbs.forget(state, {**refs, name: mask}, request, run)
      return state, {**refs, name: mask}

    return verbs._replace(init=init, forget=forget)

  return Method(name, bind)
