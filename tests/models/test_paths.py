"""Parameters by name and layers in forward order."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import pytest
from toy_modules import Busy, LinenSmall, Small, plain_small

from unlearnjax.models import (
  from_fn,
  from_linen,
  from_nnx,
  last_k_modules,
  leaf_paths,
  make,
  module_order,
  replace_where,
  select,
)

KEY = jax.random.key(0)
X = jnp.zeros((2, 5))


@functools.cache
def shapes(fn):
  """A model without numbers: names and orders ask for none."""
  return jax.eval_shape(fn.init, KEY)


@functools.cache
def registered(name, **options):
  channels = 3 if name == "resnet8" else 1
  return shapes(make(name, input_shape=(8, 8, channels), num_outputs=4, **options))


def free(mask):
  return {name for name, hit in zip(leaf_paths(mask), jax.tree.leaves(mask)) if hit}


def owners(mask):
  return {name.rpartition("/")[0] for name in free(mask)}


def test_select_matches_whole_names_and_must_match_something():
  params = shapes(from_nnx(Small)).params
  assert free(select(params, ".*/kernel")) == {"blocks/0/fc/kernel", "head/kernel"}
  with pytest.raises(
    ValueError, match=r"regex 'head' matches no whole leaf name; there are: blocks/0/fc/bias, .*head/"
  ):
    select(params, "head")
  with pytest.raises(ValueError, match="regex must be a regular expression"):
    select(params, "(")


def test_replace_where_takes_leaves_or_parts_of_leaves():
  a, b = {"u": jnp.ones(3), "v": jnp.ones(2)}, {"u": jnp.zeros(3), "v": jnp.zeros(2)}
  whole = replace_where({"u": True, "v": False}, a, b)
  assert whole["u"] is a["u"] and whole["v"] is b["v"]
  part = jax.jit(replace_where)({"u": jnp.array([True, False, True]), "v": jnp.array(False)}, a, b)
  assert part["u"].tolist() == [1, 0, 1] and part["v"].tolist() == [0, 0]


def test_order_is_that_of_the_calls_not_of_the_names():
  expected = (*(f"blocks/{i}" for i in range(12)), "bn", "head")
  assert module_order(shapes(from_nnx(Busy)), X) == expected
  assert module_order(shapes(from_linen(LinenSmall(), X))) == ("fc", "head")


def test_order_of_the_registered_models():
  order = module_order(registered("resnet8", width=4))
  assert (
    order[:3] == ("stem", "stem_norm", "blocks/0/conv1") and order[-1] == "head" and len(order) == 2 + 4 + 6 + 6 + 1
  )
  order = module_order(registered("vit", depth=1))
  assert order[0] == "embed" and order[-2:] == ("norm", "head") and "" not in order


def test_last_k_counts_layers_with_weights_and_frees_the_norms_between_them():
  model = registered("resnet8", width=4)
  order = module_order(model)
  last = lambda k: owners(last_k_modules(model.params, k, order))
  assert last(1) == {"head"}
  assert last(2) == {"head", "blocks/2/shortcut", "blocks/2/shortcut_norm"}
  assert last(3) == last(2) | {"blocks/2/conv2", "blocks/2/norm2"}
  layers = 1 + 2 + 3 + 3 + 1
  assert last(layers) == set(order) and free(last_k_modules(model.params, layers, order)) == set(
    leaf_paths(model.params)
  )


def test_parameters_outside_layers_are_free_only_with_everything():
  model = registered("vit", depth=1, pool="cls")
  order = module_order(model)
  layers = 1 + 6 + 1
  assert {"position", "cls"}.isdisjoint(free(last_k_modules(model.params, layers - 1, order)))
  assert {"position", "cls"} < free(last_k_modules(model.params, layers, order))


def test_errors_say_what_is_missing():
  model = shapes(from_nnx(Small))
  with pytest.raises(ValueError, match="module_order needs inputs"):
    module_order(model)
  with pytest.raises(ValueError, match="the order of the layers of a PlainFn cannot be observed"):
    module_order(from_fn(plain_small, lambda key: {}).init(KEY), X)
  order = module_order(model, X)
  for k in (0, 3):
    with pytest.raises(ValueError, match=f"k must be from 1 to 2, the number of layers with weights, got {k}"):
      last_k_modules(model.params, k, order)
  with pytest.raises(ValueError, match=r"order names \['tail'\], which own no parameters"):
    last_k_modules(model.params, 1, ("tail",))
