"""What every method must do, whatever its mathematics."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
from toy_cases import CASES, blobs, mlp, score, task
from toy_norm import NORM
from toy_trained import equal

from unlearnjax import methods
from unlearnjax.core import Run, bound, forget, learn, outputs
from unlearnjax.core.chunk import run_chunk
from unlearnjax.core.fold import _fold_chunk

KEY = jax.random.key(1)
FAST = ("fine_tune", "salun", "scrub", "ssd")


def each(only=lambda case: True, leave_out=()):
  """All methods, the many of them slow."""
  names = [name for name, case in sorted(CASES.items()) if only(case) and name not in leave_out]
  return pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in names])


@functools.cache
def method_of(name):
  return CASES[name].make()


@functools.cache
def prepared(name):
  """Where a method that learns goes on from; None for others."""
  case = CASES[name]
  if not case.learns:
    return None
  world = case.world()
  (result,) = learn(method_of(name), world.model, [task(world)], key=KEY)
  return result.state, result.refs


def run_on(name, request, run=None):
  return forget(method_of(name), CASES[name].world().model, request, key=KEY, run=run, start=prepared(name))


@functools.cache
def first(name):
  return run_on(name, CASES[name].world().request)


def shapes(tree):
  return jax.tree.structure(tree), [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]


def test_the_table_holds_every_method():
  assert set(CASES) == set(methods.names()) - set(methods.names("continual"))  # see test_continual_properties.py
  assert all(method_of(name).name == name for name in CASES)


@each()
def test_init_is_abstract_and_fixes_all_shapes_for_life(name):
  world, result = CASES[name].world(), first(name)
  verbs = bound(method_of(name), world.model.fn)
  abstract = jax.eval_shape(verbs.init, world.model, KEY)
  assert shapes(abstract) == shapes(verbs.init(world.model, KEY))
  assert shapes(abstract[0]) == shapes(result.state)
  assert shapes(dict(abstract[1])) == shapes(dict(result.refs))


@each()
def test_a_request_of_another_size_compiles_nothing(name):
  first(name)
  before = run_chunk._cache_size(), _fold_chunk._cache_size()
  run_on(name, CASES[name].world().other)
  assert (run_chunk._cache_size(), _fold_chunk._cache_size()) == before


@each()
def test_same_key_same_bits_and_the_callers_model_is_untouched(name):
  model = CASES[name].world().model
  before = jax.tree.map(np.array, (model.params, model.state))
  again = run_on(name, CASES[name].world().request)
  assert equal(first(name).model.params, again.model.params)
  assert equal(before, (model.params, model.state))


@each()
def test_the_forget_set_is_forgotten_and_the_others_are_not(name):
  case, result = CASES[name], first(name)
  world = case.world()
  original = world.model if prepared(name) is None else bound(method_of(name), world.model.fn).model(*prepared(name))
  rise = {
    s: score(case, result.model, s) - score(case, original, s) for s in (world.request.forget, world.request.retain)
  }
  gone, kept = rise.values()
  assert gone > case.least and gone > kept
  errors = score(case._replace(by="errors"), result.model, world.request.retain)
  assert errors < 0.5  # chance is 2/3, and the mean absolute deviation of the regression targets about 1.5


# these two run in eval mode, where the toy's learning rates are too large for normalised layers
@each(lambda case: case.world in (blobs, mlp), leave_out=("jit_lipschitz", "neg_grad"))
def test_models_with_batch_statistics_and_dropout_are_served(name, tmp_path):
  world = blobs(NORM)
  method, verbs = method_of(name), bound(method_of(name), NORM)
  start = None
  if CASES[name].learns:
    (result,) = learn(method, world.model, [task(world)], key=KEY)
    start = result.state, result.refs
  result = forget(method, world.model, world.request, key=KEY, run=Run(out=tmp_path), start=start)
  assert shapes(verbs.init(world.model, KEY)[0]) == shapes(result.state)
  assert np.isfinite(outputs(result.model, world.request.retain)["logits"]).all()


@each(lambda case: case.steps)
def test_a_crash_in_the_middle_changes_no_bit(name, tmp_path):
  request, calls = CASES[name].world().request, []
  every = max(1, int(first(name).cost["steps"]) // 6)
  whole = run_on(name, request, Run(out=tmp_path / "a", checkpoint_every=every, writer=lambda *x: calls.append(x)))
  left = len(calls) // 2

  def bomb(label, step, scalars):
    nonlocal left
    left -= 1
    if left < 0:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    run_on(name, request, Run(out=tmp_path / "b", checkpoint_every=every, writer=bomb))
  run = Run(out=tmp_path / "b", checkpoint_every=every)
  resumed = run_on(name, request, run)
  assert equal(whole.model.params, resumed.model.params) and equal(whole.model.state, resumed.model.state)
  assert equal(whole.model.params, first(name).model.params)
  assert resumed.cost["gradient_evaluations"] == whole.cost["gradient_evaluations"]
