from __future__ import annotations

import jax
import numpy as np
import pytest
from common_paths import golden

from unlearnjax import attacks
from unlearnjax.attacks.features import KINDS


def population(seed, size, sharpness, classes=4):
  """Probabilities and labels of a model that is right and sure in proportion to `sharpness`."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, classes, size)
  logits = rng.normal(size=(size, classes)) + sharpness * np.eye(classes)[labels]
  probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  return probs.astype(np.float32), labels


def test_figures_of_the_salun_reference():
  z = golden("salun")

  def predict(name):
    hidden = np.tanh(z[f"in_{name}_x"] @ z["in_w__0.weight"].T + z["in_w__0.bias"])
    logits = hidden @ z["in_w__2.weight"].T + z["in_w__2.bias"]
    return np.asarray(jax.nn.softmax(logits, axis=-1)), z[f"in_{name}_y"]

  found = attacks.svc_mia(*predict("rtr"), *predict("rte"), *predict("forget"), compat="salun")
  assert set(found) == set(KINDS)
  for kind, value in found.items():
    assert value == pytest.approx(100 * float(z[f"out_svc_mia_forget__{kind}"]), abs=1e-4), kind


def test_a_forget_set_like_the_test_set_is_called_unseen_as_often():
  retain, test = population(0, 600, 5.0), population(1, 600, 1.0)
  forget, unseen = population(2, 600, 1.0), population(3, 600, 1.0)
  found, expected = (attacks.svc_mia(*retain, *test, *target) for target in (forget, unseen))
  for kind in KINDS:
    assert abs(found[kind] - expected[kind]) < 300 * np.sqrt(2 * 0.25 / 600), kind
  assert found["confidence"] > 75


def test_a_forget_set_like_the_retain_set_is_called_seen():
  retain, test, forget = population(0, 600, 5.0), population(1, 600, 1.0), population(2, 600, 5.0)
  found = attacks.svc_mia(*retain, *test, *forget)
  assert all(value < 25 for value in found.values()), found


def test_separable_sets_give_the_ends():
  sure, unsure = (np.tile(np.array([[p, 1 - p]]), (60, 1)) for p in (0.99, 0.6))
  zeros = np.zeros(60, int)
  kinds = ("confidence", "entropy", "m_entropy", "prob")
  for target, value in ((sure, 0.0), (unsure, 100.0)):
    assert attacks.svc_mia(sure, zeros, unsure, zeros, target, zeros, kinds=kinds) == dict.fromkeys(kinds, value)


def test_the_same_seed_gives_the_same_score():
  sets = [x for s, size in ((0, 300), (1, 100), (2, 100)) for x in population(s, size, 2.0)]
  one, two = (attacks.svc_mia(*sets, kinds=("prob",), seed=3) for _ in range(2))
  assert one == two
  assert len({attacks.svc_mia(*sets, kinds=("prob",), seed=s)["prob"] for s in range(6)}) > 1


def test_at_most_max_shadow_examples_fit_the_attack(monkeypatch):
  from unlearnjax.attacks import svc

  fitted = []
  original = svc.fit_svc
  monkeypatch.setattr(svc, "fit_svc", lambda a, b: fitted.append((len(a), len(b))) or original(a, b))
  sets = [x for s, size in ((0, 90), (1, 60), (2, 10)) for x in population(s, size, 2.0)]
  attacks.svc_mia(*sets, kinds=("confidence",))
  attacks.svc_mia(*sets, kinds=("confidence",), max_shadow=20)
  attacks.svc_mia(*sets, kinds=("confidence",), compat="salun")
  assert fitted == [(60, 60), (20, 20), (90, 60)]


def test_training_privacy_is_chance_on_one_distribution_and_certain_on_two():
  same = attacks.training_privacy(*population(0, 800, 2.0), *population(1, 800, 2.0))
  for kind, value in same.items():
    assert abs(value - 50) < 300 * 0.5 / np.sqrt(800), kind
  far = attacks.training_privacy(*population(0, 200, 12.0), *population(1, 200, 0.0), kinds=("confidence",))
  assert far["confidence"] > 90


GOOD = population(0, 12, 1.0)


@pytest.mark.parametrize(
  ("retain", "test", "forget", "message"),
  [
    ((np.ones((12, 4)), GOOD[1]), GOOD, GOOD, "retain_probs must have rows .* sum to 1"),
    (GOOD, (GOOD[0], GOOD[1] + 4), GOOD, r"test_labels must lie in \[0, 4\)"),
    (GOOD, GOOD, (GOOD[0][:0], GOOD[1][:0]), "forget_probs is empty"),
    (GOOD, GOOD, population(0, 12, 1.0, classes=5), "same number of classes, got retain_probs 4"),
    (GOOD, GOOD, (GOOD[0], GOOD[1][:5]), r"forget_labels must be int\[12\]"),
  ],
)
def test_svc_mia_refuses(retain, test, forget, message):
  with pytest.raises(ValueError, match=message):
    attacks.svc_mia(*retain, *test, *forget)


def test_svc_mia_refuses_unknown_options():
  with pytest.raises(ValueError, match="kind must be one of correctness"):
    attacks.svc_mia(*GOOD, *GOOD, *GOOD, kinds=("logits",))
  with pytest.raises(ValueError, match="compat must be one of None, salun"):
    attacks.svc_mia(*GOOD, *GOOD, *GOOD, compat="sparse")
  with pytest.raises(ValueError, match="two examples in each set, got 1 retain and 12 test"):
    attacks.training_privacy(GOOD[0][:1], GOOD[1][:1], *GOOD)


def test_threshold_attack_is_chance_on_one_distribution_and_certain_on_two():
  members, others = population(0, 2000, 2.0), population(1, 2000, 2.0)
  same = attacks.threshold_mia(members, others, population(2, 2000, 2.0), population(3, 2000, 2.0))
  for kind, result in same.items():
    assert abs(result.balanced_accuracy - 0.5) < 3 * 0.5 / np.sqrt(4000) + 1e-9, kind
    assert result.balanced_accuracy == pytest.approx((result.tpr + result.tnr) / 2)
  sure, unsure = population(4, 300, 40.0), population(5, 300, 0.0)
  far = attacks.threshold_mia(sure, unsure, sure, unsure, kinds=("confidence", "entropy", "m_entropy"))
  assert all(result.balanced_accuracy > 0.99 for result in far.values())


def test_thresholds_are_chosen_by_class():
  probs = np.array([[0.9, 0.1], [0.6, 0.4], [0.4, 0.6], [0.1, 0.9]])
  # class 0: members at 0.9, others at 0.6; class 1: members at 0.6, others at 0.1: no common threshold separates them
  members = (probs[[0, 2]], np.array([0, 1]))
  others = (np.array([[0.7, 0.3], [0.9, 0.1]]), np.array([0, 1]))
  result = attacks.threshold_mia(members, others, members, others, kinds=("confidence",))["confidence"]
  assert result == (1.0, 1.0, 1.0)


def test_a_class_without_shadow_examples_takes_the_common_threshold():
  shadow = (np.array([[0.9, 0.1]]), np.array([0])), (np.array([[0.5, 0.5]]), np.array([0]))
  target = (np.array([[0.05, 0.95]]), np.array([1])), (np.array([[0.6, 0.4]]), np.array([1]))
  result = attacks.threshold_mia(*shadow, *target, kinds=("confidence",))["confidence"]
  assert result.balanced_accuracy == 1.0


def test_correctness_needs_no_threshold():
  right, wrong = (np.array([[0.9, 0.1]] * 4), np.zeros(4, int)), (np.array([[0.9, 0.1]] * 4), np.ones(4, int))
  result = attacks.threshold_mia(wrong, right, right, wrong, kinds=("correctness",))["correctness"]
  assert result == (1.0, 1.0, 1.0)
  with pytest.raises(ValueError, match="kinds must be one of correctness"):
    attacks.threshold_mia(right, wrong, right, wrong, kinds=("prob",))
