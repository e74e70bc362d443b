"""What each continual method's paper lets one check without a benchmark."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from common_paths import golden
from toy import ToyFn, toy_data
from toy_net import role, view

from unlearnjax import losses, methods, objectives, updates
from unlearnjax.core import Outputs, Run, Task, bound, learn, outputs
from unlearnjax.methods.continual.gpm import grown
from unlearnjax.methods.continual.ogd import new_directions

KEY, FN = jax.random.key(0), ToyFn(classes=4)
DATA = toy_data(80, classes=4)
SMALL = dict(tx=optax.sgd(0.05), batch_size=8, epochs=4)


def tasks(*classes):
  y = DATA.column("y")
  return [Task(str(i), i, DATA.where(np.isin(y, c)), DATA.where(np.isin(y, c)), c) for i, c in enumerate(classes)]


def run(method, stream, fn=FN, **kwargs):
  return list(learn(method, fn.init(KEY), stream, key=KEY, **kwargs))


class Linear(ToyFn):
  """Logits are linear in the parameters: what projections protect is then protected exactly."""

  def __call__(self, params, inputs, *, state=(), refs=None, rng=None, train=False, capture=(), inject=None):
    hidden = {site: inputs["x"] for site in capture}
    return Outputs(inputs["x"] @ params["head"]["kernel"] + params["head"]["bias"], hidden, state)

  def init(self, key):
    model = super().init(key)
    head = {"kernel": jnp.zeros((4, self.classes)), "bias": jnp.zeros(self.classes)}
    return model.replace(params={"head": head}, fn=self)


def test_ogd_with_a_whole_memory_keeps_the_answers_of_a_linear_model():
  fn, (first, second) = Linear(classes=4), tasks((0, 1), (2, 3))
  few = first._replace(train=first.train[:3])  # 3 gradients a class do not fill the space
  method = methods.ogd(memory_per_task=4, tasks=2, **SMALL)
  a, b = run(method, [few, second], fn)
  true = lambda result: outputs(result.model, few.train)["logits"][np.arange(3), few.train.column("y")]
  np.testing.assert_allclose(true(a), true(b), atol=1e-4)
  plain = run(methods.sequential(**SMALL), [few, second], fn)
  assert np.abs(true(plain[0]) - true(plain[1])).max() > 0.05
  basis = np.concatenate([np.asarray(x).reshape(8, -1) for x in jax.tree.leaves(b.refs["basis"])], 1)
  gram = basis @ basis.T
  used = np.diag(gram) > 0.5
  np.testing.assert_allclose(gram[np.ix_(used, used)], np.eye(used.sum()), atol=1e-4)
  assert used.sum() >= 4 and not gram[~used].any()


def test_new_directions_are_orthonormal_and_lead():
  rng = np.random.default_rng(0)
  basis = np.linalg.qr(rng.normal(size=(20, 3)))[0].T
  strong = rng.normal(size=(2, 20)) * 10
  rows = rng.normal(size=(30, 2)) @ strong + 0.01 * rng.normal(size=(30, 20)) + rng.normal(size=(30, 3)) @ basis
  found = np.asarray(new_directions(jnp.asarray(basis, jnp.float32), jnp.asarray(rows, jnp.float32), 2))
  np.testing.assert_allclose(found @ found.T, np.eye(2), atol=1e-4)
  assert np.abs(found @ basis.T).max() < 1e-4
  off = rows - rows @ basis.T @ basis
  top = np.linalg.svd(off)[2][:2]
  np.testing.assert_allclose(np.linalg.svd(found @ top.T)[1], 1, atol=1e-3)


def test_gpm_with_all_energy_leaves_old_answers_alone():
  fn, stream = Linear(classes=4), tasks((0, 1), (2, 3))
  first = stream[0]._replace(train=stream[0].train[:2])  # two inputs span two of four dimensions
  method = methods.gpm(threshold=1.0, sites={"head/kernel": "head:in"}, **SMALL)
  a, b = run(method, [first, stream[1]], fn)
  said = lambda result: outputs(result.model, first.train)["logits"][:, :2]
  np.testing.assert_allclose(said(a), said(b), atol=1e-5)
  np.testing.assert_array_equal(a.state.params["head"]["bias"], b.state.params["head"]["bias"])
  assert np.abs(np.asarray(a.state.params["head"]["kernel"] - b.state.params["head"]["kernel"])).max() > 1e-2


def test_a_basis_grows_to_the_share_and_stays_orthonormal():
  rng = np.random.default_rng(1)
  x = rng.normal(size=(50, 6)) * np.array([5, 4, 3, 1, 0.1, 0.1])
  first = grown(np.zeros((6, 6)), x.T @ x, 0.9)
  second = grown(first, (y := rng.normal(size=(50, 6))).T @ y, 0.9)
  for basis, data in ((first, x), (second, y)):
    kept = basis[np.abs(basis).sum(1) > 0]
    np.testing.assert_allclose(kept @ kept.T, np.eye(len(kept)), atol=1e-9)
    share = np.linalg.norm(data @ kept.T) ** 2 / np.linalg.norm(data) ** 2
    less = np.linalg.norm(data @ kept[:-1].T) ** 2 / np.linalg.norm(data) ** 2
    assert share >= 0.9 > less or len(kept) == 6
  np.testing.assert_allclose(second[: (np.abs(first).sum(1) > 0).sum()] @ first.T @ first, second[: (
    np.abs(first).sum(1) > 0).sum()], atol=1e-9)  # fmt: skip


def test_gem_on_one_task_is_sequential_and_its_memory_is_that_task():
  (task,) = tasks((0, 1, 2, 3))
  a = run(methods.gem(memory_per_task=6, tasks=2, **SMALL), [task])[0]
  b = run(methods.sequential(**SMALL), [task])[0]
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), a.state.params, b.state.params)
  rows = a.state.memory["memory"]["rows"]
  assert np.asarray(rows["valid"]).sum(1).tolist() == [6, 0]
  assert set(np.asarray(rows["id"][0]).tolist()) <= set(task.train.ids.tolist())


@pytest.mark.parametrize("name", ["gem", "ogd"])
def test_more_tasks_than_there_is_room_for(name):
  method = getattr(methods, name)(memory_per_task=2, tasks=1, **SMALL)
  with pytest.raises(ValueError, match=f"{name} was made for tasks=1 tasks, but task '1' is number 2"):
    run(method, tasks((0, 1), (2, 3)))


def test_stored_logits_are_those_before_the_update():
  (task,) = tasks((0, 1, 2, 3))
  one = task._replace(train=task.train[:8])
  result = run(methods.der(capacity=8, tx=optax.sgd(0.5), batch_size=8, epochs=1), [one])[0]
  rows = result.state.memory["memory"]["rows"]
  before = outputs(FN.init(KEY), one.train.select(np.asarray(rows["id"])))["logits"]
  np.testing.assert_allclose(rows["logits"], before, atol=1e-5)


def test_der_and_der_pp_agree_with_the_reference():
  """Loss and direction of one step: batch 0, logits of batch 3 with weight 0.3, labels of batch 4 with weight 0.7."""
  z = golden("mammoth_cl")
  w0 = jnp.asarray(z["in_w0"])

  def fn(params, inputs, **_):
    a, b, c = params[:60].reshape(10, 6), params[60:70], params[70:120].reshape(5, 10)
    return Outputs(jnp.tanh(inputs["x"] @ a.T + b) @ c.T + params[120:])

  part = lambda i: role(z["in_x"][i], y=z["in_y"][i].astype(np.int32), logits=z["in_der_logits"])
  match, xent = objectives.supervised(fn, losses.squared_error, target="logits"), objectives.answered(fn)
  der = lambda w: xent(w, part(0), view())[0] + 0.3 * match(w, part(3), view())[0]
  more = lambda w: der(w) + 0.7 * xent(w, part(4), view())[0]
  for name, loss in (("der", der), ("derpp", more)):
    value, slope = jax.value_and_grad(loss)(w0)
    assert float(value) == pytest.approx(float(z[f"out_{name}_loss"]), abs=1e-5)
    moved = z["in_w0"] - z[f"out_{name}_w1"]
    cosine = moved @ np.asarray(slope) / np.linalg.norm(moved) / np.linalg.norm(slope)
    assert cosine > 1 - 1e-4


def test_icarl_targets_are_old_answers_and_new_labels():
  fn = lambda params, inputs, **_: Outputs(params["w"] + 0 * inputs["x"])
  refs = {"teacher": {"params": {"w": jnp.array([[0.0, 9.0]])}}, "old": jnp.array([True, False])}
  batch = role(np.zeros((1, 2), np.float32), y=np.array([1], np.int32))
  value, _ = objectives.labels_and_old_answers(fn)({"w": jnp.zeros((1, 2))}, batch, view(refs=refs))
  assert float(value) == pytest.approx(np.log(2), abs=1e-6)  # sum over outputs 2 ln 2, mean over two
  gradient = jax.grad(lambda p: objectives.labels_and_old_answers(fn)(p, batch, view(refs=refs))[0])(
    {"w": jnp.zeros((1, 2))}
  )
  np.testing.assert_allclose(gradient["w"], [[0.0, -0.25]], atol=1e-6)


def test_icarl_answers_by_the_nearest_mean_of_its_exemplars():
  result = run(
    methods.icarl(capacity=8, tx=optax.sgd(0.5), batch_size=8, epochs=4, replay_size=4), tasks((0, 1), (2, 3))
  )[-1]
  rows = result.state.memory["memory"]["rows"]
  assert np.bincount(np.asarray(rows["y"])).tolist() == [2, 2, 2, 2]
  norm = np.linalg.norm(np.asarray(result.refs["means"]), axis=1)
  np.testing.assert_allclose(norm, 1, atol=1e-5)
  assert outputs(result.model, DATA)["logits"].max() <= 0


def test_joint_starts_again_and_sees_everything():
  first, second = tasks((0, 1), (2, 3))
  second = second._replace(seen=first.train)
  method = methods.joint(**SMALL)
  together = run(method, [first, second])[1]
  everything = Task("all", 0, DATA, None, (0, 1, 2, 3))
  alone = run(methods.joint(**SMALL), [everything])[0]
  jax.tree.map(np.testing.assert_array_equal, together.state.params, alone.state.params)
  with pytest.raises(ValueError, match="joint needs the data of earlier tasks"):
    run(method, [first, second._replace(seen=None)])


def test_rates_fall_from_task_to_task():
  tx = updates.by_task(lambda t: 0.5**t)
  got = tx.update({"w": jnp.ones(2)}, tx.init({}), refs={"task": jnp.asarray(3)})[0]["w"]
  assert got.tolist() == [0.125, 0.125]
  with pytest.raises(ValueError, match=r"by_task needs refs\['task'\]"):
    tx.update({"w": jnp.ones(2)}, tx.init({}))
  same = run(methods.stable_sgd(rate=0.05, decay=1.0, batch_size=8, epochs=4), tasks((0, 1)))[0]
  plain = run(methods.sequential(**SMALL), tasks((0, 1)))[0]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), same.state.params, plain.state.params)


def test_replayed_examples_are_on_the_bill():
  stream, run_ = tasks((0, 1, 2, 3)), Run()
  method = methods.er(capacity=80, batch_size=8, replay_size=4, epochs=1, tx=optax.sgd(0.1))
  list(learn(method, FN.init(KEY), stream, key=KEY, run=run_))
  assert run_.cost.gradient_evaluations == 80 + 9 * 4  # the first of ten steps finds an empty memory
  assert bound(method, FN).forget is None


def test_gdumb_trains_on_its_memory_alone():
  result = run(methods.gdumb(capacity=8, tx=optax.sgd(0.1), epochs=2, batch_size=4), tasks((0, 1), (2, 3)))[-1]
  rows = result.state.memory["memory"]["rows"]
  assert np.bincount(np.asarray(rows["y"])).tolist() == [2, 2, 2, 2]
  assert result.cost["gradient_evaluations"] == 16
