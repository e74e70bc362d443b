from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import TOY, toy_data
from toy_net import mlp, mlp_params, random_role, role, view

from unlearnjax import combine, objectives, reparam, updates
from unlearnjax.core import Model, UnlearnState, descend, fit, zip_roles
from unlearnjax.models import make

PARAMS = mlp_params()
MODEL = Model(PARAMS, fn=mlp)
ADAPTER = reparam.lora(rank=2, alpha=4, where="(fc|head)/kernel")
FN = ADAPTER.bind(mlp)


def _trained(phi, seed=3):
  """phi away from its start, so that a product that is dropped or doubled shows."""
  keys = jax.random.split(jax.random.key(seed), len(jax.tree.leaves(phi)))
  leaves = [p + 0.3 * jax.random.normal(k, p.shape, p.dtype) for p, k in zip(jax.tree.leaves(phi), keys)]
  return jax.tree.unflatten(jax.tree.structure(phi), leaves)


def test_nothing_changes_at_init_and_only_b_has_a_gradient():
  phi, refs = ADAPTER.init(jax.random.key(0), PARAMS)
  batch = random_role()
  np.testing.assert_array_equal(FN(phi, batch["inputs"], refs=refs).logits, mlp(PARAMS, batch["inputs"]).logits)
  gradient = jax.grad(objectives.cross_entropy(FN), has_aux=True)(phi, batch, view(refs=refs))[0]
  for layer in ("fc", "head"):
    assert not jnp.any(gradient[layer]["kernel"]["a"]) and jnp.all(jnp.any(gradient[layer]["kernel"]["b"], axis=0))
  assert jnp.abs(phi["fc"]["kernel"]["a"]).max() <= 1 / np.sqrt(6)


def test_bound_equals_merged_and_the_update_has_rank_r():
  phi, refs = ADAPTER.init(jax.random.key(0), PARAMS)
  phi, batch = _trained(phi), random_role()
  merged = ADAPTER.merge(phi, refs)
  np.testing.assert_array_equal(FN(phi, batch["inputs"], refs=refs).logits, mlp(merged, batch["inputs"]).logits)
  delta = np.asarray(merged["fc"]["kernel"] - PARAMS["fc"]["kernel"])
  a, b = (np.asarray(phi["fc"]["kernel"][x]) for x in "ab")
  np.testing.assert_allclose(delta, 2.0 * a @ b, atol=1e-5)  # alpha / rank = 2
  assert np.linalg.matrix_rank(delta, tol=1e-4) == 2
  np.testing.assert_array_equal(merged["fc"]["bias"], PARAMS["fc"]["bias"])


@pytest.mark.parametrize(
  "shape,axes,stack,wide,out",
  [
    ((3, 4, 5), None, (3,), 4, 5),
    ((4, 2, 5), "ioo", (), 4, 10),
    ((2, 4, 5), "iio", (), 8, 5),
    ((3, 4, 2, 5), {"q/.*": "lioo"}, (3,), 4, 10),
    ((3, 3, 2, 4), "iiio", (), 18, 4),
  ],
)
def test_leaves_of_more_axes_are_stacks_of_matrices(shape, axes, stack, wide, out):
  kernel = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
  adapter = reparam.lora(rank=2, where="q/kernel", axes=axes)
  phi, refs = adapter.init(jax.random.key(0), {"q": {"kernel": kernel}})
  factors = phi["q"]["kernel"]
  assert factors["a"].shape == (*stack, wide, 2) and factors["b"].shape == (*stack, 2, out)
  phi = _trained(phi)
  a, b = (np.asarray(phi["q"]["kernel"][x]).reshape(-1, *factors[x].shape[-2:]) for x in "ab")
  want = np.stack([x @ y for x, y in zip(a, b)]).reshape(shape) + np.asarray(kernel)
  np.testing.assert_allclose(adapter.merge(phi, refs)["q"]["kernel"], want, atol=1e-5)


def test_low_precision_weights_keep_their_dtype_and_the_factors_theirs():
  params = mlp_params(dtype=jnp.bfloat16)
  phi, refs = ADAPTER.init(jax.random.key(0), params)
  assert {x.dtype for x in jax.tree.leaves(phi)} == {jnp.dtype("float32")}
  assert {x.dtype for x in jax.tree.leaves(ADAPTER.merge(phi, refs))} == {jnp.dtype("bfloat16")}


def test_masked_updates_and_weighted_roles_over_lora():
  """The reference of the distillation is phi itself: no second copy of the weights."""
  phi, refs = ADAPTER.init(jax.random.key(0), PARAMS)
  phi = _trained(phi)
  mask = jax.tree.map(lambda p: jax.random.bernoulli(jax.random.key(1), 0.5, p.shape), phi)
  refs = {**refs, "mask": mask, "teacher": {"params": phi}}
  step = descend(
    {"forget": objectives.random_label(FN), "retain": objectives.distill(FN)},
    optax.chain(optax.adamw(0.05, weight_decay=0.1), updates.mask_by("mask")),
    combine=combine.weighted(forget=0.5, retain=2.0),
  )
  state = step.init(UnlearnState.create(phi, rng=jax.random.key(0)))
  update = jax.jit(step.update)
  for _ in range(3):
    state, info = update(state, {"forget": random_role(1), "retain": random_role(2)}, refs)
  assert bool(info["ok"]) and info["loss"] == pytest.approx(0.5 * info["forget/loss"] + 2 * info["retain/loss"])
  for before, after, free in zip(*(jax.tree.leaves(t) for t in (phi, state.params, mask))):
    frozen = ~np.asarray(free)
    np.testing.assert_array_equal(np.asarray(before)[frozen], np.asarray(after)[frozen])
    assert (before != after)[free].all()


def test_every_kind_of_objective_is_differentiable_over_phi():
  phi, refs = ADAPTER.init(jax.random.key(0), PARAMS)
  phi = _trained(phi)
  refs = {**refs, "teacher": {"params": jax.tree.map(jnp.zeros_like, phi)}}  # phi = 0 is the model of before
  parts = [
    objectives.cross_entropy(FN),
    objectives.random_label(FN),
    objectives.distill(FN, temperature=2.0),
    objectives.negated(objectives.cross_entropy(FN)),
    objectives.uncertain(FN),
    objectives.penalty(lambda p: sum(jnp.sum(x**2) for x in jax.tree.leaves(p))),
  ]
  gradients = jax.jit(lambda p: [jax.grad(f, has_aux=True)(p, random_role(), view(refs=refs))[0] for f in parts])(phi)
  for gradient in gradients:
    assert all(jnp.isfinite(g).all() and jnp.any(g) for g in jax.tree.leaves(gradient))


def test_fit_trains_phi_and_detach_gives_the_model_back():
  data, model = toy_data(), TOY.init(jax.random.key(0))
  small = reparam.attach(reparam.lora(rank=2, where=".*/kernel"), model, jax.random.key(1))
  step = descend({"retain": objectives.cross_entropy(small.fn)}, optax.adam(0.05))
  state = step.init(UnlearnState.create(small.params, rng=jax.random.key(2)))
  plan = zip_roles(anchor="retain", batch_size=20, epochs=20, retain=data)
  state, history = fit(step, state, plan, small.refs)
  assert history["retain/accuracy"][-1] > 0.9 > history["retain/accuracy"][0]
  merged = reparam.detach(small.replace(params=state.params))
  assert merged.fn is TOY and not merged.refs
  x = {"x": np.ones((5, 4), np.float32)}
  np.testing.assert_array_equal(merged(x).logits, small.replace(params=state.params)(x).logits)


def test_a_bound_model_function_keeps_sites_and_can_be_made_afresh():
  fn = reparam.lora(rank=1, where=".*/kernel").bind(make("mlp", input_shape=(4,), num_outputs=3, widths=(8,)))
  fresh = fn.init(jax.random.key(0))
  out = fresh({"x": jnp.ones((2, 4))}, capture=("head:in",))
  assert out.logits.shape == (2, 3) and out.hidden["head:in"].shape == (2, 8) and "head" in fn.sites
  assert hash(fn) == hash(fn) and not hasattr(fn, "no_such_thing")


def test_nesting_works_from_the_weights_outwards():
  both = reparam.compose(ADAPTER, reparam.select(".*/b", ref="factors"))
  phi, refs = both.init(jax.random.key(0), PARAMS)
  assert set(phi["fc"]["kernel"]) == {"b"} and set(refs) == {"base", "factors"}
  phi, batch = _trained(phi), random_role()
  merged = both.merge(phi, refs)
  bound = both.bind(mlp)(phi, batch["inputs"], refs=refs).logits
  np.testing.assert_array_equal(bound, mlp(merged, batch["inputs"]).logits)
  assert jnp.any(merged["fc"]["kernel"] != PARAMS["fc"]["kernel"])
  small = reparam.attach(both, MODEL, jax.random.key(0))
  assert reparam.detach(small).fn is mlp


def test_two_of_one_name_raise_at_init_and_at_bind():
  twice = reparam.compose(ADAPTER, reparam.select(".*/b"))
  with pytest.raises(ValueError, match=r"two reparameterizations use the ref names \['base'\]"):
    twice.init(jax.random.key(0), PARAMS)
  with pytest.raises(ValueError, match=r"two nested reparameterizations read refs\['base'\]"):
    reparam.select(".*/b").bind(FN)


def test_bad_input_is_named():
  start = lambda adapter: adapter.init(jax.random.key(0), {"q": jnp.ones((4, 3)), "conv": jnp.ones((3, 3, 2, 4))})
  with pytest.raises(ValueError, match="rank must be > 0, got 0"):
    reparam.lora(rank=0)
  with pytest.raises(ValueError, match="alpha must be > 0, got -1"):
    reparam.lora(rank=2, alpha=-1.0)
  with pytest.raises(ValueError, match="where 'v' matches no whole leaf name; there are: conv, q"):
    start(reparam.lora(rank=1, where="v"))
  with pytest.raises(ValueError, match="where 'v' matches no whole leaf name"):
    start(reparam.lora(rank=1, where=("q", "v")))
  with pytest.raises(ValueError, match=r"rank must be at most min\(in, out\) = 3 of the leaf 'q', got 4"):
    start(reparam.lora(rank=4, where="q"))
  with pytest.raises(ValueError, match=r"the leaf 'conv' has shape \(3, 3, 2, 4\): say which axes"):
    start(reparam.lora(rank=1, where="conv"))
  with pytest.raises(ValueError, match=r"axes must be letters .* of the leaf 'q' of shape \(4, 3\), got 'oi'"):
    start(reparam.lora(rank=1, where="q", axes="oi"))
  phi, _ = ADAPTER.init(jax.random.key(0), PARAMS)
  with pytest.raises(ValueError, match="refs has no 'base', which Reparam.init returned beside phi"):
    FN(phi, role(np.ones((1, 6), np.float32))["inputs"])
  with pytest.raises(ValueError, match="detach needs a model over merged parameters"):
    reparam.detach(MODEL)
