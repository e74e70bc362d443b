from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_net import mlp, mlp_params, random_role, view

from unlearnjax import objectives, reparam, updates
from unlearnjax.core import Outputs, UnlearnState, descend

PARAMS = mlp_params()
SIZE = sum(p.size for p in jax.tree.leaves(PARAMS))
PLAIN = reparam.hypernet(tasks=3, hidden=(8,), task_size=4)
CHUNKED = reparam.hypernet(tasks=3, hidden=(8,), task_size=4, chunk=50, chunk_size=3)
BOTH = pytest.mark.parametrize("net", [PLAIN, CHUNKED], ids=["plain", "chunked"])


def _start(net):
  phi, refs = net.init(jax.random.key(0), PARAMS)
  return phi, {**refs, "snapshot": {"params": phi}, "seen": jnp.array(1)}


@BOTH
def test_it_writes_every_weight_at_the_scale_of_the_target(net):
  phi, refs = _start(net)
  weights = net.generate(phi, 0, refs)
  assert jax.tree.map(jnp.shape, weights) == jax.tree.map(jnp.shape, PARAMS)
  flat = lambda tree: np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
  assert 0.3 < np.std(flat(weights)) / np.std(flat(PARAMS)) < 3
  same = {**phi, "tasks": phi["tasks"].at[1].set(phi["tasks"][0])}
  jax.tree.map(np.testing.assert_array_equal, net.generate(same, 1, refs), weights)
  assert np.any(flat(net.generate(phi, 1, refs)) != flat(weights))


def test_chunks_are_as_many_as_needed_and_written_in_order():
  phi, refs = _start(CHUNKED)
  assert phi["chunks"].shape == (-(-SIZE // 50), 3)
  wide = reparam.hypernet(tasks=3, hidden=(8,), task_size=4, chunk=100, chunk_size=3).init(jax.random.key(0), PARAMS)[0]
  assert wide["chunks"].shape[0] == -(-SIZE // 100)
  rows = []
  for c in np.asarray(phi["chunks"]):
    h = np.concatenate([np.asarray(phi["tasks"][1]), c])
    for i, activation in enumerate((lambda z: np.maximum(z, 0), lambda z: z)):
      layer = phi["net"][str(i)]
      h = activation(h @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]))
    rows.append(h)
  want, found = np.concatenate(rows)[:SIZE], CHUNKED.generate(phi, 1, refs)
  np.testing.assert_allclose(np.concatenate([np.ravel(x) for x in jax.tree.leaves(found)]), want, atol=1e-5)


@BOTH
def test_rows_of_several_tasks_get_their_own_weights(net):
  phi, refs = _start(net)
  fn, batch, tasks = net.bind(mlp), random_role(size=6), jnp.array([2, 0, 1, 1, 0, 2])
  found = fn(phi, {**batch["inputs"], "task": tasks}, refs=refs, capture=("head:in",))
  for i, task in enumerate(tasks.tolist()):
    row = {"x": batch["inputs"]["x"][i : i + 1]}
    want = mlp(net.generate(phi, task, refs), row, capture=("head:in",))
    np.testing.assert_allclose(found.logits[i], want.logits[0], atol=1e-5)
    np.testing.assert_allclose(found.hidden["head:in"][i], want.hidden["head:in"][0], atol=1e-5)
  one = fn(phi, {**batch["inputs"], "task": 1}, refs=refs).logits
  np.testing.assert_array_equal(
    one, reparam.at_task(fn)(phi, batch["inputs"], refs={**refs, "task": jnp.array(1)}).logits
  )


def test_a_task_moves_no_other_embedding():
  phi, refs = _start(CHUNKED)
  fn = reparam.at_task(CHUNKED.bind(mlp))
  refs = {**refs, "task": jnp.array(1)}
  gradient = jax.jit(jax.grad(objectives.cross_entropy(fn), has_aux=True))(phi, random_role(), view(refs=refs))[0]
  assert jnp.any(gradient["tasks"][1]) and not jnp.any(gradient["tasks"][jnp.array([0, 2])])
  assert jnp.any(gradient["chunks"]) and jnp.any(gradient["net"]["0"]["kernel"])


def test_regularizer_is_the_mean_over_old_tasks_of_a_sum_over_weights():
  phi, refs = _start(CHUNKED)
  penalty = jax.jit(lambda p, refs: reparam.hypernet_regularizer(CHUNKED)(p, None, view(refs=refs))[0])
  moved = jax.tree.map(lambda p: p + 0.1, phi)
  gap = lambda t: sum(
    float(jnp.sum((a - b) ** 2))
    for a, b in zip(*(jax.tree.leaves(CHUNKED.generate({**p, "tasks": phi["tasks"]}, t, refs)) for p in (moved, phi)))
  )
  for seen, want in ((0, 0.0), (1, gap(0)), (2, (gap(0) + gap(1)) / 2)):
    assert float(penalty(moved, {**refs, "seen": jnp.array(seen)})) == pytest.approx(want, rel=1e-4)
  slope = jax.grad(penalty)(moved, refs)
  assert not jnp.any(slope["tasks"]) and jnp.any(slope["chunks"])
  assert float(penalty(phi, refs)) == 0 and not any(jnp.any(x) for x in jax.tree.leaves(jax.grad(penalty)(phi, refs)))


@pytest.mark.slow
def test_lookahead_protects_at_the_very_first_step():
  phi, refs = _start(CHUNKED)
  refs = {**refs, "task": jnp.array(1)}
  xent, penalty = objectives.cross_entropy(reparam.at_task(CHUNKED.bind(mlp))), reparam.hypernet_regularizer(CHUNKED)

  def drift(tx, roles):
    step = descend(roles, tx)
    state = step.init(UnlearnState.create(phi, rng=jax.random.key(0)))
    state, _ = jax.jit(step.update)(state, {"current": random_role()}, refs)
    return float(penalty(state.params, None, view(refs=refs))[0])

  free = drift(optax.adam(0.02), {"current": xent})
  without = drift(optax.adam(0.02), {"current": xent, "keep": objectives.scaled(penalty, 10.0)})
  ahead = drift(updates.lookahead(optax.sgd(0.02), penalty, 1.0), {"current": xent})
  assert without == pytest.approx(free, rel=1e-5) and free > 0  # the penalty's own gradient is zero there
  assert ahead < drift(optax.sgd(0.02), {"current": xent})


def test_lookahead_equals_its_definition_and_leaves_the_state_alone():
  target = {"w": jnp.array([1.0, -2.0])}
  tx = updates.lookahead(optax.adam(0.1), lambda p, b, v: (jnp.sum((p["w"] - target["w"]) ** 2), {}), 0.5)
  plain, params, gradient = optax.adam(0.1), {"w": jnp.zeros(2)}, {"w": jnp.array([0.3, 0.4])}
  state = plain.init(params)
  trial, _ = plain.update(gradient, state, params)
  slope = {"w": 2 * (params["w"] + trial["w"] - target["w"])}
  want = plain.update({"w": gradient["w"] + 0.5 * slope["w"]}, state, params)
  found = tx.update(gradient, tx.init(params), params, view=view())
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, want)


def test_inference_by_entropy_takes_the_surest_known_task():
  sure = jnp.array([[0.0, 1.0, 0.0], [0.0, 3.0, 0.0], [9.0, 0.0, 0.0]])
  fn = lambda params, inputs, **_: Outputs(inputs["x"] * sure[inputs["task"]])
  x = {"x": jnp.ones((2, 1))}
  of = lambda seen, **rest: reparam.by_entropy(fn, 3, **rest)({}, x, refs={"seen": seen, "classes": masks}).logits
  masks = jnp.array([[True, True, False]] * 2 + [[False, True, True]])
  assert of(1).tolist() == [sure[0].tolist()] * 2 and of(2).tolist() == [sure[1].tolist()] * 2
  assert of(3).tolist() == [sure[2].tolist()] * 2
  masked = of(3, classes="classes")  # without its sure class, task 2 is undecided
  assert jnp.argmax(masked, -1).tolist() == [1, 1] and bool((masked[:, 2] < -1e30).all())


@pytest.mark.slow
def test_a_hypernetwork_writes_some_leaves_over_fixed_others():
  both = reparam.compose(reparam.select(".*/kernel"), PLAIN)
  phi, refs = both.init(jax.random.key(0), PARAMS)
  out = both.bind(mlp)(phi, {**random_role()["inputs"], "task": 0}, refs=refs).logits
  weights = {k: {**PARAMS[k], **v} for k, v in PLAIN.generate(phi, 0, refs).items()}
  np.testing.assert_allclose(out, mlp(weights, random_role()["inputs"]).logits, atol=1e-6)
  assert both.merge is None


def test_bad_input_of_hypernetworks_is_named():
  phi, refs = _start(PLAIN)
  with pytest.raises(ValueError, match="tasks must be > 0, got 0"):
    reparam.hypernet(tasks=0)
  with pytest.raises(ValueError, match="hidden must be > 0, got 0"):
    reparam.hypernet(tasks=1, hidden=(4, 0))
  with pytest.raises(ValueError, match=r"a hypernetwork needs inputs\['task'\], or at_task; found \['x'\]"):
    PLAIN.bind(mlp)(phi, random_role()["inputs"], refs=refs)
  with pytest.raises(ValueError, match="refs has no 'snapshot'; found"):
    reparam.hypernet_regularizer(PLAIN)(phi, None, view(refs={"seen": 0}))
  with pytest.raises(ValueError, match="lookahead needs params and view"):
    tx = updates.lookahead(optax.sgd(0.1), reparam.hypernet_regularizer(PLAIN), 1.0)
    tx.update(phi, tx.init(phi), phi)
