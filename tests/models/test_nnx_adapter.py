"""NNX modules as pure functions: the contract, state, randomness, sites."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from toy_modules import Busy, Small

from unlearnjax.core.tree import paths
from unlearnjax.models import from_nnx

X = jax.random.normal(jax.random.key(9), (6, 5))
SMALL, BUSY = from_nnx(Small), from_nnx(Busy)
MODEL, BUSY_MODEL = SMALL.init(jax.random.key(0)), BUSY.init(jax.random.key(0))


def equal(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  raw = lambda v: jax.random.key_data(v) if jnp.issubdtype(v.dtype, jax.dtypes.prng_key) else v
  return all(bool((raw(x) == raw(y)).all()) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))


def test_parameters_are_plain_dicts_with_string_keys():
  assert paths(MODEL.params) == ["blocks/0/fc/bias", "blocks/0/fc/kernel", "head/bias", "head/kernel"]
  assert list(MODEL.params["blocks"]) == ["0"] and MODEL.state == ()
  assert type(MODEL.params["blocks"]["0"]) is dict


def test_two_digit_list_indices_keep_their_order():
  """Injecting at block 10 must reach the layer whose parameters are blocks/10, whatever the order of the strings."""
  params = jax.tree.map(jnp.zeros_like, BUSY_MODEL.params)
  params["blocks"]["10"]["bias"] = jnp.ones(5)
  out = BUSY(params, {"x": X}, state=BUSY_MODEL.state, capture=("blocks/10", "blocks/2"))
  assert (out.hidden["blocks/10"] == 1).all() and (out.hidden["blocks/2"] == 0).all()


def test_the_forward_pass_is_that_of_the_module():
  module = Small(nnx.Rngs(3))
  model = SMALL.wrap(module)
  np.testing.assert_allclose(model({"x": X}).logits, module(X), rtol=1e-6)
  assert jax.tree.structure(model) == jax.tree.structure(MODEL)


def test_capture_equals_the_manual_forward():
  p = MODEL.params
  h = jax.nn.relu(X @ p["blocks"]["0"]["fc"]["kernel"] + p["blocks"]["0"]["fc"]["bias"])
  out = MODEL({"x": X}, capture=("blocks/0", "head:in", "head", "blocks/0:in", "blocks/0/fc"))
  np.testing.assert_allclose(out.hidden["head:in"], h, rtol=1e-6)
  np.testing.assert_allclose(out.hidden["blocks/0"], h, rtol=1e-6)
  np.testing.assert_allclose(jax.nn.relu(out.hidden["blocks/0/fc"]), h, rtol=1e-6)
  assert equal(out.hidden["head"], out.logits) and equal(out.hidden["blocks/0:in"], X)
  assert MODEL({"x": X}).hidden == {}


def test_injections_rewrite_and_capture_sees_the_result():
  plain = MODEL({"x": X})
  same = MODEL({"x": X}, inject={"blocks/0": lambda h: h, "head:in": lambda h: h})
  assert equal(plain.logits, same.logits)
  out = MODEL({"x": X}, inject={"head:in": jnp.zeros_like}, capture=("head:in",))
  np.testing.assert_array_equal(out.logits, jnp.broadcast_to(MODEL.params["head"]["bias"], (6, 3)))
  assert not out.hidden["head:in"].any()


def test_gradients_flow_through_an_injected_traced_array():
  @jax.jit
  def loss(delta):
    return MODEL.fn(MODEL.params, {"x": X}, inject={"head:in": lambda h: h + delta}).logits.sum()

  np.testing.assert_allclose(jax.grad(loss)(jnp.zeros(8)), 6 * MODEL.params["head"]["kernel"].sum(1), rtol=1e-5)


def test_train_mode_moves_batch_statistics_and_eval_moves_nothing():
  state = BUSY_MODEL.state
  evaluated = BUSY_MODEL({"x": X})
  assert equal(evaluated.state, state)
  trained = BUSY_MODEL({"x": X}, train=True)
  assert jax.tree.structure(trained.state) == jax.tree.structure(state)
  assert not equal(trained.state["bn"], state["bn"])
  assert trained.state["drop"]["rngs"]["count"] == state["drop"]["rngs"]["count"] + 1


def test_rng_replaces_the_streams_of_the_model_and_leaves_them_alone():
  run = lambda key: BUSY_MODEL({"x": X}, train=True, rng=key)
  a, again, b = run(jax.random.key(1)), run(jax.random.key(1)), run(jax.random.key(2))
  assert equal(a.logits, again.logits) and not equal(a.logits, b.logits)
  assert equal(a.state["drop"], BUSY_MODEL.state["drop"]) and not equal(a.state["bn"], BUSY_MODEL.state["bn"])


def test_dropout_and_batch_statistics_ride_in_a_scan():
  def body(state, key):
    out = BUSY(BUSY_MODEL.params, {"x": X}, state=state, train=True)
    fresh = BUSY(BUSY_MODEL.params, {"x": X}, state=out.state, train=True, rng=key)
    return fresh.state, (out.logits, fresh.logits)

  state, (own, given) = jax.jit(lambda s: jax.lax.scan(body, s, jax.random.split(jax.random.key(0), 4)))(
    BUSY_MODEL.state
  )
  assert state["drop"]["rngs"]["count"] == 4
  assert all(len({float(z[0, 0]) for z in logits}) == 4 for logits in (own, given))  # no mask twice


def test_grad_vmap_and_jit():
  def loss(params, x):
    return (BUSY(params, {"x": x[None]}, state=BUSY_MODEL.state).logits ** 2).sum()

  total = jax.grad(lambda p: sum(loss(p, x) for x in X))(BUSY_MODEL.params)
  rows = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(BUSY_MODEL.params, X)
  for a, b in zip(jax.tree.leaves(total), jax.tree.leaves(rows)):
    np.testing.assert_allclose(a, b.sum(0), rtol=2e-4, atol=1e-5)


def test_init_can_be_vmapped_over_seeds():
  models = jax.vmap(BUSY.init)(jax.random.split(jax.random.key(0), 3))
  logits = jax.vmap(lambda m: m({"x": X}).logits)(models)
  assert logits.shape == (3, 6, 3) and not equal(logits[0], logits[1])


def test_bfloat16_parameters_keep_every_type():
  params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), BUSY_MODEL.params)
  out, grads = jax.value_and_grad(
    lambda p: BUSY(p, {"x": X.astype(jnp.bfloat16)}, state=BUSY_MODEL.state, train=True).logits.sum()
  )(params)
  assert jnp.isfinite(out) and {g.dtype for g in jax.tree.leaves(grads)} == {jnp.dtype(jnp.bfloat16)}


def test_state_keeps_its_type_where_the_module_widens_it():
  class Running(nnx.Module):
    def __init__(self, rngs):
      self.mean = nnx.BatchStat(jnp.zeros((), jnp.bfloat16))

    def __call__(self, x):
      self.mean.set_value(x.mean())
      return x

  after = from_nnx(Running).init(jax.random.key(0))({"x": X}, train=True).state["mean"]
  assert after.dtype == jnp.bfloat16 and float(after) == pytest.approx(float(X.mean()), rel=1e-2)


def test_functions_of_one_factory_share_programs():
  traces = []

  @jax.jit
  def forward(model, x):
    traces.append(1)
    return model({"x": x}).logits

  forward(MODEL, X), forward(from_nnx(Small).init(jax.random.key(1)), X)
  assert len(traces) == 1 and hash(from_nnx(Small)) == hash(SMALL) and from_nnx(Small) == SMALL != BUSY


def test_further_inputs_are_keywords_and_mode_arguments_are_passed():
  class Conditional(nnx.Module):
    def __init__(self, rngs):
      self.head = nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x, task, train):
      return self.head(x) + task + (100 if train else 0)

  model = from_nnx(Conditional).init(jax.random.key(0))
  plain = model({"x": X, "task": 0.0}).logits
  np.testing.assert_allclose(model({"x": X, "task": 2.0}, train=True).logits, plain + 102, rtol=1e-5)


def test_caches_change_in_evaluation_too():
  class Counter(nnx.Module):
    def __init__(self, rngs):
      self.seen = nnx.Cache(jnp.zeros((), jnp.int32))

    def __call__(self, x):
      self.seen[...] += x.shape[0]
      return x

  assert int(from_nnx(Counter).init(jax.random.key(0))({"x": X}).state["seen"]) == 6


def test_a_capture_leaves_the_state_of_the_tapped_layer_readable():
  out = BUSY_MODEL({"x": X}, train=True, capture=("bn", "drop:in"))
  assert equal(out.state["bn"], BUSY_MODEL({"x": X}, train=True).state["bn"])
  assert equal(out.hidden["bn"], out.hidden["drop:in"])


def test_errors_say_what_is_wrong():
  with pytest.raises(ValueError, match="site 'block/0' does not exist; did you mean 'blocks/0'"):
    MODEL({"x": X}, capture=("block/0",))
  with pytest.raises(ValueError, match=r"state must hold the variables of this model: 4 missing \['bn/mean'"):
    BUSY(BUSY_MODEL.params, {"x": X})
  with pytest.raises(
    ValueError, match=r"params must hold .* 2 missing \['head/bias', 'head/kernel'\], 1 unknown \['w'\]"
  ):
    SMALL({"blocks": MODEL.params["blocks"], "w": X}, {"x": X})
  with pytest.raises(TypeError, match="params must be nested dicts, got list"):
    SMALL([X], {"x": X})
  with pytest.raises(TypeError, match="inputs must be a mapping such as"):
    MODEL(X)
  with pytest.raises(TypeError, match=r"make must be a function .* got Small; .*from_nnx\(make\).wrap\(module\)"):
    from_nnx(Small(nnx.Rngs(0)))
  with pytest.raises(TypeError, match="make.rngs. must return an nnx.Module, got int"):
    from_nnx(lambda rngs: 3).init(jax.random.key(0))


def test_wrap_refuses_another_architecture():
  other = Small(nnx.Rngs(0))
  other.head = nnx.Linear(8, 4, rngs=nnx.Rngs(0))
  with pytest.raises(ValueError, match=r"the module's 'head/(bias|kernel)' has shape \(.*4,?\), this architecture has"):
    SMALL.wrap(other)
  with pytest.raises(ValueError, match="the module must hold the variables of this model"):
    SMALL.wrap(Busy(nnx.Rngs(0)))
