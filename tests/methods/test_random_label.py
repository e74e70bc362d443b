"""Random labels from all classes, drawn anew at every step."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest
from toy import TOY
from toy_scores import confidence
from toy_trained import accuracy, class_request, random_request, trained

from unlearnjax import objectives
from unlearnjax.core import forget
from unlearnjax.methods.classification.random_label import random_label

KEY = jax.random.key(1)
SMALL = dict(tx=optax.sgd(0.1, momentum=0.9), epochs=20, batch_size=16)


def test_the_model_loses_confidence_in_what_goes():
  request = class_request()
  result = forget(random_label(**SMALL), trained(), request, key=KEY)
  assert confidence(trained(), request.forget) > 0.9 and confidence(result.model, request.forget) < 0.6
  assert accuracy(result.model, request.retain) > 0.9


def test_labels_change_with_every_step_and_cover_all_classes():
  draws = np.stack([objectives.random_labels(jax.random.key(i), np.ones(60, int), 3) for i in range(50)])
  counts = np.bincount(draws.ravel(), minlength=3)
  assert np.sum((counts - 1000) ** 2 / 1000) < 13.8  # chi-square, 2 degrees of freedom, p = .001
  assert len(np.unique(draws, axis=0)) == 50


def test_same_key_same_bits_other_key_other_labels():
  method = random_label(tx=optax.sgd(0.1), epochs=1, batch_size=16)
  run = lambda key: np.asarray(forget(method, trained(), random_request(), key=key).model.params["head"]["kernel"])
  np.testing.assert_array_equal(run(KEY), run(KEY))
  assert np.any(run(KEY) != run(jax.random.key(2)))


def test_the_number_of_classes_is_the_width_of_the_model():
  method, request = random_label(epochs=1), class_request()
  wide = type(TOY)(classes=5)
  assert forget(method, wide.init(KEY), request, key=KEY).model.params["head"]["bias"].shape == (5,)


def test_it_needs_a_retain_set():
  with pytest.raises(ValueError, match="random_label needs a retain set"):
    forget(random_label(), trained(), class_request()._replace(retain=None), key=KEY)
