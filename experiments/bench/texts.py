"""Language models for the benchmark: unlearning steps under `fit`, and what an evaluation on TOFU computes."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import unlearnjax as uj
from experiments.bench.measure import Workload
from experiments.bench.workloads import warm_fit
from unlearnjax import combine, losses, metrics, models, objectives

TASKS = ("ga", "npo", "rmu", "tofu")
BETA, ALPHA, STEERING = 0.1, 100.0, 6.5
LEARNING_RATE, DECAY = 1e-5, 0.01


class Shape(NamedTuple):
  """A Llama: sizes of `models.transformer`, rows and tokens of a batch, and a dtype."""

  sizes: dict[str, Any]
  rows: int = 8
  length: int = 64
  name: str = "llama"
  dtype: str = "float32"

  def model(self) -> uj.Model:
    return models.transformer(self.name, dtype=self.dtype, param_dtype=self.dtype, **self.sizes).init(jax.random.key(0))


SHAPES = {
  "0.6m": Shape(dict(vocab_size=1024, dim=128, depth=2, heads=4, hidden=344, context=128)),
  "25m": Shape(dict(vocab_size=6000, dim=512, depth=6, heads=8, hidden=1376, context=128)),
  "1b": Shape(dict(remat=True), 8, 512, "llama3.2-1b", "bfloat16"),
}
SITE = {"0.6m": 0, "25m": 3, "1b": 7}
"""The block whose output RMU steers; it trains the down projections of it and of two blocks before."""


def batch_of(shape: Shape, vocab: int, seed: int) -> dict[str, np.ndarray]:
  """Random tokens; the second half of every row is its answer. Cached likelihoods are those of a uniform guess."""
  tokens = np.random.default_rng(seed).integers(1, vocab, (shape.rows, shape.length)).astype(np.int32)
  mask = np.broadcast_to(np.arange(shape.length) >= shape.length // 2, tokens.shape).copy()
  logp = np.full(shape.rows, -np.log(vocab) * (shape.length - shape.length // 2), np.float32)
  return {"tokens": tokens, "mask": mask, "ref_logp": logp}


def tokens_of(task: str, shape: Shape) -> int:
  """Tokens of one unit of work: all those that are read by the trained model, or read and written."""
  return shape.rows * shape.length * (1 if task == "ga" else 2)


def workload(name: str, task: str, size: str, count: int, peer=None) -> Workload:
  """`count` steps (or evaluations) a measurement; the unit is a token."""
  shape, unit = SHAPES[size], tokens_of(task, SHAPES[size])
  build = _evaluation if task == "tofu" else _steps

  def ours():
    run = build(task, size)

    def work(tokens: int) -> None:
      run(tokens // unit)

    return work

  return Workload(name, count * unit, ours, peer and (lambda: peer(task, shape, SITE[size], unit)))


def _steps(task: str, size: str):
  shape, model = SHAPES[size], SHAPES[size].model()
  fn, vocab = model.fn, model.fn.config.vocab_size
  parts = {role: uj.Examples(batch_of(shape, vocab, i)) for i, role in enumerate(("forget", "retain"))}
  tx, refs, weights = optax.adamw(LEARNING_RATE, weight_decay=DECAY), {}, {}
  if task == "ga":
    roles = {"forget": objectives.negated(objectives.nll(fn))}
  elif task == "npo":
    roles = {"forget": objectives.npo(fn, BETA), "retain": objectives.nll(fn)}
  else:
    roles, weights = objectives.rmu(fn, f"blocks/{SITE[size]}"), {"retain": ALPHA}
    moves = jax.tree_util.tree_map_with_path(lambda path, x: jnp.asarray(_moves(path, x, SITE[size])), model.params)
    control = losses.control_vector(jax.random.key(1), fn.config.dim, STEERING)
    refs = {"control": control, "moves": moves, "reference": {"params": model.params, "state": model.state}}
    tx = optax.chain(tx, uj.updates.mask_by("moves"))
  step = uj.descend(roles, tx, combine=combine.weighted(**weights), state_from="forget")
  sources = {role: parts[role] for role in roles}
  plan = lambda n: uj.zip_roles(anchor="forget", batch_size=shape.rows, epochs=n, **sources)
  state = lambda: step.init(uj.UnlearnState.create(model.params, rng=jax.random.key(1)))
  return warm_fit(step, state, plan, refs)


def _moves(path, leaf: jax.Array, site: int) -> jax.Array:
  """bool like the leaf: the down projections of up to three blocks."""
  if jax.tree_util.keystr(path, simple=True, separator="/") != "blocks/mlp/down/kernel":
    return jnp.zeros(leaf.shape, bool)
  layer = jnp.arange(leaf.shape[0])
  return jnp.broadcast_to(((layer <= site) & (layer > site - 3))[:, None, None], leaf.shape)


def _evaluation(task: str, size: str):
  """Likelihoods of answers, then greedy answers to the prompts, padded on the left."""
  del task
  shape, model = SHAPES[size], SHAPES[size].model()
  found = batch_of(shape, model.fn.config.vocab_size, 0)
  table, prompt, segments = uj.Examples(found), *prompts(shape, found["tokens"])

  def run(times: int) -> None:
    for _ in range(times):
      metrics.answer_scores(model, table)
      jax.block_until_ready(models.generate(model, prompt, new_tokens(shape), segment_ids=segments))

  run(1)
  return run


def new_tokens(shape: Shape) -> int:
  return shape.length - shape.length // 2


def prompts(shape: Shape, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """(tokens, segment_ids) of the first halves; every other row is four tokens shorter and padded on the left."""
  prompt = tokens[:, : shape.length // 2].copy()
  segments = np.ones_like(prompt)
  segments[1::2, :4] = 0
  return np.where(segments, prompt, 0), segments
