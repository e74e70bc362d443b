"""Training from scratch, alone and many at once, and the audit against it."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest
from toy import TOY, toy_data

import unlearnjax as uj
from unlearnjax.auditing import predict, weight_distance

RECIPE = uj.Recipe(optax.sgd(0.3, momentum=0.9), epochs=6, batch_size=16)


def request_of(data, label=2):
  y = data.column("y")
  test = toy_data(60, seed=9)
  gone = test.column("y") == label
  extra = {"test": test.where(~gone), "test_forget": test.where(gone)}
  return uj.ForgetRequest(data.where(y == label), data.where(y != label), extra=extra, classes=(label,))


@pytest.fixture(scope="module")
def trained():
  data = toy_data(120)
  request = request_of(data)
  original = uj.train(TOY, data, RECIPE, key=jax.random.key(0))
  oracle = uj.retrain(original, request, RECIPE, key=jax.random.key(1))
  return data, request, original, oracle


def test_same_key_same_bits_other_key_other_bits(trained):
  data, _, original, _ = trained
  again = uj.train(TOY, data, RECIPE, key=jax.random.key(0))
  other = uj.train(TOY, data, RECIPE, key=jax.random.key(5))
  assert weight_distance(original.params, again.params) == 0 < weight_distance(original.params, other.params)


def test_many_at_once_equal_one_by_one(trained):
  data, request, _, _ = trained
  keys = jax.random.split(jax.random.key(7), 3)
  sources = [request.retain[:64], request.retain[8:72], request.retain[16:80]]
  many = uj.train_many(TOY, sources, RECIPE, keys=keys)
  for key, source, model in zip(keys, sources, many):
    alone = uj.train(TOY, source, RECIPE, key=key)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), model.params, alone.params)
  with pytest.raises(ValueError, match="1 or 3 sources, got 2"):
    uj.train_many(TOY, sources[:2], RECIPE, keys=keys)


def test_the_oracle_never_saw_the_forget_set(trained):
  data, request, original, oracle = trained
  said = predict(oracle, request)
  assert said.accuracy("forget") == 0 and said.accuracy("retain") > 0.8 and said.accuracy("test_forget") == 0
  leaking = request._replace(retain=data, ids=request.forget.ids)
  with pytest.raises(ValueError, match="overlaps the retain set in 40 ids"):
    uj.retrain(TOY, leaking, RECIPE, key=jax.random.key(1))
  with pytest.raises(ValueError, match="needs a retain set"):
    uj.retrain(TOY, request._replace(retain=None), RECIPE, key=jax.random.key(1))


def test_audit_of_the_reference_itself_is_perfect(trained):
  _, request, original, oracle = trained
  audit = uj.audit(oracle, request, reference=oracle, original=original, stranger=TOY.init(jax.random.key(3)))
  assert audit.scores["gap"] == 0 and audit.scores["ToW"] == 100 and audit.scores["distance"] == 0
  assert audit.scores == audit.reference | {"distance": 0.0}
  assert "gap" in audit.table() and set(audit.confidences) == {"forget", "retain", "test"}


def test_audit_sees_that_the_original_remembers(trained):
  _, request, original, oracle = trained
  audit = uj.audit(original, request, reference=oracle, original=original)
  assert audit.scores["UA"] < 20 and audit.scores["gap"] > 20 and audit.scores["AUS"] < audit.reference["AUS"]


def test_audit_of_bad_input(trained):
  _, request, original, _ = trained
  with pytest.raises(ValueError, match="needs examples in request.retain, got none"):
    uj.audit(original, request._replace(retain=None))
  narrow = type(TOY)(2)
  with pytest.raises(ValueError, match=r"logits must be \[n, classes\] with more than 2 classes"):
    uj.audit(narrow.init(jax.random.key(0)), request)
  with pytest.raises(ValueError, match="different parameters"):
    weight_distance(original.params, {"a": np.zeros(2)})
