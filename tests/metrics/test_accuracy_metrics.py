from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unlearnjax import metrics

LOGITS = jnp.array([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 0.0, 5.0], [1.0, 0.0, 0.0]])
LABELS = jnp.array([0, 1, 1, 0])


def test_accuracy_counts_the_largest_score():
  assert float(metrics.accuracy(LOGITS, LABELS)) == 0.75
  assert float(metrics.accuracy(np.asarray(LOGITS), np.asarray(LABELS))) == 0.75
  assert float(jax.jit(metrics.accuracy)(LOGITS.astype(jnp.bfloat16), LABELS)) == 0.75


def test_accuracy_is_the_same_for_logits_and_probabilities():
  assert float(metrics.accuracy(jax.nn.softmax(LOGITS), LABELS)) == float(metrics.accuracy(LOGITS, LABELS))


def test_invalid_rows_do_not_count():
  assert float(metrics.accuracy(LOGITS, LABELS, jnp.array([True, True, False, True]))) == 1.0
  assert float(metrics.accuracy(LOGITS, LABELS, jnp.array([False, False, True, False]))) == 0.0
  assert np.isnan(metrics.accuracy(LOGITS, LABELS, jnp.zeros(4, bool)))


def test_unlearning_accuracy_is_the_error_in_percent():
  assert float(metrics.unlearning_accuracy(LOGITS, LABELS)) == 25.0


def test_ua_ra_ta():
  sets = ("forget", "retain", "test")
  rows = {"forget": slice(2, 3), "retain": slice(0, 2), "test": slice(0, 4)}
  scores = metrics.ua_ra_ta({s: LOGITS[rows[s]] for s in sets}, {s: LABELS[rows[s]] for s in sets})
  assert {k: float(v) for k, v in scores.items()} == {"UA": 100.0, "RA": 100.0, "TA": 75.0}
  with pytest.raises(ValueError, match="labels must have the sets.*missing: retain, test"):
    metrics.ua_ra_ta({s: LOGITS for s in sets}, {"forget": LABELS})


@pytest.mark.parametrize(
  ("logits", "labels", "message"),
  [
    (LOGITS, jnp.array([0, 1, 3, 0]), r"labels must lie in \[0, 3\)"),
    (LOGITS[:, :1], LABELS, r"labels must lie in \[0, 1\)"),
    (LOGITS, LABELS[:3], r"labels must be int\[4\]"),
    (LOGITS, LABELS.astype(jnp.float32), "labels must be integers"),
    (LOGITS[0], LABELS, r"logits_or_probs must be \[N, C\]"),
    (LOGITS[:0], LABELS[:0], "logits_or_probs is empty"),
  ],
)
def test_accuracy_refuses(logits, labels, message):
  with pytest.raises(ValueError, match=message):
    metrics.accuracy(logits, labels)


def test_accuracy_refuses_a_mask_of_another_length():
  with pytest.raises(ValueError, match=r"valid must be bool\[4\]"):
    metrics.accuracy(LOGITS, LABELS, jnp.ones(3, bool))


def test_confusion_counts():
  labels, predictions = jnp.array([0, 0, 1, 2, 2]), jnp.array([0, 1, 1, 0, 2])
  matrix = metrics.confusion(labels, predictions, 3)
  assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]
  assert int(matrix.sum()) == 5
  jitted = jax.jit(metrics.confusion, static_argnums=2)(labels, predictions, 3)
  assert jitted.tolist() == matrix.tolist()
  assert int(metrics.confusion(labels, predictions, 3, labels < 2).sum()) == 3


def test_interclass_scores_agree_with_the_confusion_matrix():
  rng = np.random.default_rng(0)
  labels, predictions = rng.integers(0, 4, (2, 200))
  matrix = np.asarray(metrics.confusion(labels, predictions, 4))
  assert int(metrics.forget_count(labels, predictions, (1, 3))) == matrix[1, 3] + matrix[3, 1]
  wrong = matrix[[1, 3]].sum() - matrix[1, 1] - matrix[3, 3]
  error = metrics.interclass_confusion_error(labels, predictions, (1, 3))
  np.testing.assert_allclose(error, wrong / matrix[[1, 3]].sum(), rtol=1e-6)


def test_confusion_refuses():
  with pytest.raises(ValueError, match=r"predictions must lie in \[0, 2\)"):
    metrics.confusion(jnp.array([0, 1]), jnp.array([0, 2]), 2)
  with pytest.raises(ValueError, match="two different classes"):
    metrics.forget_count(jnp.array([0, 1]), jnp.array([0, 1]), (1, 1))
  with pytest.raises(ValueError, match=r"must be two int\[N\]"):
    metrics.interclass_confusion_error(jnp.array([0, 1]), jnp.array([0]), (0, 1))


def test_corrected_area_is_the_mean_height():
  assert metrics.corrected_area([0.2, 0.4, 1.0], [50.0, 50.0, 50.0]) == pytest.approx(50.0)
  assert metrics.corrected_area([0.0, 1.0], [0.0, 1.0]) == pytest.approx(0.5)
  with pytest.raises(ValueError, match="must increase"):
    metrics.corrected_area([0.5, 0.2], [0.1, 0.1])
  with pytest.raises(ValueError, match="K >= 2"):
    metrics.corrected_area([0.5], [0.1])


def test_regression_errors():
  predictions, targets = jnp.array([[1.0], [3.0], [9.0]]), jnp.array([0.0, 5.0, 0.0])
  valid = jnp.array([True, True, False])
  assert float(metrics.mean_absolute_error(predictions, targets, valid)) == 1.5
  assert float(metrics.mean_squared_error(predictions, targets, valid)) == 2.5
  assert float(metrics.mean_absolute_error(targets, targets)) == 0.0
  with pytest.raises(ValueError, match="predictions is empty"):
    metrics.mean_absolute_error(jnp.zeros(0), jnp.zeros(0))
