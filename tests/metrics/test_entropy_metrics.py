from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common_paths import golden

from unlearnjax import metrics


def salun_probs(z, x):
  hidden = np.tanh(x @ z["in_w__0.weight"].T + z["in_w__0.bias"])
  return jax.nn.softmax(hidden @ z["in_w__2.weight"].T + z["in_w__2.bias"], axis=-1)


def test_figures_of_the_salun_reference():
  z = golden("salun")
  probs, labels = salun_probs(z, z["in_test_x"]), z["in_test_y"]
  np.testing.assert_allclose(metrics.membership_entropy(probs), z["out_entropy"], rtol=1e-3, atol=1e-6)
  np.testing.assert_allclose(metrics.modified_entropy(probs, labels), z["out_m_entropy_paper"], rtol=5e-3, atol=1e-5)
  peer = metrics.modified_entropy(probs, labels, compat="salun")
  np.testing.assert_allclose(peer, z["out_m_entropy_peer"], rtol=1e-4)


def test_entropy_ends():
  assert float(metrics.membership_entropy(jnp.full(8, 1 / 8))) == pytest.approx(np.log(8))
  assert float(metrics.membership_entropy(jnp.eye(3)[0])) == 0.0
  assert metrics.membership_entropy(jnp.full((2, 3, 4), 0.25, jnp.bfloat16)).shape == (2, 3)


def test_modified_entropy_knows_the_label():
  probs = jnp.array([[0.98, 0.01, 0.01]] * 2)
  right, wrong = metrics.modified_entropy(probs, jnp.array([0, 1]))
  assert 0 < float(right) < 0.05 < 4 < float(wrong)
  np.testing.assert_array_equal(metrics.modified_entropy(jnp.eye(3), jnp.arange(3)), 0)


def test_modified_entropy_of_two_classes_by_hand():
  p = np.array([0.3, 0.9])
  expected = -(1 - p) * np.log(p) - (1 - p) * np.log(p)  # the other class has 1 - p and log(1 - (1 - p))
  found = jax.jit(metrics.modified_entropy)(np.stack([p, 1 - p], 1), np.zeros(2, int))
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_row_of_the_paper_does_not_depend_on_other_rows():
  probs = jax.nn.softmax(jax.random.normal(jax.random.key(0), (5, 4)))
  labels = jnp.array([0, 1, 2, 3, 0])
  one_by_one = [metrics.modified_entropy(probs[i : i + 1], labels[i : i + 1])[0] for i in range(5)]
  np.testing.assert_allclose(metrics.modified_entropy(probs, labels), one_by_one, rtol=1e-6)


@pytest.mark.parametrize(
  ("probs", "labels", "message"),
  [
    (jnp.ones((2, 3)), jnp.array([0, 1]), "sum to 1"),
    (jnp.eye(3), jnp.array([0, 1, 3]), r"labels must lie in \[0, 3\)"),
    (jnp.eye(3), jnp.array([0, 1]), r"labels must be int\[3\]"),
  ],
)
def test_modified_entropy_refuses(probs, labels, message):
  with pytest.raises(ValueError, match=message):
    metrics.modified_entropy(probs, labels)
