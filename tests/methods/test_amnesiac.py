"""Amnesiac: wrong labels, drawn once, on the union."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest
from toy import TOY, toy_data
from toy_trained import accuracy, class_request, random_request, trained

from unlearnjax.core import Run, bound, forget
from unlearnjax.methods.classification import amnesiac as module
from unlearnjax.methods.classification.amnesiac import amnesiac

KEY = jax.random.key(1)


@pytest.fixture
def seen(monkeypatch):
  """The plans that the method makes."""
  plans = []
  make = module.zip_roles
  monkeypatch.setattr(module, "zip_roles", lambda **kwargs: plans.append(make(**kwargs)) or plans[-1])
  return plans


def test_forget_labels_are_wrong_and_retain_labels_are_true(seen):
  request = random_request()
  forget(amnesiac(epochs=0), trained(), request, key=KEY)
  union = seen[0].streams["train"].sources[0]
  assert sorted(union.ids) == sorted([*request.forget.ids, *request.retain.ids])
  wrong = union.column("relabel") != union.column("y")
  np.testing.assert_array_equal(wrong, np.isin(union.ids, request.forget.ids))
  assert set(union.column("relabel")) <= {0, 1, 2}


def test_labels_are_drawn_once_from_the_key_and_belong_to_their_row(seen):
  request, method = random_request(), amnesiac(epochs=1)
  smaller = request._replace(forget=request.forget[:4])
  for r, key in ((request, KEY), (request, KEY), (smaller, KEY), (request, jax.random.key(7))):
    forget(method, trained(), r, key=key)
  one, two, few, other = (p.streams["train"].sources[0] for p in seen)
  np.testing.assert_array_equal(one.column("relabel"), two.column("relabel"))
  np.testing.assert_array_equal(few.select(smaller.forget.ids).column("relabel"), one.column("relabel")[:4])
  assert np.any(one.column("relabel") != other.column("relabel"))


def test_wrong_labels_are_uniform(seen):
  table = toy_data(3000)
  request = random_request()._replace(forget=table[:2700], retain=table[2700:], extra={})
  forget(amnesiac(epochs=0), trained(), request, key=KEY)
  union = seen[0].streams["train"].sources[0][:2700]
  shift = (union.column("relabel") - union.column("y")) % 3
  counts = np.bincount(shift, minlength=3)
  assert counts[0] == 0 and (counts[1] - 1350) ** 2 / 1350 + (counts[2] - 1350) ** 2 / 1350 < 10.8


def test_the_class_goes_and_the_others_stay():
  request, run = class_request(), Run()
  result = forget(amnesiac(tx=optax.adam(0.02), epochs=20, batch_size=32), trained(), request, key=KEY, run=run)
  assert accuracy(result.model, request.forget) < 0.3 and accuracy(result.model, request.retain) > 0.9
  assert run.cost.gradient_evaluations == 20 * 120


def test_messages():
  with pytest.raises(ValueError, match="amnesiac needs a retain set"):
    forget(amnesiac(), trained(), class_request()._replace(retain=None), key=KEY)
  other = toy_data(20, seed=3)
  verbs = bound(amnesiac(), TOY)
  with pytest.raises(ValueError, match="one table"):
    verbs.forget(*verbs.init(trained(), KEY), class_request()._replace(retain=other), Run())
