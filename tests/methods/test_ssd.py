"""SSD: the reference implementation's figures, its limits, and what the batch size means."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import TOY
from toy_trained import accuracy, class_request, equal, random_request, trained

from unlearnjax.core import Model, Run, bound, forget
from unlearnjax.methods.classification.ssd import ssd

KEY = jax.random.key(1)


def test_alpha_inf_is_the_identity():
  result = forget(ssd(alpha=float("inf")), trained(), class_request(), key=KEY)
  assert equal(result.model.params, trained().params)


def test_the_class_goes_more_than_the_others():
  request = class_request()
  result = forget(ssd(alpha=2.0, batch_size=8), trained(), request, key=KEY)
  assert accuracy(trained(), request.forget) == 1.0
  assert accuracy(result.model, request.forget) < 0.9 <= accuracy(result.model, request.retain)


def test_no_training_and_each_row_of_d_and_f_once():
  request, run = random_request(), Run()
  forget(ssd(), trained(), request, key=KEY, run=run)
  assert run.cost.steps == 0
  assert run.cost.gradient_evaluations == 2 * len(request.forget) + len(request.retain)


def test_batch_size_is_part_of_the_method():
  """At batch size 1 the importance is the per-sample one; larger batches give another."""
  request, found = class_request(), {}
  for name, options in {
    "one": dict(batch_size=1),
    "eight": dict(batch_size=8),
    "per_sample": dict(kind="per_sample", batch_size=8),
  }.items():
    found[name] = forget(ssd(alpha=1.0, **options), trained(), request, key=KEY).model.params
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6), found["one"], found["per_sample"])
  assert not np.allclose(found["one"]["head"]["kernel"], found["eight"]["head"]["kernel"], rtol=1e-2)


def test_order_inside_the_sets_does_not_matter_per_sample():
  request, method = class_request(), ssd(alpha=1.0, kind="per_sample")
  mixed = request._replace(forget=request.forget[::-1], retain=request.retain[::-1])
  one, two = (forget(method, trained(), r, key=KEY).model.params for r in (request, mixed))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6), one, two)


@pytest.mark.parametrize("kind", ["model_sampled", "expected"])
def test_every_kind_runs_and_stays_finite(kind):
  result = forget(ssd(alpha=1.0, kind=kind), trained(), class_request(), key=KEY)
  assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(result.model.params))
  assert not equal(result.model.params, trained().params)


def test_messages():
  for options, message in (
    (dict(alpha=0), "alpha must be > 0"),
    (dict(lam=-1), "lam must be > 0"),
    (dict(batch_size=0), "batch_size must be > 0"),
    (dict(kind="fisher"), "kind must be one of per_sample"),
  ):
    with pytest.raises(ValueError, match=message):
      ssd(**options)
  with pytest.raises(ValueError, match="ssd needs a retain set"):
    forget(ssd(), trained(), class_request()._replace(retain=None), key=KEY)


def test_bfloat16_weights_stay_bfloat16():
  model = Model(jax.tree.map(lambda p: p.astype(jnp.bfloat16), trained().params), fn=TOY)
  state, refs = (verbs := bound(ssd(alpha=1.0), TOY)).init(model, KEY)
  state, _ = verbs.forget(state, refs, class_request(), Run())
  assert {p.dtype for p in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("size", [8, 64])
def test_equals_the_formula_written_out(size):
  """Batch-mean gradients of R and then F, squared, averaged over batches of the given size, the last one smaller."""
  request, params = random_request(), trained().params

  def importance(x, y):
    loss = lambda p, x, y: -jnp.mean(jax.nn.log_softmax(TOY(p, {"x": x}).logits)[jnp.arange(len(y)), y])
    slope = jax.jit(jax.grad(loss))
    gradients = [slope(params, x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]
    squares = [jax.tree.map(lambda g: np.square(np.asarray(g, np.float64)), each) for each in gradients]
    return jax.tree.map(lambda *each: sum(each) / len(each), *squares)

  both = [np.concatenate([request.retain.column(c), request.forget.column(c)]) for c in ("x", "y")]
  everything, gone = importance(*both), importance(request.forget.column("x"), request.forget.column("y"))
  want = jax.tree.map(lambda p, d, f: np.where(f > 1.5 * d, np.minimum(d / f, 1), 1) * p, params, everything, gone)
  found = forget(ssd(alpha=1.5, batch_size=size), trained(), request, key=KEY).model.params
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), found, want)
  assert not equal(found, params)
