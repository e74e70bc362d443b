"""LAF: labels are never read, the head never moves, and the VAEs are what the losses say."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import TOY
from toy_trained import accuracy, class_request, data, equal, trained

from unlearnjax import losses, objectives
from unlearnjax.core import Examples, Run, View, bound, forget, role_batch
from unlearnjax.methods.classification.laf import laf
from unlearnjax.methods.parts import teacher
from unlearnjax.models.autoencoder import autoencode, init_autoencoder

QUICK = dict(batch_size=16, epochs=2, vae_epochs=2)
PLAIN, REPAIRED = laf(**QUICK), laf(**QUICK, repair=True)
STRONG = laf(batch_size=16, epochs=80, vae_epochs=60, extract_tx=optax.adam(3e-3), align_tx=optax.adam(3e-3), latent=2)


def without_labels(request):
  """The request over a table that has no labels."""
  columns = {k: v for k, v in data().columns.items() if k != "y"}
  return request._replace(forget=Examples(columns, request.forget.rows), retain=Examples(columns, request.retain.rows))


def test_the_class_goes_and_the_others_stay_without_labels():
  request = class_request()
  result = forget(STRONG, trained(), without_labels(request), key=jax.random.key(1))
  assert accuracy(trained(), request.forget) > 0.9
  assert accuracy(result.model, request.forget) < 0.3
  assert accuracy(result.model, request.extra["test"]) > 0.8


def test_labels_change_no_bit():
  request = class_request()
  run = lambda r: forget(PLAIN, trained(), r, key=jax.random.key(1)).model.params
  plain = run(request)
  garbage = {**data().columns, "y": np.full(len(data()), -7, np.int32)}
  garbled = {r: Examples(garbage, getattr(request, r).rows) for r in ("forget", "retain")}
  assert equal(plain, run(request._replace(**garbled)))
  assert not equal(plain["body"], trained().params["body"])


def test_only_repair_moves_the_head_and_only_the_head():
  request = class_request()
  plain, repaired = (forget(m, trained(), request, key=jax.random.key(1)) for m in (PLAIN, REPAIRED))
  assert equal(plain.model.params["head"], trained().params["head"])
  assert equal(plain.model.params["body"], repaired.model.params["body"])
  assert not equal(plain.model.params["head"], repaired.model.params["head"])
  assert repaired.cost["steps"] == plain.cost["steps"] + 3  # 40 examples in batches of 16


def test_a_pass_is_as_long_as_the_smaller_set():
  request = class_request()
  steps = lambda r: forget(PLAIN, trained(), r, key=jax.random.key(1)).cost["steps"]
  assert steps(request) == 2 * (8 + 3) + 2 * 3  # two VAEs, then pairs
  assert steps(request._replace(retain=request.retain[:10])) == 2 * (4 + 3) + 2 * 1


def test_alignment_at_the_original_weights():
  request = class_request()
  batch = {"retain": role_batch(request.retain, slice(8)), "forget": role_batch(request.forget, slice(4))}
  view = View(jnp.zeros((), jnp.int32), jax.random.key(0), {"teacher": teacher(trained())}, {}, ())
  parts = objectives.alignment(TOY, retain_size=8)
  total = sum(float(parts[r](trained().params, batch[r], view)[0]) for r in parts)
  assert total == pytest.approx(-8 * np.log(4), abs=1e-4)


def test_refs_keep_their_shapes_and_the_vaes_learn():
  request, verbs = class_request(), bound(STRONG, TOY)
  state, refs = verbs.init(trained(), jax.random.key(0))
  _, found = verbs.forget(state, refs, request, Run())
  assert jax.tree.map(jnp.shape, refs) == jax.tree.map(jnp.shape, found)
  x = jnp.asarray(request.forget.column("x"))
  features = TOY(trained().params, {"x": x}, capture=("head:in",)).hidden["head:in"]
  gap = lambda p: float(jnp.mean((autoencode(p, features, jax.random.key(3))[0] - features) ** 2))
  assert gap(found["vae_forget"]) < 0.2 * gap(refs["vae_forget"])


def test_the_sigmoid_bounds_the_reconstruction():
  params, features = init_autoencoder(jax.random.key(0), 8, 2), 2 * jnp.ones((3, 8))
  out, mean, log_variance = autoencode(params, features, jax.random.key(1), sigmoid=True)
  assert float(out.min()) > 0 and float(out.max()) < 1
  assert losses.vae(out, features, mean, log_variance).shape == (3,)
  assert float(jnp.abs(autoencode(params, features, jax.random.key(1))[0]).max()) > 1


def test_errors():
  with pytest.raises(ValueError, match="temperature must be > 0, got 0"):
    laf(temperature=0)
  with pytest.raises(ValueError, match="laf needs a retain set"):
    forget(laf(), trained(), class_request()._replace(retain=None), key=jax.random.key(0))
