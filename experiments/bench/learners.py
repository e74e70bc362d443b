"""Continual learning for the benchmark: the steps of the methods under `fit`, and whole streams by `uj.learn`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

import unlearnjax as uj
from experiments.bench.measure import Workload
from experiments.bench.workloads import examples
from unlearnjax import combine, objectives
from unlearnjax.core import joined, replay, role_batch
from unlearnjax.memory import reservoir, ring, stacked
from unlearnjax.methods.continual.der import dark_step
from unlearnjax.methods.continual.parts import open_head

CLASSES, SIZE, CAPACITY = 10, 1437, 200
WIDTHS = (100, 100)
LEARNING_RATE = {"er": 0.1, "der_pp": 0.03, "ewc": 0.03, "gem": 0.1, "agem": 0.1, "fine_tune": 0.1}


def network(side: int = 8) -> uj.Model:
  fn = uj.models.make("mlp", input_shape=(side, side, 1), num_outputs=CLASSES, widths=WIDTHS)
  return fn.init(jax.random.key(0))


def steps(
  name: str, method: str, count: int, batch: int, tasks: int, memory: int, side: int = 8, peer=None
) -> Workload:
  """Steps of one task, the memory being full of earlier ones.

  Args:
    name: of the row.
    method: er, der_pp, ewc, gem or agem.
    count: steps of a measurement.
    batch: new examples of a step.
    tasks: earlier tasks of GEM and A-GEM.
    memory: their examples of each.
    side: of the images, in pixels.
    peer: `(current, earlier, batch, learning_rate) -> steps -> None`.
  """
  shape = (side, side, 1)
  current = examples(shape, SIZE)
  earlier = [examples(shape, memory, seed=k + 1) for k in range(tasks)] or [examples(shape, CAPACITY, seed=1)]

  def ours():
    model = network(side)
    step, refs, buffer = PARTS[method](open_head(model.fn), model, batch, earlier)
    refs = {"seen": jnp.ones(CLASSES, bool), **refs}

    def run(n: int) -> None:
      state = step.init(uj.UnlearnState.create(model.params, rng=jax.random.key(1)))
      state = state.replace(memory=jax.tree.map(jnp.array, buffer))
      epochs = -(-n // -(-SIZE // batch))
      plan = uj.zip_roles(current=current[: min(SIZE, n * batch)], batch_size=batch, epochs=epochs)
      jax.block_until_ready(uj.fit(step, state, plan, refs)[0])

    run(2)
    return run

  per_pass = -(-SIZE // batch)
  whole = count if count * batch <= SIZE else -(-count // per_pass) * per_pass
  theirs = peer and (lambda: peer(current, earlier, batch, LEARNING_RATE[method]))
  return Workload(name, whole, ours, theirs)


def _filled(memory, parts, **columns) -> dict:
  """A buffer with examples of earlier tasks."""
  tree = None
  for index, part in enumerate(parts):
    rows = {**role_batch(part), "task": jnp.full(len(part), index)}
    rows |= {k: jnp.zeros((len(part), n)) for k, n in columns.items()}
    tree = memory.init(jax.tree.map(lambda x: x[:1], rows)) if tree is None else tree
    tree = memory.add(tree, rows, jax.random.key(index))
  return tree


def _plain(tree: dict) -> dict:
  """Without the column of tasks, which a stream's examples do not have."""
  return {**tree, "rows": {k: v for k, v in tree["rows"].items() if k != "task"}}


def _er(fn, model, batch, earlier):
  memory = reservoir(CAPACITY)
  both = uj.descend({"both": objectives.cross_entropy(fn)}, optax.sgd(LEARNING_RATE["er"]), state_from="both")
  step = joined(both, "both", ("current", "memory"))
  step = replay(step, memory, role="memory", size=batch, add_from="current")
  return step, {}, {"memory": _plain(_filled(memory, earlier))}


def _der_pp(fn, model, batch, earlier):
  memory = reservoir(CAPACITY)
  step = dark_step(fn, memory, optax.sgd(LEARNING_RATE["der_pp"]), 0.2, 1.0, batch)
  return step, {}, {"memory": _plain(_filled(memory, earlier, logits=CLASSES))}


def _ewc(fn, model, batch, earlier):
  roles = {"current": objectives.cross_entropy(fn), "past": objectives.scaled(objectives.anchored(), 50.0)}
  step = uj.descend(roles, optax.sgd(LEARNING_RATE["ewc"]), state_from="current")
  importance = jax.tree.map(lambda p: jnp.full(p.shape, 0.01), model.params)
  anchor = jax.tree.map(jnp.array, model.params)
  return step, {"importance": importance, "anchor": {"params": anchor}}, {}


def _gem(fn, model, batch, earlier):
  size = len(earlier[0])
  memory = stacked(ring(size, groups=len(earlier)))
  roles = {
    "current": objectives.cross_entropy(fn),
    "memory": objectives.per_task(objectives.cross_entropy(fn, train=False)),
  }
  tx = optax.sgd(LEARNING_RATE["gem"])
  step = uj.descend(roles, tx, combine=combine.gem(margin=0.5), state_from="current")
  return replay(step, memory, role="memory", size=size), {}, {"memory": _filled(memory, earlier)}


def _agem(fn, model, batch, earlier):
  size = len(earlier[0])
  memory = ring(size, groups=len(earlier))
  roles = {"current": objectives.cross_entropy(fn), "memory": objectives.cross_entropy(fn, train=False)}
  step = uj.descend(roles, optax.sgd(LEARNING_RATE["agem"]), combine=combine.agem(), state_from="current")
  return replay(step, memory, role="memory", size=min(256, size)), {}, {"memory": _filled(memory, earlier)}


PARTS = {"er": _er, "der_pp": _der_pp, "ewc": _ewc, "gem": _gem, "agem": _agem}


def stream(name: str, method: str, peer=None, tasks: int = 5, batch: int = 10) -> Workload:
  """One pass over each of five permutations of the digits' pixels, by `uj.learn`; the unit is a step.

  Args:
    name: of the row.
    method: fine_tune or er.
    peer: `(tasks, batch, learning_rate) -> steps -> None`.
    tasks: how many.
    batch: new examples of a step.
  """
  found = list(uj.data.make_stream("digits", "permuted", tasks=tasks, seed=0))
  rate = LEARNING_RATE[method]
  count = sum(-(-len(task.train) // batch) for task in found)

  def ours():
    model = network()
    factory = uj.methods.sequential if method == "fine_tune" else uj.methods.er
    learner = factory(tx=optax.sgd(rate), batch_size=batch, epochs=1)

    def run(n: int) -> None:
      del n
      for result in uj.learn(learner, model, found, key=jax.random.key(0)):
        jax.block_until_ready(result.model.params)

    run(count)
    return run

  sources = [uj.Examples({k: np.asarray(task.train.column(k)) for k in ("x", "y")}) for task in found]
  return Workload(name, count, ours, peer and (lambda: peer(sources, batch, rate)))
