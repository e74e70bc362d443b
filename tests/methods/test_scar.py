"""SCAR and its self-forgetting variant: moments, targets, limits, what they read."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_trained import FORGOTTEN, accuracy, class_request, equal, random_request, trained

from unlearnjax import losses, models, objectives
from unlearnjax.core import Run, View, as_examples, bound, forget, outputs, role_batch
from unlearnjax.methods.classification.scar import against_frequency, scar, targets
from unlearnjax.methods.classification.scar_self import scar_self

FN = models.make("mlp", input_shape=(4,), num_outputs=3, widths=(16,))
SMALL = dict(batch_size=32, tx=optax.adam(5e-3), epochs=20)


def refs_of(method, request):
  verbs = bound(method, FN)
  state, refs = verbs.init(trained(FN), jax.random.key(0))
  shapes = jax.tree.map(jnp.shape, refs)
  _, refs = verbs.forget(state, refs, request, Run())
  assert jax.tree.map(jnp.shape, refs) == shapes  # one structure for life
  return refs


@pytest.mark.parametrize("method", [scar(**SMALL), scar_self(**{**SMALL, "epochs": 80})], ids=lambda m: m.name)
def test_the_class_goes_and_the_others_stay(method):
  request, model = class_request(), trained(FN)
  result = forget(method, model, request, key=jax.random.key(1))
  assert accuracy(model, request.forget) > 0.9
  assert accuracy(result.model, request.forget) < 0.2
  assert accuracy(result.model, request.extra["test"]) > 0.85


def test_moments_are_those_of_tukey_features():
  request = class_request()
  found = refs_of(scar(epochs=0), request)["gaussians"]
  everything = as_examples(request.forget) + request.retain
  z = outputs(trained(FN), everything, capture=("head:in",))["head:in"]
  y = everything.column("y")
  for c in range(3):
    np.testing.assert_allclose(found["mean"][c], np.sqrt(z[y == c]).mean(0), atol=1e-4)
  distances = losses.mahalanobis_squared(z, found["mean"], found["precision"])
  assert np.mean(np.argmin(distances, 1) == y) > 0.8  # the Gaussians know their classes
  chosen = targets(trained(FN), request.forget, {**found, "count": jnp.ones(3)}, (FORGOTTEN,), 0.5, "head:in", Run())
  assert set(np.asarray(chosen).tolist()) <= {0, 2}


def test_at_the_original_weights_nothing_but_the_forgotten_logit_is_distilled():
  request = random_request()
  refs = refs_of(scar(epochs=0), request)
  batch = role_batch(request.extra["surrogate"])
  view = View(jnp.zeros((), jnp.int32), jax.random.key(0), refs, {}, trained(FN).state)
  distil = objectives.surrogate_distill(FN, train=False)
  assert float(distil(trained(FN).params, batch, view)[0]) == pytest.approx(0.0, abs=1e-5)
  view = view._replace(refs={**refs, "forget_classes": jnp.arange(3) == FORGOTTEN})
  value, aux = distil(trained(FN).params, batch, view)
  predicted = outputs(trained(FN), request.extra["surrogate"])["logits"].argmax(-1)
  assert float(value) > 0 and int(aux["weight"]) == int(np.sum(predicted != FORGOTTEN))


def test_single_examples_of_a_class_below_the_floor_are_let_go():
  request = random_request()
  refs = refs_of(scar(epochs=0), request)
  batch = {**role_batch(request.forget), "target": jnp.zeros(len(request.forget), jnp.int32)}
  wrong = {**batch, "y": (batch["y"] + 1) % 3}
  view = View(jnp.zeros((), jnp.int32), jax.random.key(0), refs, {}, trained(FN).state)
  push = objectives.class_gaussian(FN, train=False)
  assert float(push(trained(FN).params, batch, view)[0]) > 0
  assert float(push(trained(FN).params, wrong, view)[0]) == 0.0
  removed = view._replace(refs={**refs, "forget_classes": jnp.ones(3, bool)})
  assert float(push(trained(FN).params, wrong, removed)[0]) > 0  # a class that goes, goes whole


def test_surrogates_are_drawn_against_frequency():
  predicted = np.repeat([0, 1, 2], [900, 90, 10])
  rows = against_frequency(predicted, jax.random.key(0))
  counts = np.bincount(predicted[rows], minlength=3)
  assert len(rows) == 1000 and counts.min() > 250
  np.testing.assert_array_equal(rows, against_frequency(predicted, jax.random.key(0)))


def test_self_forgetting_reads_no_forget_image():
  request, method = class_request(), scar_self(**{**SMALL, "epochs": 2})
  garbled = request._replace(forget=as_examples(request.forget).replace(x=np.full((len(request.forget), 4), 99.0)))
  a, b = (forget(method, trained(FN), r, key=jax.random.key(1)).model.params for r in (request, garbled))
  assert equal(a, b)


def test_errors():
  request, key = class_request(), jax.random.key(0)
  bare = request._replace(extra={})
  for method in (scar(), scar_self()):
    with pytest.raises(ValueError, match=r"needs images in request.extra\['surrogate'\]"):
      forget(method, trained(FN), bare, key=key)
  with pytest.raises(ValueError, match="scar_self forgets whole classes only"):
    forget(scar_self(), trained(FN), random_request(), key=key)
  with pytest.raises(ValueError, match="none of the 200 surrogate images is taken"):
    far = request.extra["surrogate"].replace(x=np.tile(np.float32([9, -9, 0, 0]), (200, 1)))
    forget(scar_self(), trained(FN), request._replace(extra={"surrogate": far}), key=key)
  with pytest.raises(ValueError, match="surrogate_weight must be >= 0"):
    forget(scar(surrogate_weight=-1), trained(FN), request, key=key)
