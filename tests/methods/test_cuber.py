"""CUBER: regimes, what is projected, what is scaled, and that it is GPM where nothing is reused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from common_paths import data_dir
from toy import ToyFn, toy_data
from toy_net import view

import unlearnjax as uj
from unlearnjax import methods, models, reparam
from unlearnjax.core import Task, learn
from unlearnjax.methods.continual.cuber import regimes, shielded
from unlearnjax.methods.continual.gpm import grown, pooled

KEY, SITES = jax.random.key(0), {"body/kernel": "body:in", "head/kernel": "head:in"}
SMALL = dict(tx=optax.sgd(0.1), batch_size=8, epochs=2, sampled=20)
DATA = toy_data(80, classes=4)
CLASSES = ((0, 1), (2, 3))
HEADS = models.multi_head(ToyFn(classes=4), CLASSES)


def tasks():
  place = (DATA.column("y") // 2).astype(np.int32)
  table = DATA.replace(task=place)
  return [Task(str(t), t, table.where(place == t), table.where(place == t), CLASSES[t]) for t in (0, 1)]


def test_with_all_tasks_protected_it_is_gpm():
  # gpm trains with the classes seen so far in one softmax, cuber with those of the task: heads make them the same
  ours = methods.cuber(reach=1.0, unprojected=None, sites=SITES, threshold=0.8, tasks=2, **SMALL)
  theirs = methods.gpm(sites=SITES, threshold=0.8, **SMALL)
  model = HEADS.init(KEY)
  for a, b in zip(learn(ours, model, tasks(), key=KEY), learn(theirs, model, tasks(), key=KEY)):
    jax.tree.map(
      lambda x, y: np.testing.assert_allclose(x, y, atol=2e-6), dict(a.state.params["net"]), dict(b.state.params)
    )
    for path, space in a.refs["spaces"].items():
      assert (np.asarray(space["chosen"]) == -1).all() and not np.asarray(space["scales"]).any(), path
  change = lambda result, leaf: result.state.params["net"]["body"][leaf] - model.params["body"][leaf]
  first, second = learn(ours, model, tasks(), key=KEY)
  assert np.abs(change(first, "bias")).max() > 0
  np.testing.assert_array_equal(change(first, "bias"), change(second, "bias"))  # frozen after the first task
  assert not np.array_equal(change(first, "kernel"), change(second, "kernel"))


def test_reused_bases_change_what_the_new_task_sees_and_nothing_for_the_old_one():
  method = methods.cuber(reach=0.0, agreement=1.0, sites=SITES, threshold=0.9, tasks=2, **SMALL)  # regime 2 throughout
  first, second = learn(method, HEADS.init(KEY), tasks(), key=KEY)
  space = second.refs["spaces"]["body/kernel"]
  assert np.asarray(space["chosen"]).tolist() == [0, -1]
  assert np.abs(space["scales"][1]).max() > 1e-3 and not np.asarray(space["scales"][0]).any()
  union, owned = np.asarray(space["union"]), np.asarray(space["owned"])
  rows = union[np.abs(union).sum(1) > 0]
  np.testing.assert_allclose(rows @ rows.T, np.eye(len(rows)), atol=1e-5)
  assert owned[0].any() and owned[1].any() and not owned[:, len(rows) :].any()
  # the old task's inputs within its basis are answered by the layer as before
  inside = union[owned[0]]
  before, after = (r.state.params["net"]["body"]["kernel"] for r in (first, second))
  np.testing.assert_allclose(inside @ before, inside @ after, atol=1e-5)
  test = tasks()[0].test
  at = lambda result, t: uj.outputs(result.model, test.replace(task=np.full(len(test), t, np.int32)))["logits"]
  np.testing.assert_allclose(at(first, 0), at(second, 0), atol=0.5)
  assert np.abs(at(second, 0)[:, :2]).max() < 1e3 and np.abs(at(second, 1)[:, :2]).max() > 1e3  # masked heads
  with pytest.raises(ValueError, match="cuber was made for tasks=1 tasks, but task '1' is number 2"):
    list(learn(methods.cuber(sites=SITES, tasks=1, **SMALL), HEADS.init(KEY), tasks(), key=KEY))


def test_identical_tasks_are_improved_and_unrelated_ones_protected():
  rng = np.random.default_rng(0)
  union, owned = np.linalg.qr(rng.normal(size=(6, 6)))[0], np.zeros((3, 6), bool)
  owned[0, :3], owned[1, 2:5] = True, True
  space, ends = {"union": union, "owned": owned}, np.zeros((3, 6, 4))
  g = union[:3].T @ rng.normal(size=(3, 4))
  ends[0], ends[1] = g, -g
  settings = dict(count=2, reach=0.3, agreement=0.0, most=2)
  found = regimes(g, ends, space, **settings)
  assert found["chosen"][0] == 0 and found["free"][0]  # the same gradient, within its basis
  assert found["chosen"][1] in (-1, 1) and not found["free"][1]  # a gradient against it
  far = regimes(union[5:].T @ rng.normal(size=(1, 4)), ends, space, **settings)
  assert far["chosen"].tolist() == [-1, -1]  # off both bases
  assert regimes(g, ends, space, **{**settings, "reach": 1.0})["chosen"].tolist() == [-1, -1]
  owned[1] = owned[2] = owned[0]
  ends[1] = ends[2] = g
  assert sorted(regimes(g, ends, space, **{**settings, "count": 3})["chosen"]) in ([0, 1], [0, 2], [1, 2])


def place(owned, chosen, free, end, start):
  union = jnp.eye(3)
  spaces = {"w": {"union": union, "owned": jnp.asarray(owned), "chosen": jnp.asarray(chosen)}}
  return {"spaces": spaces, "free": {"w": jnp.asarray(free)}, "ends": {"w": end}, "start": {"w": start},
          "task": jnp.asarray(1)}  # fmt: skip


def test_a_step_projects_the_union_pulls_free_tasks_back_and_lets_them_fall_for_good():
  w = jnp.array([[1.0], [2.0], [3.0]])
  params = {"net": {"w": w, "b": jnp.ones(2)}, "scale": {"w": jnp.zeros((2, 3, 3))}}
  grads = lambda g: {"current": {"net": {"w": jnp.asarray(g), "b": jnp.ones(2)}, "scale": params["scale"]}}
  owned = [
    [True, True, False],
    [False, True, False],
  ]  # a sum of projections would count the shared one twice
  end = jnp.stack([jnp.array([[1.0], [0.0], [0.0]]), jnp.zeros((3, 1))])
  combiner = shielded(("w",), strength=0.5, agreement=0.0)
  g = [[4.0], [5.0], [6.0]]

  def step(free, gradient=g, state=None, start=w):
    refs = place(owned, [0, -1], free, end, start)
    state = combiner.init(params) if state is None else state
    found, state = combiner.update(grads(gradient), state, params, view=view(refs=refs))
    return np.asarray(found["net"]["w"])[:, 0].tolist(), found, state

  closed, found, _ = step([False, False])
  assert closed == [0.0, 0.0, 6.0] and not np.asarray(found["net"]["b"]).any()
  assert step([True, False])[0] == [4.0, 0.0, 6.0]  # the direction that task 1 owns too stays closed
  pulled = step([True, False], start=w - jnp.array([[3.0], [4.0], [9.0]]))[0]
  assert pulled == pytest.approx([4.0 + 0.5 * 3 / 5, 0.0, 6.0])  # the norm, not its square; task 0's part alone
  fell, _, state = step([True, False], gradient=[[-4.0], [5.0], [6.0]])
  assert fell == [0.0, 0.0, 6.0] and bool(state["w"][0])
  assert step([True, False], state=state)[0] == [0.0, 0.0, 6.0]  # agreeing again does not help


def test_scaling_by_the_identity_is_no_scaling():
  net = uj.reparam.rescale(2, ("w",))
  w = jax.random.normal(KEY, (3, 2))
  phi, refs = net.init(KEY, {"w": w})
  space = {**refs["spaces"]["w"], "union": jnp.eye(3), "owned": jnp.ones((2, 3), bool), "chosen": jnp.array([0, 1])}
  refs = {"spaces": {"w": space}, "task": jnp.asarray(1)}
  np.testing.assert_array_equal(net.generate(phi, 1, refs)["w"], w)
  double = {**phi, "scale": {"w": 2 * phi["scale"]["w"]}}
  np.testing.assert_allclose(net.generate(double, 1, refs)["w"], 3 * w, rtol=1e-6)  # two tasks, each adds one W
  np.testing.assert_array_equal(net.generate(double, 0, refs)["w"], w)  # a finished task keeps its own


@pytest.mark.parametrize("share", [0.6, 0.9, 1.0])
def test_a_tasks_basis_holds_the_share_and_old_rows_stay(share):
  rng = np.random.default_rng(1)
  scale = 2.0 ** -np.arange(8)
  cov = lambda: (x := rng.normal(size=(40, 8)) @ np.diag(rng.permutation(scale))).T @ x
  first, second = cov(), cov()
  union, owned = pooled(np.zeros((8, 8)), first, share)
  same = grown(np.zeros((8, 8)), first, share)
  np.testing.assert_allclose(union.T @ union, same.T @ same, atol=1e-8)  # of one task it is the basis of gpm
  assert owned.sum() == (np.abs(union).sum(1) > 0).sum()
  wide, mine = pooled(np.float32(union), second, share)
  np.testing.assert_array_equal(wide[owned], np.float32(union)[owned])
  rows = wide[np.abs(wide).sum(1) > 0]
  np.testing.assert_allclose(rows @ rows.T, np.eye(len(rows)), atol=1e-6)
  held = np.trace(wide[mine] @ second @ wide[mine].T) / np.trace(second)
  assert share - 1e-6 <= held <= 1 + 1e-6
  gpms = grown(union, second, share)
  assert np.linalg.matrix_rank(rows) >= np.linalg.matrix_rank(gpms)  # low-energy old rows do not count for the task


def test_where_there_is_no_more_room_the_strongest_directions_are_kept():
  covariance = np.diag([5.0, 4.0, 3.0, 2.0])
  union, owned = pooled(np.zeros((2, 4)), covariance, 1.0)
  assert np.abs(union).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]] and owned.tolist() == [True, True]
  again, mine = pooled(union, np.diag([1.0, 0.0, 9.0, 9.0]), 1.0)
  np.testing.assert_array_equal(again, union)  # it is full
  assert mine.tolist() == [True, True]
  shapes = reparam.rescale(3, ("w",), rank=2).init(KEY, {"w": jnp.zeros((4, 5))})
  assert shapes[0]["scale"]["w"].shape == (2, 2, 2) and shapes[1]["spaces"]["w"]["union"].shape == (2, 4)


@pytest.mark.parametrize("arguments, message", [
  (dict(rank=0), "rank must be > 0, got 0"),
  (dict(reach=-1), "reach must be >= 0"),
  (dict(agreement=2), r"agreement must be a cosine in \[-1, 1\], got 2"),
  (dict(threshold=0), "threshold must be in"),
  (dict(most=0), "most must be > 0"),
])  # fmt: skip
def test_bad_arguments_are_named(arguments, message):
  with pytest.raises(ValueError, match=message):
    methods.cuber(**arguments).bind(uj.models.make("mlp", input_shape=(4,), num_outputs=2))


@pytest.mark.slow
def test_overlapping_windows_of_garments_gain_from_what_they_share():
  data = uj.data.load("fashion_mnist", data_dir=data_dir("fashion_mnist").parent, train_size=1000, test_size=2000)
  half = lambda part: uj.Examples({
    **{k: part.column(k) for k in ("y", "id")},
    "x": part.column("x").reshape(-1, 14, 2, 14, 2, 1).mean((2, 4)),
  })  # fmt: skip
  data = data._replace(train=half(data.train), test=half(data.test))
  settings = dict(tx=optax.sgd(0.01), epochs=5)
  found = {}
  for name, method in (
    ("gpm", methods.gpm(unprojected="^head/", **settings)),
    ("cuber", methods.cuber(tasks=4, **settings)),
  ):
    rows = []
    for seed in (0, 1):
      stream = uj.data.overlapping(data, seed=seed)
      fn = uj.models.make("mlp", input_shape=data.input_shape, num_outputs=16, widths=(100, 100))
      model = stream.head(fn).init(jax.random.key(seed))
      matrix = uj.metrics.accuracy_matrix(learn(method, model, stream, key=jax.random.key(seed + 1)), stream)
      rows.append((uj.metrics.average_accuracy(matrix), uj.metrics.backward_transfer(matrix)))
    found[name] = np.mean(rows, 0)
  assert found["cuber"][0] > found["gpm"][0] + 0.01  # 0.87 and 0.85
  assert found["cuber"][1] >= found["gpm"][1] and found["cuber"][1] > 0


@pytest.mark.slow
def test_small_first_tasks_gain_from_larger_later_ones():
  stream = uj.data.instances("digits", degrees=50, known_task=True)
  model = uj.models.make("mlp", input_shape=stream.input_shape, num_outputs=10, widths=(100, 100)).init(KEY)
  settings = dict(tx=optax.sgd(0.03), epochs=10)
  found = {}
  for name, method in (
    ("cuber", methods.cuber(strength=0.01, unprojected=None, tasks=5, **settings)),
    ("fine_tune", methods.sequential(**settings)),
  ):
    matrix = uj.metrics.accuracy_matrix(learn(method, model, stream, key=KEY), stream)
    found[name] = matrix[-1, 0] - matrix[0, 0], uj.metrics.backward_transfer(matrix)
  assert found["cuber"][0] > 0.05 and found["cuber"][1] > 0.02
  assert found["fine_tune"][1] < -0.05
