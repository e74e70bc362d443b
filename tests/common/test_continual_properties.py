"""What every continual learner must do, whatever its mathematics."""

from __future__ import annotations

import functools

import jax
import numpy as np
import optax
import pytest
from toy import ToyFn, toy_data

from unlearnjax import methods, reparam
from unlearnjax.core import Run, Task, bound, learn, outputs
from unlearnjax.core.chunk import run_chunk
from unlearnjax.core.fold import _fold_chunk

KEY = jax.random.key(1)
FN = ToyFn(classes=4)
DATA = toy_data(80, classes=4)
TEST = toy_data(40, seed=1, classes=4)
SMALL = dict(tx=optax.sgd(0.1), batch_size=8, epochs=3)
LONG = dict(tx=optax.adam(0.02), batch_size=8, epochs=20)
NET = reparam.hypernet(2, hidden=(32, 32), task_size=8)
PER_TASK = dict(tasks=3, memory_per_task=6, **SMALL)
SITES = {"body/kernel": "body:in", "head/kernel": "head:in"}
CASES = {
  "agem": lambda: methods.agem(reference_size=10, **PER_TASK),
  "der": lambda: methods.der(capacity=20, **SMALL),
  "der_pp": lambda: methods.der_pp(capacity=20, **SMALL),
  "er": lambda: methods.er(capacity=20, **SMALL),
  "cuber": lambda: methods.cuber(
    sites=SITES, threshold=0.8, tasks=2, infer_task=True, sampled=20, rank=8, **{**SMALL, "epochs": 12}
  ),
  "gdumb": lambda: methods.gdumb(capacity=20, **{**SMALL, "epochs": 80}),
  "gem": lambda: methods.gem(**PER_TASK),
  "gpm": lambda: methods.gpm(sites=SITES, threshold=0.8, **SMALL),
  "icarl": lambda: methods.icarl(capacity=20, **{**SMALL, "tx": optax.sgd(1.0)}),
  "if2net": lambda: methods.if2net(
    update="gradient",
    features=60,
    hidden=20,
    groups=2,
    group_size=4,
    scale=2.0,
    tx=optax.sgd(2.0),
    epochs=30,
    batch_size=8,
  ),
  "joint": lambda: methods.joint(**{**SMALL, "epochs": 12}),
  "ogd": lambda: methods.ogd(**PER_TASK),
  "pca_ogd": lambda: methods.pca_ogd(sampled=12, **PER_TASK),
  "sequential": lambda: methods.sequential(**SMALL),
  "ewc": lambda: methods.ewc(strength=1.0, **SMALL),
  "hypernetwork": lambda: methods.hypernetwork(tasks=2, net=NET, beta=0.05, infer_task=True, **{**LONG, "epochs": 15}),
  "lwf": lambda: methods.lwf(strength=0.1, **SMALL),
  "mas": lambda: methods.mas(strength=0.1, **SMALL),
  "mcl": lambda: methods.mcl(decay=0.5, **SMALL),
  "online_ewc": lambda: methods.online_ewc(strength=1.0, **SMALL),
  "refresh": lambda: methods.refresh(rate=1e-3, capacity=20, **SMALL),
  "rehearsal_free": lambda: methods.rehearsal_free(anchor="ewc", features=0.01, site="head:in", **LONG),
  "si": lambda: methods.si(strength=0.1, **SMALL),
  "spectral_regularization": lambda: methods.spectral_regularization(weight=1e-3, **SMALL),
  "tag": lambda: methods.tag(tasks=2, learning_rate=0.002, epochs=6, batch_size=8),
  "zeroflow": lambda: methods.zeroflow(
    optimizer="forward_grad", where="head/.*", learning_rate=0.03, strength=0.0, epochs=20, batch_size=8
  ),
  "fpf": lambda: methods.fpf(modules="^head", capacity=20, size=8, steps=20, **SMALL),
  "plwf": lambda: methods.plwf(strength=0.1, tasks=2, **SMALL),
  "stable_sgd": lambda: methods.stable_sgd(rate=0.1, batch_size=8, epochs=3),
}
FAST = ("er", "gem")


def tasks():
  """Two classes each, of unequal numbers of examples."""
  place = DATA.column("y") // 2
  table = DATA.replace(task=place.astype(np.int32))
  test = [TEST.where(TEST.column("y") // 2 == t) for t in (0, 1)]
  first, second = table.where(place == 0), table.where(place == 1)[:33]
  return [Task("a", 0, first, test[0], (0, 1)), Task("b", 1, second, test[1], (2, 3), first)]


def each():
  names = sorted(CASES)
  return pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in names])


@functools.cache
def method_of(name):
  return CASES[name]()


@functools.cache
def whole(name):
  before = run_chunk._cache_size()
  results = list(learn(method_of(name), FN.init(jax.random.key(0)), tasks(), key=KEY))
  return results, run_chunk._cache_size() - before


def shapes(tree):
  return jax.tree.structure(tree), [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]


def equal(a, b):
  same = jax.tree.map(lambda x, y: np.array_equal(*(jax.random.key_data(v) if jax.dtypes.issubdtype(
    v.dtype, jax.dtypes.prng_key) else v for v in (x, y))), a, b)  # fmt: skip
  return all(jax.tree.leaves(same))


def test_the_table_holds_every_method():
  linear_only = {"ideal"}  # exact on models that are linear in their weights, which the toy is not
  assert set(CASES) | linear_only == set(methods.names("continual"))
  assert all(method_of(name).name == name for name in CASES)


@each()
def test_a_stream_compiles_once_and_keeps_its_shapes(name):
  results, compiled = whole(name)
  assert compiled == {"fpf": 2}.get(name, 1)  # its repair is a step of its own
  assert shapes(results[0].state) == shapes(results[1].state)
  assert shapes(dict(results[0].refs)) == shapes(dict(results[1].refs))


@each()
def test_init_is_abstract(name):
  verbs, model = bound(method_of(name), FN), FN.init(jax.random.key(0))
  assert shapes(jax.eval_shape(verbs.init, model, KEY)) == shapes(verbs.init(model, KEY))


@each()
def test_tasks_are_learned_and_only_seen_classes_compete(name):
  (first, second), _ = whole(name)
  accuracy = lambda result, task: np.mean(
    outputs(result.model, task.test)["logits"].argmax(-1) == task.test.column("y")
  )
  assert accuracy(first, tasks()[0]) > 0.8
  assert accuracy(second, tasks()[1]) > 0.5
  assert outputs(first.model, TEST)["logits"].argmax(-1).max() <= 1
  assert np.isfinite(outputs(second.model, TEST)["logits"]).all()


@each()
def test_same_key_same_bits_and_the_callers_model_is_untouched(name):
  whole(name)
  model = FN.init(jax.random.key(0))
  before, folds = jax.tree.map(np.array, model.params), _fold_chunk._cache_size()
  size = run_chunk._cache_size()
  again = list(learn(method_of(name), model, tasks(), key=KEY))
  assert equal(again[1].state, whole(name)[0][1].state) and equal(before, model.params)
  assert (run_chunk._cache_size(), _fold_chunk._cache_size()) == (size, folds)


@each()
def test_a_crash_in_the_second_task_changes_no_bit(name, tmp_path):
  calls = []
  run = Run(out=tmp_path / "a", checkpoint_every=3, writer=lambda *x: calls.append(x))
  done = list(learn(method_of(name), FN.init(jax.random.key(0)), tasks(), key=KEY, run=run))
  left = 3 * len(calls) // 4

  def bomb(label, step, scalars):
    nonlocal left
    left -= 1
    if left < 0:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    run = Run(out=tmp_path / "b", checkpoint_every=3, writer=bomb)
    list(learn(method_of(name), FN.init(jax.random.key(0)), tasks(), key=KEY, run=run))
  run = Run(out=tmp_path / "b", checkpoint_every=3)
  resumed = list(learn(method_of(name), FN.init(jax.random.key(0)), tasks(), key=KEY, run=run))
  assert equal(resumed[1].state, done[1].state) and equal(dict(resumed[1].refs), dict(done[1].refs))
  assert equal(resumed[1].state, whole(name)[0][1].state)
  assert resumed[1].cost["gradient_evaluations"] == done[1].cost["gradient_evaluations"]
