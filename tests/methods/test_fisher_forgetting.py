"""Fisher forgetting: the noise rules, seen through the method."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import TOY
from toy_trained import FORGOTTEN, accuracy, class_request, equal, random_request, trained

from unlearnjax import edits
from unlearnjax.core import Run, forget
from unlearnjax.methods.classification.fisher_forgetting import fisher_forgetting

KEY = jax.random.key(1)


def expected_fisher(source):
  """mean_x sum_c p_c (grad -log p_c)^2, written out."""

  def of(params, x):
    log_probs = lambda p: jax.nn.log_softmax(TOY(p, {"x": x[None]}).logits[0])
    slopes, probs = jax.jacrev(log_probs)(params), jnp.exp(log_probs(params))
    return jax.tree.map(lambda j: jnp.tensordot(probs, j**2, 1), slopes)

  each = jax.jit(jax.vmap(of, in_axes=(None, 0)))(trained().params, source.column("x"))
  return jax.tree.map(lambda f: f.mean(0), each)


def test_noise_has_the_moments_of_the_formula():
  """(theta' - mean) / sqrt(v) is standard normal over many keys."""
  request, method = random_request(), fisher_forgetting(alpha=1e-5)
  mean, variance = edits.noise_moments(trained().params, expected_fisher(request.retain), alpha=1e-5)
  draws = []
  for seed in range(20):
    params = forget(method, trained(), request, key=jax.random.key(seed)).model.params
    standard = jax.tree.map(lambda p, m, v: ((p - m) / jnp.sqrt(v)).ravel(), params, mean, variance)
    draws.append(np.concatenate(jax.tree.leaves(standard)))
  draws = np.stack(draws)
  assert abs(draws.mean()) < 0.1 and abs(draws.std() - 1) < 0.1
  assert abs(np.corrcoef(draws[0], draws[1])[0, 1]) < 0.4


def test_alpha_zero_changes_nothing_of_a_random_request():
  assert equal(
    forget(fisher_forgetting(alpha=0.0), trained(), random_request(), key=KEY).model.params, trained().params
  )


def test_a_class_loses_its_outputs():
  head = forget(fisher_forgetting(alpha=0.0), trained(), class_request(), key=KEY).model.params["head"]
  before = trained().params["head"]
  others = [c for c in range(3) if c != FORGOTTEN]
  np.testing.assert_array_equal(head["kernel"][:, others], before["kernel"][:, others])
  column = np.append(head["kernel"][:, FORGOTTEN], head["bias"][FORGOTTEN])
  assert 0 < np.abs(column).max() < 4 * np.sqrt(1e-3)  # variance 10 * 1e-4 around 0


def test_forgets_the_class_or_not_less_than_noise_does():
  request, run = class_request(), Run()
  result = forget(fisher_forgetting(alpha=1e-6), trained(), request, key=KEY, run=run)
  assert accuracy(result.model, request.forget) < 1.0
  assert accuracy(result.model, request.retain) > 0.95
  assert run.cost.gradient_evaluations == 3 * len(request.retain)  # a backward pass a class


def test_the_next_request_draws_other_noise():
  method, request = fisher_forgetting(alpha=1e-5), random_request()
  one = forget(method, trained(), request, key=KEY)
  again = forget(method, trained(), request, key=KEY)
  next_one = forget(method, trained(), request, key=KEY, start=(one.state, one.refs))
  assert equal(one.model.params, again.model.params)
  first = one.model.params["body"]["kernel"] - trained().params["body"]["kernel"]
  second = next_one.model.params["body"]["kernel"] - one.model.params["body"]["kernel"]
  assert np.corrcoef(first.ravel(), second.ravel())[0, 1] < 0.7


def test_messages():
  with pytest.raises(ValueError, match="alpha must be >= 0"):
    fisher_forgetting(alpha=-1.0)
  with pytest.raises(ValueError, match="fisher_forgetting needs a retain set"):
    forget(fisher_forgetting(), trained(), class_request()._replace(retain=None), key=KEY)
  with pytest.raises(ValueError, match="head must be a sub-tree"):
    forget(fisher_forgetting(head="classifier"), trained(), class_request(), key=KEY)
