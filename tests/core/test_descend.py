"""One step: gradients by role and fused, microbatches, tasks, sub-trees, model state, randomness."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import TOY, plain_weighted, toy_data, toy_xent

from unlearnjax.core import Combiner, UnlearnState, descend, fit, role_batch, sequence, zip_roles

XENT = toy_xent()
DATA = toy_data(24)


def by_role(**coefficients):
  """The same sum as `plain_weighted`, from one gradient a role."""
  return plain_weighted(**coefficients)._replace(weights=None)


def keeping():
  """A non-linear combiner whose new state is what it was given."""

  def update(grads, state, params, *, values=None, view=None, valid=None):
    total = jax.tree.map(lambda p, *g: sum(x.reshape(-1, *p.shape).sum(0) for x in g), params, *grads.values())
    return total, {"grads": grads, "values": values, "valid": valid}

  return Combiner(lambda params: (), update)


def start(step, params=None, **kwargs):
  params = TOY.init(jax.random.key(0)).params if params is None else params
  return step.init(UnlearnState.create(params, rng=jax.random.key(1), **kwargs))


def close(a, b, atol=1e-6):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol, rtol=1e-5), a, b)


def equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def penalty(params, batch, view):
  assert batch is None
  return sum(jnp.sum(p**2) for p in jax.tree.leaves(params)), {}


def uneven(size=12, seed=3):
  """Interleaved into three parts, the first holds 4 valid rows, the second 2, the third none."""
  batch = role_batch(toy_data(size, seed))
  return {**batch, "valid": jnp.arange(size) % 3 < jnp.where(jnp.arange(size) < 6, 2, 1)}


@pytest.mark.parametrize("microbatch", [None, 3])
@pytest.mark.parametrize("combine", [plain_weighted, by_role])
def test_fused_equals_by_role_and_the_sum_by_hand(combine, microbatch):
  coefficients = {"forget": -0.5, "retain": 2.0, "size": 0.01}
  objectives = {"forget": XENT, "retain": XENT, "size": penalty}
  step = descend(objectives, optax.sgd(1.0), combine=combine(**coefficients), microbatch=microbatch)
  batch = {"forget": uneven(), "retain": role_batch(DATA)}
  state = start(step)

  def total(params):
    parts = {r: f(params, batch.get(r), _View)[0] for r, f in objectives.items()}
    return sum(coefficients[r] * v for r, v in parts.items()), parts

  (value, parts), grad = jax.value_and_grad(total, has_aux=True)(state.params)
  after, info = jax.jit(step.update)(state, batch, {})
  close(after.params, jax.tree.map(lambda p, g: p - g, state.params, grad))
  close({r: info[f"{r}/loss"] for r in parts}, parts)
  if combine is plain_weighted:
    close(info["loss"], value)
  assert int(after.step) == 1 and bool(info["ok"])


class _View:
  model_state = ()


def test_the_mean_of_microbatch_means_would_be_wrong():
  params, batch = TOY.init(jax.random.key(0)).params, uneven()
  parts = [jax.tree.map(lambda x, k=k: x[k::3], batch) for k in range(2)]
  naive = jnp.mean(jnp.stack([XENT(params, part, _View)[0] for part in parts]))
  assert abs(naive / XENT(params, batch, _View)[0] - 1) > 0.01


def test_microbatches_return_rows_to_their_places():
  def objective(params, batch, view):
    value, aux = XENT(params, batch, view)
    table = jnp.full((5, 2), batch["valid"].sum(), jnp.float32)  # neither a scalar nor rows
    return value, aux | {
      "y": batch["y"],
      "double": {"x": 2 * batch["inputs"]["x"]},
      "table": table,
      "valids": table[0, 0],
    }

  step = descend({"retain": objective}, optax.sgd(0.1), combine=plain_weighted(), microbatch=3)
  batch = {"retain": uneven()}
  _, info = step.update(start(step), batch, {})
  np.testing.assert_array_equal(info["retain/y"], batch["retain"]["y"])
  np.testing.assert_array_equal(info["retain/double"]["x"], 2 * batch["retain"]["inputs"]["x"])
  mean = (4 * 4 + 2 * 2) / 6
  np.testing.assert_allclose(info["retain/valids"], mean, rtol=1e-6)
  np.testing.assert_allclose(info["retain/table"], np.full((5, 2), mean), rtol=1e-6)


def test_a_batch_without_valid_rows_changes_nothing():
  step = descend({"retain": XENT}, optax.sgd(1.0), combine=plain_weighted(), microbatch=3)
  batch = uneven()
  state = start(step)
  after, info = step.update(state, {"retain": {**batch, "valid": jnp.zeros(12, bool)}}, {})
  equal(after.params, state.params)
  assert float(info["loss"]) == 0 and bool(info["ok"])


def test_microbatch_errors():
  batch = {"retain": role_batch(DATA)}
  bare = lambda p, b, v: (XENT(p, b, v)[0], {})
  with pytest.raises(ValueError, match=r"every objective to report aux\['weight'\], but that of 'retain' does not"):
    step = descend({"retain": bare}, optax.sgd(0.1), combine=plain_weighted(), microbatch=2)
    step.update(start(step), batch, {})
  with pytest.raises(ValueError, match="5 microbatches do not divide the 24 rows of role 'retain'"):
    step = descend({"retain": XENT}, optax.sgd(0.1), combine=plain_weighted(), microbatch=5)
    step.update(start(step), batch, {})
  with pytest.raises(ValueError, match="microbatch must be > 0, got 0"):
    descend({"retain": XENT}, optax.sgd(0.1), combine=plain_weighted(), microbatch=0)
  with pytest.raises(ValueError, match="vector of losses cannot be microbatched"):
    step = descend({"retain": per_task}, optax.sgd(0.1), combine=by_role(), microbatch=2)
    step.update(start(step), batch, {})


def per_task(params, batch, view):
  """Cross entropy of the classes 0..3, of which the toy data lack the last."""
  nll = -jnp.take_along_axis(jax.nn.log_softmax(TOY(params, batch["inputs"]).logits), batch["y"][:, None], 1)[:, 0]
  member = (batch["y"][:, None] == jnp.arange(4)) & batch["valid"][:, None]
  count = member.sum(0)
  value = jnp.where(count > 0, (member * nll[:, None]).sum(0) / jnp.maximum(count, 1), jnp.nan)
  return value, {"weight": count.sum(), "valid": count > 0}


def test_vector_objectives_give_one_gradient_row_a_task():
  step = descend({"memory": per_task, "current": XENT}, optax.sgd(0.1), combine=keeping())
  update = jax.jit(step.update)
  batch = {"memory": role_batch(DATA), "current": role_batch(DATA)}
  state = start(step)
  after, info = update(state, batch, {})
  seen = after.opt_state["main"][0]
  rows = jax.jacrev(lambda p: per_task(p, batch["memory"], None)[0][:3])(state.params)
  close(jax.tree.map(lambda g: g[:3], seen["grads"]["memory"]), rows)
  equal(jax.tree.map(lambda g: g[3], seen["grads"]["memory"]), jax.tree.map(jnp.zeros_like, state.params))
  np.testing.assert_array_equal(seen["valid"]["memory"], [True, True, True, False])
  np.testing.assert_allclose(info["memory/loss"], np.mean(seen["values"]["memory"][:3]), rtol=1e-6)
  assert bool(info["ok"]) and all(np.isfinite(x).all() for x in jax.tree.leaves(after.params))
  nobody = {**batch["memory"], "valid": jnp.zeros(24, bool)}
  after, info = update(state, {**batch, "memory": nobody}, {})
  equal(after.opt_state["main"][0]["grads"]["memory"], jax.tree.map(lambda p: jnp.zeros((4, *p.shape)), state.params))
  assert bool(info["ok"]) and float(info["memory/loss"]) == 0


def test_vector_objectives_need_a_non_linear_combiner():
  step = descend({"memory": per_task}, optax.sgd(0.1), combine=plain_weighted())
  with pytest.raises(ValueError, match="vector of losses need a non-linear combiner"):
    step.update(start(step), {"memory": role_batch(DATA)}, {})


def test_over_leaves_siblings_and_their_optimizer_bit_equal():
  def both(params, batch, view):
    return XENT(params["g"], batch, view)[0] + XENT(params["d"], batch, view)[0], {}

  params = {"g": TOY.init(jax.random.key(0)).params, "d": TOY.init(jax.random.key(1)).params}
  make = lambda part: descend(
    {"retain": both}, optax.adamw(0.1, weight_decay=0.1), combine=by_role(), over=(part,), name=part
  )
  g, d = make("g"), make("d")
  state, batch = g.init(start(d, params)), {"retain": role_batch(DATA)}
  state, _ = g.update(state, batch, {})  # momentum that must not leak
  after, _ = d.update(state, batch, {})
  equal(after.params["g"], state.params["g"])
  equal(after.opt_state["g"], state.opt_state["g"])
  assert not np.array_equal(after.params["d"]["head"]["kernel"], state.params["d"]["head"]["kernel"])
  assert jax.tree.structure(after.opt_state["d"][1][0].mu) == jax.tree.structure(params["d"])
  with pytest.raises(ValueError, match="no sub-tree 'h'; found"):
    make("h").init(state)


def test_one_name_is_one_optimizer():
  up = descend({"forget": XENT}, optax.adam(0.1), combine=by_role(forget=-1.0))
  down = descend({"retain": XENT}, optax.adam(0.1), combine=plain_weighted())
  state = down.init(start(up))
  assert set(state.opt_state) == {"main"}
  state, _ = up.update(state, {"forget": role_batch(DATA)}, {})
  state, _ = down.update(state, {"retain": role_batch(DATA)}, {})
  assert int(state.opt_state["main"][1][0].count) == 2
  with pytest.raises(ValueError, match="share the optimizer 'main' but their states differ"):
    descend({"retain": XENT}, optax.sgd(0.1, momentum=0.9), combine=plain_weighted()).init(state)


def counting(params, batch, view):
  """Cross entropy of a model with a running count of its rows."""
  value, aux = XENT(params, batch, view)
  return value, aux | {"state": {"rows": view.model_state["rows"] + batch["valid"].sum()}}


@pytest.mark.parametrize("microbatch", [None, 3])
def test_model_state_comes_from_the_named_role(microbatch):
  objectives = {"forget": counting, "retain": counting}
  make = lambda name: descend(
    objectives, optax.sgd(0.1), combine=plain_weighted(), state_from=name, microbatch=microbatch
  )
  batch = {"forget": uneven(), "retain": role_batch(DATA)}
  for name, rows in (("forget", 6), ("retain", 24)):
    step = make(name)
    after, info = step.update(start(step, model_state={"rows": jnp.zeros((), jnp.int32)}), batch, {})
    assert int(after.model_state["rows"]) == rows and "retain/state" not in info
  step = make(None)
  with pytest.raises(ValueError, match=r"\['forget', 'retain'\] return a new model state .* state_from is None"):
    step.update(start(step, model_state={"rows": jnp.zeros((), jnp.int32)}), batch, {})
  with pytest.raises(ValueError, match=r"state_from must name a role of \['forget', 'retain'\], got 'other'"):
    make("other")


@pytest.mark.parametrize("combine", [plain_weighted, by_role])
def test_absent_roles_are_named(combine):
  step = descend({"forget": XENT, "retain": XENT}, optax.sgd(0.1), combine=combine())
  with pytest.raises(ValueError, match=r"role 'forget' has no batch; the batch holds the roles \['retain'\]"):
    step.update(start(step), {"retain": role_batch(DATA)}, {})


def dual():
  """A linear combiner whose weight grows with the value it weighs, as a dual variable does."""

  def weights(state, roles):
    return dict(zip(roles, (1.0, state)))

  def update(grads, state, params, *, values=None, view=None, valid=None):
    return grads["retain"], state + values["retain"]

  return Combiner(lambda params: jnp.float32(0.5), update, weights)


def test_value_grad_and_value_fn_agree_and_weights_move_afterwards():
  seen = {}

  def update(grads, state, params=None, **extra):
    seen.update(extra, grads=grads, fn_value=extra["value_fn"](params), fn_grad=jax.grad(extra["value_fn"])(params))
    return jax.tree.map(jnp.negative, grads), state

  tx = optax.GradientTransformationExtraArgs(lambda params: (), update)
  step = descend({"forget": XENT, "retain": XENT}, tx, combine=dual())
  batch = {"forget": uneven(), "retain": role_batch(DATA)}
  after, info = step.update(start(step, slots={"s": jnp.ones(2)}), batch, {"base": jnp.ones(3)})
  close(seen["value"], info["forget/loss"] + 0.5 * info["retain/loss"])
  close(seen["fn_value"], seen["value"])
  close(seen["fn_grad"], seen["grad"])
  equal(seen["grad"], seen["grads"])
  close(after.opt_state["main"][0], 0.5 + info["retain/loss"])
  assert set(seen) >= {"value", "values", "obj_fn", "view", "refs", "slots", "valid", "batch"}
  assert seen["refs"]["base"].shape == (3,) and seen["slots"]["s"].shape == (2,) and seen["batch"] is batch


OPTIMIZERS = {
  "lbfgs": lambda: optax.lbfgs(),
  "backtracking": lambda: optax.chain(
    optax.sgd(1.0), optax.scale_by_backtracking_linesearch(max_backtracking_steps=15)
  ),
  "polyak": lambda: optax.polyak_sgd(max_learning_rate=1.0),
  "plateau": lambda: optax.chain(optax.adam(3e-2), optax.contrib.reduce_on_plateau()),
  "sophia": lambda: optax.contrib.sophia(3e-2),
  "schedule_free": lambda: optax.contrib.schedule_free_adamw(3e-2),
  "state_that_starts_as_the_parameters": lambda: optax.contrib.dowg(1.0),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optax_rules_that_want_more_than_gradients_run_in_fit(name):
  step = descend({"retain": XENT}, OPTIMIZERS[name](), combine=plain_weighted())
  state, history = fit(step, start(step), zip_roles(retain=DATA, batch_size=24, epochs=30))
  assert history["loss"][-1] < 0.9 * history["loss"][0]


def test_a_line_search_equals_a_plain_optax_loop():
  step = descend({"retain": XENT}, OPTIMIZERS["backtracking"](), combine=plain_weighted())
  state, batch = start(step), {"retain": role_batch(DATA)}
  tx, params = OPTIMIZERS["backtracking"](), state.params
  fn = lambda p: XENT(p, batch["retain"], _View)[0]
  opt, update = tx.init(params), jax.jit(step.update)

  @jax.jit
  def plain(params, opt):
    value, grad = jax.value_and_grad(fn)(params)
    updates, opt = tx.update(grad, opt, params, value=value, grad=grad, value_fn=fn)
    return optax.apply_updates(params, updates), opt

  for _ in range(3):
    state, _ = update(state, batch, {})
    params, opt = plain(params, opt)
  close(state.params, params, atol=1e-4)


def test_rules_without_extra_arguments_ignore_ours():
  plain = optax.GradientTransformation(lambda params: (), lambda g, s, params=None: (jax.tree.map(jnp.negative, g), s))
  for tx in (plain, optax.chain(optax.clip(10.0), plain), optax.multi_transform({"a": plain}, lambda p: "a")):
    step = descend({"retain": XENT}, tx, combine=plain_weighted())
    state = start(step)
    after, _ = step.update(state, {"retain": role_batch(DATA)}, {})
    grad = jax.grad(lambda p: XENT(p, role_batch(DATA), _View)[0])(state.params)
    close(after.params, jax.tree.map(jnp.subtract, state.params, grad))


@pytest.mark.parametrize("microbatch", [None, 3])
@pytest.mark.parametrize("combine", [plain_weighted, by_role])
def test_the_combined_gradient_has_the_dtype_of_the_parameters(combine, microbatch):
  seen = {}

  def keep(grads, state, params=None, *, grad, **_):
    seen.update(grads=grads, grad=grad)
    return grads, state

  tx = optax.chain(optax.GradientTransformationExtraArgs(lambda params: (), keep), optax.adam(1e-2))
  step = descend({"forget": XENT, "retain": XENT}, tx, combine=combine(retain=jnp.float32(0.3)), microbatch=microbatch)
  params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), TOY.init(jax.random.key(0)).params)
  state = start(step, params)
  after, info = step.update(state, {"forget": role_batch(DATA), "retain": role_batch(DATA)}, {})
  assert {x.dtype for x in jax.tree.leaves(seen)} == {jnp.dtype(jnp.bfloat16)}
  assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, state)


def test_no_two_draws_coincide():
  def noisy(params, batch, view):
    draw = jax.random.uniform(view.rng)
    return jnp.sum(params["w"]), {"weight": batch["valid"].sum(), "draw": jnp.full(batch["valid"].shape, draw)}

  make = lambda name, parts: descend(
    {"forget": noisy, "retain": noisy}, optax.sgd(0.1), combine=plain_weighted(), microbatch=parts, name=name
  )
  draws, batch = [], {"forget": role_batch(DATA), "retain": role_batch(DATA)}
  main, other = make("main", 4), make("other", None)
  twice = sequence(main, other, main)
  state = start(twice, {"w": jnp.ones(2)})
  for _ in range(2):
    for link in (main, other):
      _, info = link.update(state, batch, {})
      draws += [np.unique(info[f"{r}/draw"]) for r in ("forget", "retain")]
    new, info = twice.update(state, batch, {})
    draws += [np.unique(info[f"{r}/draw"]) for r in ("forget", "retain")]
    state = new
  assert [len(d) for d in draws] == 2 * [4, 4, 1, 1, 4, 4]
  assert len(np.unique(np.concatenate(draws))) == 36
