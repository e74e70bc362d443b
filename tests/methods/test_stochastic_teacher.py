"""Stochastic teacher: two stages, two teachers, two optimizers."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest
from toy import TOY
from toy_scores import confidence
from toy_trained import accuracy, class_request, equal, random_request, trained

from unlearnjax import losses
from unlearnjax.core import Run, bound, forget, role_batch
from unlearnjax.methods.classification.fine_tune import fine_tune
from unlearnjax.methods.classification.stochastic_teacher import stochastic_teacher

KEY = jax.random.key(1)
SMALL = dict(tx=optax.sgd(0.1, momentum=0.9), batch_size=16)


def test_erasing_with_the_original_as_teacher_stands_still():
  verbs = bound(stochastic_teacher(rebuild_epochs=0, **SMALL), TOY)
  state, refs = verbs.init(trained(), KEY)
  state, _ = verbs.forget(state, {**refs, "random_teacher": refs["teacher"]}, class_request(), Run())
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state.params, trained().params)


def test_one_erasing_step_is_the_formula():
  request = class_request()
  method = stochastic_teacher(rebuild_epochs=0, tx=optax.sgd(0.3), batch_size=40)
  result = forget(method, trained(), request, key=KEY)
  x = role_batch(request.forget)["inputs"]
  target = TOY(result.refs["random_teacher"]["params"], x).logits
  loss = lambda p: losses.distill_kl(TOY(p, x).logits, target).mean()
  expected = jax.tree.map(lambda p, g: p - 0.3 * g, trained().params, jax.jit(jax.grad(loss))(trained().params))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), result.model.params, expected)


def test_alpha_zero_rebuilds_by_cross_entropy_alone():
  two = forget(
    stochastic_teacher(alpha=0.0, erase_epochs=0, rebuild_epochs=3, **SMALL), trained(), class_request(), key=KEY
  )
  tuned = forget(fine_tune(epochs=3, **SMALL), trained(), class_request(), key=KEY)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), two.model.params, tuned.model.params)


def test_alpha_one_rebuilds_by_distillation_alone():
  """Labels do not matter then."""
  request, method = random_request(), stochastic_teacher(alpha=1.0, **SMALL)
  relabelled = request._replace(retain=request.retain.replace(y=(request.retain.column("y") + 1) % 3))
  one, two = (forget(method, trained(), r, key=KEY).model.params for r in (request, relabelled))
  assert equal(one, two)


def test_stages_read_their_own_data_and_have_their_own_optimizers():
  run = Run()
  result = forget(stochastic_teacher(erase_epochs=2, rebuild_epochs=3), trained(), class_request(), key=KEY, run=run)
  assert run.cost.gradient_evaluations == 2 * 40 + 3 * 80
  assert set(result.state.opt_state) == {"erase", "rebuild"}


def test_the_first_stage_damages_and_the_second_repairs():
  request = class_request()
  first = forget(stochastic_teacher(erase_epochs=8, rebuild_epochs=0, **SMALL), trained(), request, key=KEY).model
  both = forget(stochastic_teacher(erase_epochs=8, rebuild_epochs=8, **SMALL), trained(), request, key=KEY).model
  assert confidence(first, request.forget) < 0.6
  assert accuracy(first, request.retain) < accuracy(both, request.retain)
  assert accuracy(both, request.forget) < 0.2 and accuracy(both, request.retain) > 0.95


def test_messages():
  with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\], got 2"):
    stochastic_teacher(alpha=2)
  with pytest.raises(ValueError, match="stochastic_teacher needs a retain set"):
    forget(stochastic_teacher(), trained(), class_request()._replace(retain=None), key=KEY)
