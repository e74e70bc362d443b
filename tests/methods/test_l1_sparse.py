"""l1-sparse unlearning: the penalty, its schedule, and fine-tuning as its limit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_scores import mean_loss
from toy_trained import accuracy, class_request, equal, trained

from unlearnjax.core import Run, forget
from unlearnjax.losses import l1_norm
from unlearnjax.methods.classification import l1_sparse as module
from unlearnjax.methods.classification.fine_tune import fine_tune
from unlearnjax.methods.classification.l1_sparse import l1_sparse

KEY = jax.random.key(1)
SMALL = dict(tx=optax.sgd(0.1, momentum=0.9), epochs=10, batch_size=16)


def test_alpha_zero_is_fine_tuning_bit_for_bit():
  sparse = forget(l1_sparse(alpha=0.0, **SMALL), trained(), class_request(), key=KEY)
  tuned = forget(fine_tune(**SMALL), trained(), class_request(), key=KEY)
  assert equal(sparse.model.params, tuned.model.params)


@pytest.mark.parametrize("dense, expected", [(0, [1, 0.75, 0.5, 0.25]), (2, [1, 0.5, 0, 0])])
def test_the_penalty_falls_once_an_epoch(monkeypatch, dense, expected):
  """gamma of epoch e is alpha (1 - e / (E - E0)): alpha / E in the last epoch when E0 is 0."""
  logged = []
  fit = module.fit
  monkeypatch.setattr(module, "fit", lambda *args, **kwargs: logged.append(fit(*args, **kwargs)) or logged[-1])
  method = l1_sparse(alpha=0.01, dense_epochs=dense, epochs=4, batch_size=16, tx=optax.sgd(0.0))
  forget(method, trained(), class_request(), key=KEY)
  gamma = logged[0][1]["penalty/loss"] / float(l1_norm(trained().params))
  np.testing.assert_allclose(gamma, np.repeat(0.01 * np.array(expected), 5), rtol=1e-5, atol=1e-9)


def test_all_parameters_are_penalised():
  method = l1_sparse(alpha=0.5, epochs=1, batch_size=80, tx=optax.sgd(1.0))
  tune = fine_tune(epochs=1, batch_size=80, tx=optax.sgd(1.0))
  sparse, tuned = (forget(m, trained(), class_request(), key=KEY).model.params for m in (method, tune))
  jax.tree.map(
    lambda s, t, p: np.testing.assert_allclose(s, t - 0.5 * jnp.sign(p), atol=1e-5), sparse, tuned, trained().params
  )


def test_it_forgets_more_than_fine_tuning_and_is_sparser():
  request = class_request()
  sparse = forget(l1_sparse(alpha=0.03, **SMALL), trained(), request, key=KEY).model
  tuned = forget(fine_tune(**SMALL), trained(), request, key=KEY).model
  assert mean_loss(sparse, request.forget) > 5 * mean_loss(tuned, request.forget)
  assert accuracy(sparse, request.forget) < 0.5 and accuracy(sparse, request.retain) > 0.9
  assert l1_norm(sparse.params) < 0.9 * l1_norm(tuned.params)


def test_a_penalty_costs_no_examples():
  run = Run()
  forget(l1_sparse(epochs=2), trained(), class_request(), key=KEY, run=run)
  assert run.cost.gradient_evaluations == 2 * len(class_request().retain)


def test_messages():
  with pytest.raises(ValueError, match="alpha must be >= 0, got -1"):
    l1_sparse(alpha=-1)
  with pytest.raises(ValueError, match=r"dense_epochs / epochs must be in \[0, 1\), got 1.0"):
    l1_sparse(dense_epochs=10)
  with pytest.raises(ValueError, match="l1_sparse needs a retain set"):
    forget(l1_sparse(), trained(), class_request()._replace(retain=None), key=KEY)
