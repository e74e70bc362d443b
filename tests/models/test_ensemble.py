"""Ensembles of one architecture."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import TOY, toy_data

from unlearnjax.core import outputs
from unlearnjax.models.ensembles import combined_logits, ensemble, stack_models

X = {"x": jnp.asarray(toy_data(12).column("x"))}


def test_members_answer_as_they_do_alone():
  members = [TOY.init(jax.random.key(s)) for s in range(3)]
  model = stack_models(members, ensemble(TOY, 3, "mean"))
  probs = np.mean([jax.nn.softmax(m(X).logits) for m in members], axis=0)
  out = model(X, capture=("head:in",))
  np.testing.assert_allclose(jax.nn.softmax(out.logits), probs, rtol=1e-5)
  assert out.hidden["head:in"].shape == (12, 3, 8)
  np.testing.assert_allclose(
    out.hidden["head:in"][:, 1], members[1](X, capture=("head:in",)).hidden["head:in"], rtol=1e-5
  )


def test_one_member_and_equal_members_change_nothing():
  one = TOY.init(jax.random.key(0))
  for size in (1, 4):
    model = stack_models([one] * size, ensemble(TOY, size, "mean"))
    np.testing.assert_allclose(model(X).logits, jax.nn.log_softmax(one(X).logits), atol=1e-5)


def test_votes_count_and_ties_go_to_the_first_class():
  logits = jnp.array([[[9.0, 0, 0]], [[0, 1.0, 0]], [[0, 1.0, 0]]])
  assert int(combined_logits(logits, "vote").argmax()) == 1
  assert int(combined_logits(logits[:2], "vote").argmax()) == 0
  np.testing.assert_allclose(np.exp(combined_logits(logits, "vote"))[0], [1 / 3, 2 / 3, 1e-6], rtol=1e-5)


def test_fresh_members_differ_and_values_are_shared_for_compilation():
  fn = ensemble(TOY, 2)
  assert fn == ensemble(TOY, 2) and hash(fn) == hash(ensemble(TOY, 2))
  model = fn.init(jax.random.key(0))
  kernel = model.params["head"]["kernel"]
  assert kernel.shape == (2, 8, 3) and not np.allclose(kernel[0], kernel[1])
  assert outputs(model, toy_data(5))["logits"].shape == (5, 3)


def test_bfloat16_and_jit():
  params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), ensemble(TOY, 2).init(jax.random.key(0)).params)
  out = jax.jit(lambda p, x: ensemble(TOY, 2)(p, x, rng=jax.random.key(0)).logits)(params, X)
  assert out.dtype == jnp.float32 and bool(jnp.isfinite(out).all())


def test_messages():
  with pytest.raises(ValueError, match="size must be > 0"):
    ensemble(TOY, 0)
  with pytest.raises(ValueError, match="aggregate must be one of mean, vote"):
    ensemble(TOY, 2, "median")
