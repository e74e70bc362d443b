"""Boundary Expanding: a shadow class to forget into. Chen et al., CVPR 2023, arXiv:2303.11570 (paper 70)."""

from __future__ import annotations

import jax
import optax

from unlearnjax import edits, objectives
from unlearnjax.core import Method, ModelFn, UnlearnState, Verbs, descend, fit, plain_init, plain_model, zip_roles


def boundary_expanding(
  *,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 10,
  batch_size: int = 64,
  head: str = "head",
) -> Method:
  """Moves the forget set into an extra class, which is then cut off. Needs no retain set.

  The head gets one more output, freshly drawn, its old weights copied; theta <- theta - tx(grad CE(f(x), C)) on the
  forget set, C the new class; then the output is dropped, so the model has the C outputs it came with. Metrics taken
  before that would see any network as having forgotten. Trains in train mode (batch statistics follow the forget set).

  Args:
    tx: SGD 1e-5 with momentum 0.9 by default; that belongs to the paper's networks, elsewhere often nothing happens.
    epochs: passes over the forget set.
    batch_size: forget rows of a step.
    head: path of the layer with kernel [d, C] and bias [C]. The model must run with a wider one, as NNX and
      hand-written models do; Linen checks its shapes.

  Raises:
    ValueError: no such layer.

  Example:
    >>> boundary_expanding(epochs=5).name
    'boundary_expanding'
  """
  tx = optax.sgd(1e-5, momentum=0.9) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    step = descend({"forget": objectives.shadow_class(fn)}, tx, state_from="forget")

    def forget(state, refs, request, run):
      key = jax.random.fold_in(jax.random.fold_in(state.rng, 1), state.step)
      wider = edits.widen_head(state.params, key, head)
      inner = step.init(UnlearnState.create(wider, rng=state.rng, model_state=state.model_state))
      plan = zip_roles(forget=request.forget, batch_size=batch_size, epochs=epochs)
      inner, _ = fit(step, inner.replace(step=state.step), plan, refs, run)
      params = edits.drop_head_row(inner.params, head=head)
      return state.replace(params=params, model_state=inner.model_state, step=inner.step), refs

    return Verbs(plain_init(), plain_model(fn), forget=forget)

  return Method("boundary_expanding", bind)
