"""Forget sets chosen by how well the other examples keep them remembered."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import TOY
from toy_trained import data, equal, trained

from unlearnjax.core import Examples, Run
from unlearnjax.core.types import View
from unlearnjax.data import Dataset, load, worst_case
from unlearnjax.data.worst import losses_of
from unlearnjax.training import Recipe, train
from unlearnjax.updates import project_capped_simplex, sign

KEY = jax.random.key(1)


@pytest.mark.parametrize(
  "values, total, expected",
  [([0.9, 0.5, 0.1, -0.3], 2, [1, 0.7, 0.3, 0]), ([3, 2, 0, 0], 1, [1, 0, 0, 0]), ([0.2, 0.1], 2, [1, 1])],
)
def test_projection_onto_the_capped_simplex(values, total, expected):
  np.testing.assert_allclose(project_capped_simplex(jnp.array(values, jnp.float32), total), expected, atol=1e-6)


def test_the_projection_is_the_nearest_point():
  rng = np.random.default_rng(0)
  project = jax.jit(project_capped_simplex, static_argnames="total")
  for total in (3, 40, 199.5):
    a = jnp.asarray(5 * rng.normal(size=200), jnp.float32)
    w = np.asarray(project(a, total))
    assert w.min() >= 0 and w.max() <= 1 and abs(w.sum() - total) < 1e-3
    others = [np.asarray(project(jnp.asarray(rng.normal(size=200), jnp.float32), total)) for _ in range(20)]
    assert all(np.dot(a - w, other - w) <= 1e-2 for other in others)  # the obtuse angle of a projection
  low = jnp.asarray(rng.random(200), jnp.float32)
  chosen = project(-1e6 * low, 20)
  np.testing.assert_array_equal(np.asarray(chosen), np.asarray(low) <= np.sort(low)[19])
  with pytest.raises(ValueError, match=r"total must be in \[0, 2\], the number of values, got 3"):
    project_capped_simplex(jnp.zeros(2), 3)


def test_signs_and_their_random_zeros():
  tx = optax.chain(sign(randomize_zeros=True), optax.scale(-0.1))
  view = View(0, jax.random.key(0), {}, {}, ())
  updates, _ = tx.update({"w": jnp.zeros(1000)}, tx.init({}), view=view)
  np.testing.assert_allclose(np.unique(np.asarray(updates["w"])), [-0.1, 0.1], rtol=1e-6)
  assert abs(float(updates["w"].mean())) < 0.02
  with pytest.raises(ValueError, match="draws from view.rng"):
    tx.update({"w": jnp.zeros(1)}, tx.init({}))


@pytest.fixture(scope="module")
def odd():
  """Blobs of which every tenth carries a label of its own: what the others say nothing about."""
  rows = data()
  y = rows.column("y").copy()
  strange = np.arange(len(y)) % 10 == 0
  y[strange] = (y[strange] + 1) % 3
  table = Examples({"x": rows.column("x"), "y": y})
  model = train(TOY, table, Recipe(optax.adam(0.03), epochs=60, batch_size=32), key=jax.random.key(0))
  return model, Dataset("odd", table, rows, ("a", "b", "c"), "classification", None), np.flatnonzero(strange)


def test_the_hardest_set_is_what_the_others_say_and_the_easiest_what_they_do_not(odd):
  model, dataset, strange = odd
  given = dict(key=KEY, rounds=4, learning_rate=0.01, batch_size=32)
  hard = worst_case(model, dataset, 0.1, **given)
  easy = worst_case(model, dataset, 0.1, easiest=True, **given)
  assert len(hard.forget) == len(easy.forget) == 12 and len(hard.retain) == 108
  assert len(np.intersect1d(hard.ids, strange)) == 0
  assert len(np.intersect1d(easy.ids, strange)) >= 8
  assert hard.reason == "worst case 0.1" and easy.reason == "easiest case 0.1"


def test_a_finished_selection_is_not_made_again_and_leaves_the_model(odd, tmp_path):
  model, dataset, _ = odd
  before = jax.tree.map(np.array, model.params)
  runs = [Run(out=tmp_path) for _ in range(2)]
  first, second = (worst_case(model, dataset, 0.1, key=KEY, rounds=2, batch_size=32, run=run) for run in runs)
  np.testing.assert_array_equal(first.ids, second.ids)
  assert runs[1].cost.steps == runs[0].cost.steps and equal(before, model.params)


def test_a_large_step_takes_the_smallest_losses(odd):
  model, dataset, _ = odd
  request = worst_case(model, dataset, 0.2, key=KEY, rounds=1, step=1e9, learning_rate=1e-9, batch_size=32)
  smallest = np.argsort(losses_of(model, dataset.train, Run()))[:24]
  assert len(np.intersect1d(request.ids, smallest)) >= 22  # up to ties in float32


def test_messages():
  dataset = Dataset("toy", data(), data(), ("a", "b", "c"), "classification", None)
  with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\), got 1"):
    worst_case(trained(), dataset, 1, key=KEY)
  with pytest.raises(ValueError, match="rounds must be > 0"):
    worst_case(trained(), dataset, 0.1, key=KEY, rounds=0)
  with pytest.raises(ValueError, match="'diabetes' is for regression"):
    worst_case(trained(), load("diabetes"), 0.1, key=KEY)
