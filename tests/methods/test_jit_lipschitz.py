"""JiT: smoothing around the forget set."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import TOY
from toy_trained import accuracy, class_request, equal, trained

from unlearnjax.core import Run, forget
from unlearnjax.methods.classification.jit_lipschitz import jit_lipschitz

KEY = jax.random.key(1)
SMALL = dict(sigma=0.3, samples=5, value_range=None, tx=optax.sgd(0.1), epochs=3, batch_size=16)


def slope(params, x):
  """Mean spectral norm of the Jacobian of the logits in the input."""
  jacobian = jax.vmap(jax.jacobian(lambda row: TOY(params, {"x": row[None]}).logits[0]))(jnp.asarray(x))
  return float(jnp.linalg.norm(jacobian, ord=2, axis=(1, 2)).mean())


def test_the_class_goes_the_others_stay_and_the_model_is_flatter_there():
  request, run = class_request()._replace(retain=None), Run()
  result = forget(jit_lipschitz(**SMALL), trained(), request, key=KEY, run=run)
  assert accuracy(result.model, request.forget) < 0.2
  assert accuracy(result.model, class_request().retain) > 0.9
  x = request.forget.column("x")
  assert slope(result.model.params, x) < slope(trained().params, x)
  assert run.cost.gradient_evaluations == 3 * len(request.forget)


def test_one_step_follows_the_formula():
  """With many samples the step is that of sum_b mean_k |f(x) - f(x')| / |x - x'|, the noisy branch fixed."""
  request, sigma = class_request(), 0.5
  few = request._replace(forget=request.forget[:2])
  options = dict(sigma=sigma, value_range=None, tx=optax.sgd(1.0), batch_size=2)
  found = forget(jit_lipschitz(samples=500, **options), trained(), few, key=KEY).model.params
  x = jnp.asarray(few.forget.column("x"))
  noisy = x + sigma * jax.random.normal(jax.random.key(5), (500, *x.shape))
  far = TOY(trained().params, {"x": noisy}).logits

  def loss(params):
    ratio = jnp.linalg.norm(TOY(params, {"x": x}).logits - far, axis=-1) / jnp.linalg.norm(x - noisy, axis=-1)
    return ratio.mean(0).sum()

  flat = lambda tree: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
  moved, slope = flat(trained().params) - flat(found), flat(jax.grad(loss)(trained().params))
  assert moved @ slope / np.linalg.norm(moved) / np.linalg.norm(slope) > 0.95
  assert 0.8 < np.linalg.norm(moved) / np.linalg.norm(slope) < 1.25


def test_noise_that_is_clipped_away_changes_nothing():
  """All inputs lie on the edge of a range that admits no noise on either side."""
  request = class_request()
  ones = request._replace(forget=request.forget.replace(x=np.ones_like(request.forget.column("x"))), retain=None)
  options = {**SMALL, "value_range": (1.0, 1.0 + 1e-9)}
  with pytest.raises(ValueError, match="value_range"):
    jit_lipschitz(**{**SMALL, "value_range": (1.0, 1.0)})
  assert equal(forget(jit_lipschitz(**options), trained(), ones, key=KEY).model.params, trained().params)


def test_messages():
  with pytest.raises(ValueError, match="sigma must be > 0"):
    jit_lipschitz(sigma=0.0)
  with pytest.raises(ValueError, match="samples must be > 0"):
    jit_lipschitz(samples=0)
