"""SLUG: one tensor, one gradient, a bounded search."""

from __future__ import annotations

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import TOY
from toy_trained import accuracy, class_request, equal, trained

from unlearnjax import curvature, edits
from unlearnjax.core import Run, forget
from unlearnjax.core.tree import paths
from unlearnjax.methods.classification.slug import slug

KEY = jax.random.key(1)


def changed(before, after) -> list[str]:
  pairs = zip(paths(before), jax.tree.leaves(before), jax.tree.leaves(after))
  return [path for path, a, b in pairs if not np.array_equal(a, b)]


def gradients(request):
  """(grad of minus the forget loss, grad of the retain loss), written out."""

  def nll(params, x, y):
    return -jax.nn.log_softmax(TOY(params, {"x": x}).logits)[jnp.arange(len(y)), y].mean()

  slope = lambda s, sign: jax.grad(lambda p: sign * nll(p, s.column("x"), s.column("y")))(trained().params)
  return slope(request.forget, -1), slope(request.retain, 1)


def test_the_class_goes_the_others_stay_and_exactly_one_tensor_changes():
  request, run = class_request(), Run()
  result = forget(slug(), trained(), request, key=KEY, run=run)
  assert accuracy(result.model, request.forget) == 0.0 and accuracy(result.model, request.retain) > 0.95
  assert len(changed(trained().params, result.model.params)) == 1
  assert run.cost.gradient_evaluations == len(request.forget) + len(request.retain) and run.cost.steps == 0


def test_the_edit_is_a_step_along_the_forget_gradient_in_a_pareto_layer():
  request = class_request()
  after = forget(slug(target=0.3), trained(), request, key=KEY).model.params
  direction, other = gradients(request)
  moments = curvature.layer_moments(direction, other, trained().params)
  (path,) = changed(trained().params, after)
  assert path in edits.pareto_layers(moments) and not path.endswith("bias")
  at = paths(after).index(path)
  pick = lambda tree: np.ravel(jax.tree.leaves(tree)[at]).astype(np.float64)
  moved, slope = pick(trained().params) - pick(after), pick(direction)
  step = moved @ slope / (slope @ slope)
  assert step > 0
  np.testing.assert_allclose(moved, step * slope, atol=1e-4 * np.abs(moved).max())


def test_the_search_is_bounded_for_each_candidate():
  request, run = class_request(), Run()
  forget(slug(max_evals=3), trained(), request, key=KEY, run=run)
  candidates = len(edits.pareto_layers(curvature.layer_moments(*gradients(request), trained().params)))
  assert run.cost.forward_evaluations == candidates * (3 * len(request.forget) + len(request.retain))


def test_a_target_out_of_reach_is_reported(caplog):
  with caplog.at_level(logging.WARNING, logger="unlearnjax"):
    result = forget(slug(max_evals=1, divisor=1e4), trained(), class_request(), key=KEY)
  assert "no tensor reaches forget accuracy 0" in caplog.text
  assert len(changed(trained().params, result.model.params)) == 1


def test_an_edit_can_be_undone():
  direction, _ = gradients(class_request())
  path = "head/kernel"
  edited = edits.step_along(trained().params, path, direction, 0.5)
  back = edits.step_along(edited, path, direction, -0.5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), back, trained().params)
  assert equal(edits.step_along(trained().params, path, direction, 0.0), trained().params)


def test_messages():
  for options, message in (
    (dict(target=1.5), r"target must be in \[0, 1\]"),
    (dict(max_evals=0), "max_evals must be > 0"),
    (dict(divisor=0), "divisor must be > 0"),
  ):
    with pytest.raises(ValueError, match=message):
      slug(**options)
  with pytest.raises(ValueError, match="slug needs a retain set"):
    forget(slug(), trained(), class_request()._replace(retain=None), key=KEY)
