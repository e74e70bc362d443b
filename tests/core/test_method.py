"""Driving methods: requests, tasks, errors, one compilation, and results that stay alive."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import TOY, ToyFn, plain_weighted, toy_data, toy_xent

from unlearnjax.core import (
  Examples,
  ForgetRequest,
  Method,
  Run,
  Task,
  Verbs,
  bound,
  check_request,
  descend,
  fit,
  forget,
  learn,
  need_retain,
  plain_init,
  plain_model,
  view_model,
  zip_roles,
)

DATA = toy_data(60)
KEY = jax.random.key(1)
TRACES = []


def toy_method(**verbs) -> Method:
  """Ascends on the forget set, descends on a task; `verbs` replaces what `bind` offers."""

  def bind(fn):
    xent = toy_xent(fn)

    def traced(params, batch, view):
      TRACES.append(1)
      return xent(params, batch, view)

    up = descend({"forget": traced}, optax.sgd(0.1), combine=plain_weighted(forget=-1.0), name="up")
    down = descend({"retain": traced}, optax.adam(1e-2), combine=plain_weighted(), name="down")

    def run_forget(state, refs, request, run):
      return fit(up, state, zip_roles(forget=request.forget, batch_size=8, epochs=2), refs, run)[0], refs

    def run_learn(state, refs, task, run):
      return fit(down, state, zip_roles(retain=task.train, batch_size=8, epochs=2), refs, run)[0], refs

    offered = {"learn": run_learn, "forget": run_forget, **verbs}
    return Verbs(plain_init(up, down, refs=lambda model, key: {"base": model.params}), plain_model(fn), **offered)

  return Method("toy", bind)


METHOD = toy_method()


def alive(tree) -> bool:
  return all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating))


def loss(model, data):
  batch = {"x": jnp.asarray(data.column("x"))}
  logits = jax.nn.log_softmax(model(batch).logits)
  return float(-jnp.take_along_axis(logits, jnp.asarray(data.column("y"))[:, None], 1).mean())


def test_forget_raises_the_loss_and_leaves_the_model():
  model = TOY.init(jax.random.key(0))
  before = jax.tree.map(np.array, model.params)
  result = forget(METHOD, model, ForgetRequest(DATA[:20], DATA[20:]), key=KEY)
  assert loss(result.model, DATA[:20]) > loss(model, DATA[:20])
  jax.tree.map(np.testing.assert_array_equal, model.params, before)
  assert result.cost["gradient_evaluations"] == 40 and result.cost["steps"] == 6
  assert result.model.fn is TOY and result.refs["base"] is model.params
  again = forget(METHOD, model, ForgetRequest(DATA[:20], DATA[20:]), key=KEY)
  jax.tree.map(np.testing.assert_array_equal, again.model.params, result.model.params)


def test_a_second_request_of_another_size_compiles_nothing():
  method, model = toy_method(), TOY.init(jax.random.key(0))
  forget(method, model, ForgetRequest(DATA[:20]), key=KEY)
  traced = len(TRACES)
  forget(method, model, ForgetRequest(DATA[7:44]), key=KEY)
  forget(method, TOY.init(jax.random.key(5)), ForgetRequest(DATA[:3]), key=KEY)
  assert len(TRACES) == traced
  assert bound(method, TOY) is bound(method, TOY)
  forget(method, ToyFn().init(jax.random.key(0)), ForgetRequest(DATA[:20]), key=KEY)  # another model function
  assert len(TRACES) > traced


def test_requests_go_on_from_a_result_and_leave_it_alive():
  first = forget(METHOD, TOY.init(jax.random.key(0)), ForgetRequest(DATA[:10]), key=KEY)
  kept = jax.tree.map(np.array, first.model.params)
  second = forget(METHOD, first.model, ForgetRequest(DATA[10:20]), key=KEY, start=(first.state, first.refs))
  assert int(second.state.step) == int(first.state.step) + 4
  jax.tree.map(np.testing.assert_array_equal, first.model.params, kept)
  assert alive(first.state.opt_state) and alive(second.state.params)
  assert jax.random.key_data(first.state.rng).shape == (2,)


def test_learn_yields_a_result_a_task_and_all_stay_alive():
  model = TOY.init(jax.random.key(0))
  tasks = [Task(f"t{i}", i, DATA[20 * i : 20 * i + 20]) for i in range(3)]
  results = list(learn(METHOD, model, tasks, key=KEY))
  assert [int(r.state.step) for r in results] == [6, 12, 18]
  assert all(alive(r.model.params) and alive(r.state.opt_state) for r in results) and alive(model.params)
  assert [r.cost["gradient_evaluations"] for r in results] == [40, 40, 40]
  for task, before, after in zip(tasks, [model, *(r.model for r in results)], [r.model for r in results]):
    assert loss(after, task.train) < loss(before, task.train)
  prepared = forget(METHOD, model, ForgetRequest(DATA[:10]), key=KEY, start=(results[1].state, results[1].refs))
  assert int(prepared.state.step) == 16 and alive(results[1].model.params)


def test_learning_resumes_after_the_tasks_that_are_done(tmp_path):
  model = TOY.init(jax.random.key(0))
  tasks = [Task(f"t{i}", i, DATA[20 * i : 20 * i + 20]) for i in range(2)]
  whole = [r.model.params for r in learn(METHOD, model, tasks, key=KEY)]
  next(learn(METHOD, model, tasks, key=KEY, run=Run(out=tmp_path)))
  run, traced = Run(out=tmp_path), len(TRACES)
  resumed = [r.model.params for r in learn(METHOD, model, tasks, key=KEY, run=run)]
  jax.tree.map(np.testing.assert_array_equal, whole, resumed)
  assert run.cost.steps == 12 and len(TRACES) == traced


def test_requests_are_checked():
  model = TOY.init(jax.random.key(0))
  for empty in (None, DATA[:0]):
    with pytest.raises(ValueError, match="the forget set is empty"):
      forget(METHOD, model, ForgetRequest(empty), key=KEY)
  with pytest.raises(ValueError, match=r"overlaps the retain set in 2 ids, among them \[8, 9\]"):
    forget(METHOD, model, ForgetRequest(DATA[:10], DATA[8:]), key=KEY)
  other = Examples({"x": np.zeros((2, 4), np.float32), "id": np.array([100, 101])})
  check_request(ForgetRequest(other, DATA))
  for retain in (None, DATA[:0]):
    with pytest.raises(ValueError, match="scrub needs a retain set, and the request has none"):
      need_retain("scrub", ForgetRequest(DATA[:10], retain))
  assert need_retain("scrub", ForgetRequest(DATA[:10], DATA[10:])).ids[0] == 10


def test_methods_without_a_verb_say_so():
  model = TOY.init(jax.random.key(0))
  with pytest.raises(ValueError, match="toy can learn but not forget"):
    forget(toy_method(forget=None), model, ForgetRequest(DATA[:10]), key=KEY)
  with pytest.raises(ValueError, match="toy can forget but not learn"):
    next(learn(toy_method(learn=None), model, [Task("t", 0, DATA)], key=KEY))


def test_one_run_serves_a_method_once_a_scope():
  model, run = TOY.init(jax.random.key(0)), Run()
  forget(METHOD, model, ForgetRequest(DATA[:10]), key=KEY, run=run)
  with pytest.raises(ValueError, match="'toy' is used twice"):
    forget(METHOD, model, ForgetRequest(DATA[:10]), key=KEY, run=run)
  forget(METHOD, model, ForgetRequest(DATA[:10]), key=KEY, run=run.scope("again"))
  assert run.cost.gradient_evaluations == 40  # one ledger for all scopes


def test_view_model_carries_the_refs():
  state, refs = bound(METHOD, TOY).init(TOY.init(jax.random.key(0)), KEY)
  assert view_model(TOY, state, refs).refs == dict(refs)
  assert plain_model(TOY)(state, refs).refs == {}
