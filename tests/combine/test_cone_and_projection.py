"""GEM, A-GEM, OGD, GPM and the symmetric combiners against brute force, identities and published figures."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from common_paths import golden
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearnjax import combine, objectives
from unlearnjax.core import UnlearnState, descend


def split(x):
  """A vector [..., P] as a tree of two leaves, one of them a matrix."""
  half = x.shape[-1] // 2 // 2 * 2
  return {"a": x[..., :half].reshape(*x.shape[:-1], 2, half // 2), "b": x[..., half:]}


def joined(tree, lead=0):
  return np.concatenate([np.asarray(x).reshape(*x.shape[:lead], -1) for x in jax.tree.leaves(tree)], -1)


@pytest.fixture(scope="module")
def solve():
  """One compiled projection a margin, for up to 20 tasks in 40 dimensions."""

  def make(margin):
    combiner = combine.gem(margin=margin)
    return jax.jit(lambda g, rows, valid: combiner.update(
      {"current": split(g), "memory": split(rows)}, combiner.init(None), None, valid={"memory": valid}
    )[0])  # fmt: skip

  made = {margin: make(margin) for margin in (0.0, 0.5)}

  def run(g, rows, margin):
    padded = np.full((20, len(g)), np.nan, np.float32)  # whatever stands in rows that are not valid
    padded[: len(rows)] = rows
    return joined(made[margin](jnp.asarray(g, jnp.float32), jnp.asarray(padded), jnp.arange(20) < len(rows)))

  return run


def brute(g, rows, margin):
  """The cone projection by an active-set method in float64."""
  if (rows @ g >= 0).all():
    return g
  low = np.full(len(rows), margin)
  u, _ = scipy.optimize.nnls(rows.T, -(g + rows.T @ low))
  return g + rows.T @ (u + low)


@settings(max_examples=20, deadline=None)
@given(tasks=st.integers(1, 20), seed=st.integers(0, 10**6), margin=st.sampled_from([0.0, 0.5]), alike=st.booleans())
def test_gem_is_the_projection_onto_the_cone(solve, tasks, seed, margin, alike):
  rng = np.random.default_rng(seed)
  shared = rng.normal(size=40) if alike else 0
  rows, g = rng.normal(size=(tasks, 40)) + shared, rng.normal(size=40) - shared
  rows *= np.exp(rng.normal(size=(tasks, 1)))
  found, want = solve(g, rows, margin), brute(g, rows, margin)
  size = np.linalg.norm(want) + np.linalg.norm(g)
  np.testing.assert_allclose(found / size, want / size, atol=1e-4)
  if margin == 0:
    assert (rows @ found >= -1e-3 * size * np.linalg.norm(rows, axis=1)).all()


def plain(combiner, g, rows):
  params = {"w": jnp.zeros(len(g))}
  grads = {"current": {"w": jnp.asarray(g, jnp.float32)}, "memory": {"w": jnp.asarray(rows, jnp.float32)}}
  return np.asarray(combiner.update(grads, combiner.init(params), params)[0]["w"])


CARD = [
  ([[1, 0]], [-1, 1], 0.0, [0, 1]),
  ([[1, 0]], [-1, 1], 0.5, [0, 1]),
  ([[1, 0]], [1, 1], 0.5, [1, 1]),
  ([[1, 0, 0], [0, 1, 0]], [-1, 0.5, 2], 0.0, [0, 0.5, 2]),
  ([[1, 0, 0], [0, 1, 0]], [-1, 0.5, 2], 0.5, [0, 1, 2]),
  ([[1, 0], [1, 0]], [-1, 1], 0.0, [0, 1]),  # twice the same task
  ([[0, 0], [1, 0]], [-1, 1], 0.5, [0, 1]),  # an empty one
  ([[0, 0]], [-1, 1], 0.5, [-1, 1]),
]


@pytest.mark.parametrize("rows, g, margin, want", CARD)
def test_gem_by_hand(rows, g, margin, want):
  np.testing.assert_allclose(plain(combine.gem(margin=margin), g, rows), want, atol=1e-4)


def test_the_papers_margin_is_added_to_the_solution():
  np.testing.assert_allclose(plain(combine.gem(margin=0.5, margin_on="shift"), [-1, 1], [[1, 0]]), [0.5, 1], atol=1e-4)


@pytest.mark.parametrize("g", [[-1.0, 1.0], [2.0, 1.0], [0.0, 0.0]])
def test_gem_with_one_task_is_agem(g):
  row = np.array([1.0, 0.5])
  grads = {"current": {"w": jnp.array(g)}, "memory": {"w": jnp.array(row)}}
  once = np.asarray(combine.agem().update(grads, (), None)[0]["w"])
  np.testing.assert_allclose(plain(combine.gem(margin=0.0), g, row[None]), once, atol=1e-5)
  assert row @ once >= -1e-6 and np.linalg.norm(once) <= np.linalg.norm(g) + 1e-6


def test_agem_of_an_empty_memory_changes_nothing():
  grads = {"current": {"w": jnp.array([-1.0, 1.0])}, "memory": {"w": jnp.zeros(2)}}
  assert combine.agem().update(grads, (), None)[0]["w"].tolist() == [-1.0, 1.0]


def test_ogd_removes_the_span_whatever_its_basis():
  rng = np.random.default_rng(0)
  rows, g = rng.normal(size=(4, 9)), rng.normal(size=9)
  rows = np.concatenate([rows, rows[:1] * 3, np.zeros((1, 9))])  # dependent rows and an empty one
  found = plain(combine.ogd(), g, rows)
  q = np.linalg.qr(rows[:4].T)[0]
  np.testing.assert_allclose(found, g - q @ (q.T @ g), atol=1e-5)
  np.testing.assert_allclose(plain(combine.ogd(orthonormal=True), g, q.T), found, atol=1e-5)


def test_ogd_agrees_with_the_reference():
  z = golden("ogd")
  found = plain(combine.ogd(), z["in_g"], z["in_V"].T)
  np.testing.assert_allclose(found, z["out_ogd_grad"], atol=2e-5)
  np.testing.assert_allclose(plain(combine.ogd(orthonormal=True), z["in_g"], z["out_Q"].T), found, atol=2e-5)


def test_agem_agrees_with_the_reference():
  """One SGD step of the reference's network; its weights before and after give its gradient."""
  z = golden("mammoth_cl")
  x, y, w0, w1 = (z[k] for k in ("in_x", "in_y", "in_w0", "out_agem_w1"))

  def logits(w, x):
    a, b, c = w[:60].reshape(10, 6), w[60:70], w[70:120].reshape(5, 10)
    return jnp.tanh(x @ a.T + b) @ c.T + w[120:]

  loss = lambda w, i: optax.softmax_cross_entropy_with_integer_labels(logits(w, x[i]), y[i].astype(np.int32)).mean()
  grad = jax.grad(loss)
  w = jnp.asarray(w0)
  found = [combine.agem().update({"current": {"w": grad(w, i)}, "memory": {"w": grad(w, j)}}, (), None)[0]["w"]
           for i in range(6) for j in range(6) if i != j]  # fmt: skip
  moved = (w0 - w1) / np.linalg.norm(w0 - w1)
  cosine = [float(f @ moved / jnp.linalg.norm(f)) for f in found]
  assert max(cosine) > 1 - 1e-5


def test_gpm_leaves_what_layers_do_to_old_inputs():
  rng = np.random.default_rng(0)
  inputs = rng.normal(size=(3, 6)).astype(np.float32)
  basis = np.linalg.qr(inputs.T)[0].T
  kernel = jnp.asarray(rng.normal(size=(2, 3, 4)), jnp.float32)  # a convolution: [window, in, out]
  grads = {"current": {"k": kernel, "b": jnp.ones(4)}, "memory": {"k": jnp.asarray(basis), "b": jnp.ones((1, 1))}}
  found, _ = combine.gpm().update(grads, (), None)
  assert np.abs(inputs @ np.asarray(found["k"]).reshape(6, 4)).max() < 1e-5
  assert not np.asarray(found["b"]).any() and found["k"].shape == kernel.shape


def test_pcgrad_is_the_published_loop():
  rng = np.random.default_rng(1)
  g = rng.normal(size=(4, 7))
  total = np.zeros(7)
  for i in range(4):
    mine = g[i].copy()
    for j in range(4):
      if j != i and (dot := mine @ g[j]) < 0:
        mine -= dot / (g[j] @ g[j]) * g[j]
    total += mine
  grads = {"now": {"w": jnp.asarray(g[0], jnp.float32)}, "memory": {"w": jnp.asarray(g[1:], jnp.float32)}}
  found = combine.pcgrad().update(grads, (), {"w": jnp.zeros(7)})[0]["w"]
  np.testing.assert_allclose(found, total, atol=1e-5)


def test_mgda_and_cagrad_solve_their_programs():
  rng = np.random.default_rng(2)
  g = rng.normal(size=(3, 5)) + 0.5
  grads = {"memory": {"w": jnp.asarray(np.vstack([g, np.full((1, 5), np.nan)]), jnp.float32)}}
  valid = {"memory": jnp.array([True, True, True, False])}
  weights = np.random.default_rng(3).dirichlet(np.ones(3), 20_000)
  least = np.linalg.norm(weights @ g, axis=1).min()
  found = combine.mgda().update(grads, (), {"w": jnp.zeros(5)}, valid=valid)[0]["w"]
  assert np.linalg.norm(found) <= least + 1e-3
  assert (g @ np.asarray(found) >= least**2 - 1e-2).all()
  mean = g.mean(0)
  d = np.asarray(combine.cagrad(c=0.5).update(grads, (), {"w": jnp.zeros(5)}, valid=valid)[0]["w"])
  radius = 0.5 * np.linalg.norm(mean)
  assert np.linalg.norm(d - mean) <= radius * 1.001
  tried = np.random.default_rng(4).normal(size=(20_000, 5))
  tried = mean + radius * tried / np.linalg.norm(tried, axis=1, keepdims=True)
  assert (g @ d).min() >= (tried @ g.T).min(1).max() - 1e-2


@pytest.mark.parametrize("name", ["gem", "ogd", "pcgrad", "mgda", "cagrad"])
def test_they_are_links_of_an_optax_chain(name):
  tx = optax.chain(combine.as_optax(getattr(combine, name)()), optax.sgd(1.0))
  params = {"w": jnp.zeros(2)}
  grads = {"current": {"w": jnp.array([-1.0, 1.0])}, "memory": {"w": jnp.array([[1.0, 0.0]])}}
  updates, _ = jax.jit(tx.update)(grads, tx.init(params), params)
  assert updates["w"].shape == (2,) and bool(jnp.isfinite(updates["w"]).all())


def test_descend_with_a_memory_of_which_a_task_is_empty():
  rng = np.random.default_rng(0)

  def loss(params, batch, view):
    value, aux = objectives.mean(((batch["x"] @ params["w"]) - batch["y"]) ** 2, batch)
    return value, aux

  step = descend(
    {"current": loss, "memory": objectives.per_task(loss)}, optax.sgd(0.1), combine=combine.gem(margin=0.0)
  )
  state = step.init(UnlearnState.create({"w": jnp.zeros(3)}, rng=jax.random.key(0)))
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  valid = jnp.ones((4, 5), bool).at[2].set(False)
  batch = {
    "current": {"x": draw(6, 3), "y": draw(6), "valid": jnp.ones(6, bool)},
    "memory": {"x": draw(4, 5, 3), "y": draw(4, 5).at[2].set(jnp.nan), "valid": valid},
  }
  state, info = jax.jit(step.update)(state, batch, {})
  assert bool(info["ok"]) and bool(jnp.isfinite(state.params["w"]).all())


@pytest.mark.parametrize(
  "make, grads, message",
  [
    (combine.gem, {"current": jnp.ones(2)}, "gem needs a role 'memory'; the roles are \\['current'\\]"),
    (combine.gem, {"current": {"w": jnp.ones(2)}, "memory": {"w": jnp.ones(2)}}, "must be rows \\[T, ...\\]"),
    (combine.gem, {"current": {"w": jnp.ones(2)}, "memory": {"v": jnp.ones((1, 2))}}, "must have the structure"),
    (combine.agem, {"current": {"w": jnp.ones(2)}, "memory": {"w": jnp.ones((1, 2))}}, "has shape \\(1, 2\\)"),
    (combine.ogd, {"memory": {"w": jnp.ones(2)}}, "ogd needs a role 'current'"),
    (combine.gpm, {"current": {"w": jnp.ones((2, 2))}, "memory": {"w": jnp.ones((1, 3))}}, "must be \\[r, 2\\]"),
    (lambda: combine.ogd(basis="b"), {"current": {"w": jnp.ones(2)}}, "needs a role 'memory' or refs\\['b'\\]"),
  ],
)
def test_what_does_not_fit_is_refused(make, grads, message):
  with pytest.raises(ValueError, match=message):
    make().update(grads, (), None)


@pytest.mark.parametrize("options", [{"margin": -1}, {"ridge": -1}, {"iterations": 0}, {"margin_on": "nope"}])
def test_settings_out_of_range_are_refused(options):
  with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
    combine.gem(**options)
