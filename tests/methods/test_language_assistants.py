"""ULD, WHP and task vectors: what is trained, and what is served."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest
from toy_asked import ASK, told

from unlearnjax import edits, losses, methods, objectives, reparam
from unlearnjax.core import forget, outputs
from unlearnjax.metrics import answer_scores

KEY = jax.random.key(0)
FEW = dict(tx=optax.adam(6e-3), epochs=10, batch_size=6)


def equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_the_assistant_of_uld_is_subtracted_from_weights_that_stay():
  model, request = told()
  result = forget(methods.uld(ASK, weight=0.0, **FEW), model, request, key=KEY)
  equal(result.model.params, model.params)
  before, now = (outputs(m, request.forget)["logits"] for m in (model, result.model))
  np.testing.assert_array_equal(before, now)
  helper = result.model.replace(params=result.model.refs["assistant"]["params"], fn=ASK, refs={})
  known, unknown = (answer_scores(helper, s).mean_nll.mean() for s in (request.forget, request.retain))
  assert known < unknown  # the reverse of what the model knows


@pytest.mark.slow
def test_layers_of_a_transformer_with_adapters_are_an_assistant_too():
  from unlearnjax import models

  _, request = told()
  model = models.transformer("llama", vocab_size=32, dim=8, depth=2, heads=2).init(KEY)
  method = methods.uld(1, reparam=reparam.lora(rank=2, where="blocks/.*kernel"), unknown=("alt",), **FEW)
  result = forget(method, model, request, key=KEY)
  equal(result.model.params, model.params)
  trained = sum(x.size for x in jax.tree.leaves(result.state.params))
  assert trained < sum(x.size for x in jax.tree.leaves(model.params)) / 2
  assert (
    answer_scores(result.model, request.forget).mean_nll.mean() > answer_scores(model, request.forget).mean_nll.mean()
  )
  with pytest.raises(ValueError, match="depth must be from 1 to the 2 layers"):
    forget(methods.uld(3, **FEW), model, request, key=KEY)


def test_whp_and_task_vectors_start_from_the_same_training():
  """The reinforced model of one is the end point of the other."""
  model, request = told()
  guarded = forget(methods.whp(alpha=2.0, **FEW), model, request._replace(retain=None), key=KEY)
  reinforced = guarded.model.refs["assistant"]["params"]
  equal(guarded.model.params, model.params)
  tokens = {"tokens": request.forget.column("tokens")}
  expected = losses.generic_logits(ASK(model.params, tokens).logits, ASK(reinforced, tokens).logits, 2.0)
  np.testing.assert_allclose(guarded.model(tokens).logits, expected, rtol=1e-5)
  moved = forget(methods.task_vector(scale=0.5, **FEW), model, request, key=KEY).model.params
  near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
  jax.tree.map(near, moved, edits.negate_task(model.params, reinforced, 0.5))
  with pytest.raises(ValueError, match="tuned equals params"):
    forget(methods.task_vector(tx=optax.sgd(0.0), epochs=1, batch_size=6), model, request, key=KEY)


def test_negation_is_linear_in_its_length():
  model, other = ASK.init(jax.random.key(1)).params, ASK.init(jax.random.key(2)).params
  none, once, twice = (edits.negate_task(model, other, scale) for scale in (0.0, 1.0, 2.0))
  equal(none, model)
  halfway = jax.tree.map(lambda a, b: (a + b) / 2, none, twice)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), once, halfway)


def test_uniform_predictions_cost_nothing_and_have_no_gradient():
  _, request = told()
  from unlearnjax.core import View, role_batch

  flat = jax.tree.map(np.zeros_like, ASK.init(KEY).params)
  objective = objectives.uniform(ASK)
  view = View(0, KEY, {}, {}, ())
  value, gradient = jax.value_and_grad(lambda p: objective(p, role_batch(request.forget[:4]), view)[0])(flat)
  np.testing.assert_allclose(value, 0, atol=1e-6)
  assert max(float(np.abs(x).max()) for x in jax.tree.leaves(gradient)) < 1e-6
