"""Concept poisoning: where patches go, which labels they get, which weights move, and what it is that forgets."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from common_paths import data_dir
from toy_trained import accuracy, class_request, equal

import unlearnjax as uj
from unlearnjax import models, objectives
from unlearnjax.core import Examples, ForgetRequest, Model, Outputs, Run, UnlearnState, descend, fit, forget, zip_roles
from unlearnjax.curvature.windows import class_concepts, concept_peaks, windows_alone
from unlearnjax.data.patches import PLACES, part, paste_donors
from unlearnjax.methods.classification.concept_poison import concept_poison
from unlearnjax.training import Recipe, train

FN = models.make("mlp", input_shape=(7, 7, 1), num_outputs=3, widths=(16,))
QUICK = dict(tx=optax.sgd(0.1, momentum=0.9), epochs=12, batch_size=32)


@functools.cache
def request() -> ForgetRequest:
  """Grey images with a bright row, column or diagonal; the row is to be forgotten."""
  rng = np.random.default_rng(0)
  y = np.arange(120) % 3
  x = rng.normal(0, 0.3, (120, 7, 7, 1))
  for i, c in enumerate(y):
    x[i, 2 if c == 0 else np.arange(7), np.arange(7) if c != 1 else 4] += 2
  table = Examples({"x": x.astype(np.float32), "y": y.astype(np.int32)})
  gone = table.where(y == 0)
  return ForgetRequest(gone, table.where(y != 0), gone.ids, classes=(0,))


@functools.cache
def original():
  return train(FN, request().forget + request().retain, Recipe(optax.adam(0.01), 8, 32), key=jax.random.key(0))


def pixels(params, inputs, *, capture=(), **_):
  """A model whose features are the pixels."""
  flat = inputs["x"].reshape(len(inputs["x"]), -1)
  return Outputs(flat[:, :2], {"head:in": flat} if capture else {})


def test_windows_and_sizes_are_those_of_the_paper():
  assert windows_alone(jnp.zeros((224, 224, 1)), jnp.zeros((224, 224, 1)), size=64, stride=16).shape[:2] == (11, 11)
  assert [part(224, n) for n in (2, 3, 5)] == [64, 96, 160]
  with pytest.raises(ValueError, match=r"size must be in \[1, 4\], got 5"):
    windows_alone(jnp.zeros((4, 4, 1)), jnp.zeros((4, 4, 1)), size=5, stride=1)


def test_a_peak_is_where_the_concept_is():
  places = np.random.default_rng(0).integers(0, 7, (21, 2))
  images = np.zeros((21, 7, 7, 1), np.float32)
  images[np.arange(21), places[:, 0], places[:, 1]] = 1
  run, model = Run(), Model({}, fn=pixels)
  found = concept_peaks(model, images, np.ones((21, 49)), np.zeros((7, 7, 1)), run, size=1, stride=1)
  np.testing.assert_array_equal(found, places)
  assert run.cost.forward_evaluations == 21 * 49


def test_a_patch_of_the_image_itself_changes_nothing_and_borders_hold():
  rng = np.random.default_rng(0)
  images, donors = rng.normal(size=(2, 4, 14, 14, 1)).astype(np.float32)
  at = np.array([[0, 0], [13, 13], [7, 7], [0, 13]])
  np.testing.assert_array_equal(paste_donors(images, images, "localised", at=at, donor_at=at, rng=rng), images)
  pasted = paste_donors(images, donors, "localised", at=at, donor_at=at, rng=rng)
  np.testing.assert_array_equal((pasted != images).sum((1, 2, 3)), 16)  # 4 x 4, whole at the borders too
  sizes = {"center": 36, "random": 36, "full": 100, "none": 0}
  for place, count in sizes.items():
    np.testing.assert_array_equal((paste_donors(images, donors, place, rng=rng) != images).sum((1, 2, 3)), count)
  with pytest.raises(ValueError, match="needs at= and donor_at="):
    paste_donors(images, donors, "localised", rng=rng)


def test_every_class_is_defined_by_its_own_concept():
  vectors, head = class_concepts(original(), request().forget + request().retain)
  assert vectors.shape == (3, 16) and head.argmax(1).tolist() == [0, 1, 2]
  two, head = class_concepts(original(), request().retain)
  assert not two[0].any() and not head[0].any() and two[1].any()
  with pytest.raises(ValueError, match=r"at least two classes, got \[0\]"):
    class_concepts(original(), request().forget)


def test_targeted_labels_forget_and_kept_ones_do_not():
  for place in ("localised", "none"):
    for labels, low, high in (("targeted", 0.0, 0.1), ("keep", 0.9, 1.0)):
      result = forget(concept_poison(place=place, labels=labels, **QUICK), original(), request(), key=jax.random.key(1))
      assert low <= accuracy(result.model, request().forget) <= high
      assert accuracy(result.model, request().retain) > 0.9
      assert equal(result.model.params["blocks"], original().params["blocks"])
      assert not equal(result.model.params["head"], original().params["head"])


def test_without_patch_and_label_it_is_fine_tuning_of_the_head_on_everything():
  result = forget(concept_poison(place="none", labels="keep", **QUICK), original(), request(), key=jax.random.key(1))
  step = descend({"train": objectives.cross_entropy(FN, train=False)}, QUICK["tx"], over=("head",))
  state = step.init(UnlearnState.create(original().params, rng=jax.random.key(1)))
  plan = zip_roles(train=request().forget + request().retain, batch_size=32, epochs=12)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), result.model.params, fit(step, state, plan)[0].params
  )


def test_several_concepts_and_all_weights():
  method = concept_poison(concepts=2, over=None, **{**QUICK, "epochs": 1})
  result = forget(method, original(), request(), key=jax.random.key(1))
  assert not equal(result.model.params["blocks"], original().params["blocks"])


def test_errors():
  key = jax.random.key(0)
  with pytest.raises(ValueError, match="place must be one of localised, center, random, full, none; got 'left'"):
    concept_poison(place="left")
  with pytest.raises(ValueError, match="labels must be one of targeted, random, keep"):
    concept_poison(labels="true")
  with pytest.raises(ValueError, match="concept_poison forgets whole classes only"):
    forget(concept_poison(), original(), request()._replace(classes=()), key=key)
  with pytest.raises(ValueError, match="concept_poison needs a retain set"):
    forget(concept_poison(), original(), request()._replace(retain=None), key=key)
  with pytest.raises(ValueError, match=r"needs images x\[n, H, W, channels\]"):
    forget(concept_poison(), original(), class_request(), key=key)


@pytest.mark.slow
def test_the_label_forgets_and_not_the_place():
  """A class that is told by a small mark at a random place, on real images."""
  data_dir("fashion_mnist")
  data, chosen, side = uj.data.load("fashion_mnist", train_size=3000, test_size=1000), 6, 5
  rng, (low, high) = np.random.default_rng(0), data.value_range
  mark = np.where(np.add.outer(np.arange(side), np.arange(side)) % 2 == 0, high, low)[..., None]
  x, y = data.train.column("x").copy(), data.train.column("y")
  corners = rng.integers(0, 28 - side + 1, (len(x), 2))
  for i in np.flatnonzero(y == chosen):
    x[i, corners[i, 0] : corners[i, 0] + side, corners[i, 1] : corners[i, 1] + side] = mark
  table = data.train.replace(x=x)
  gone, kept = table.where(y == chosen), table.where(y != chosen)
  fn = models.make("convnet", input_shape=(28, 28, 1), num_outputs=10)
  model = train(fn, table, Recipe(optax.adam(1e-3), 8, 64), key=jax.random.key(0))

  vectors, _ = class_concepts(model, table)
  directions = np.tile(vectors[chosen], (len(gone), 1))
  found = concept_peaks(model, gone.column("x"), directions, kept.column("x").mean(0), size=8, stride=2)
  middle = corners[y == chosen] + side // 2
  hit = lambda guess: np.mean(np.abs(guess - middle).max(1) <= 2)
  assert hit(found) > 0.9 and hit(np.array([14, 14])) < 0.1

  left = {}
  ask = ForgetRequest(gone, kept, gone.ids, classes=(chosen,))
  for place in PLACES:
    for labels in ("targeted", "random", "keep"):
      method = concept_poison(place=place, labels=labels, epochs=8, tx=optax.sgd(0.005, momentum=0.9))
      result = forget(method, model, ask, key=jax.random.key(1))
      left[place, labels] = accuracy(result.model, gone)
      assert accuracy(result.model, kept) > 0.93
  assert all(left[place, "targeted"] < (0.3 if place == "full" else 0.2) for place in PLACES)  # full: .24 was seen
  assert all(left[place, "keep"] > 0.9 for place in ("localised", "random", "none"))
  assert all(left[place, "keep"] > left[place, "targeted"] + 0.3 for place in PLACES)
  assert left["none", "targeted"] < 0.02 and left["random", "targeted"] < 0.02  # no spot has to be found
