"""Training from scratch: the original model, and the oracle that never saw the forget set."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax import objectives
from unlearnjax.core import (
  ForgetRequest,
  Model,
  ModelFn,
  Objective,
  Run,
  Transform,
  UnlearnState,
  as_examples,
  check,
  check_request,
  descend,
  fit,
  need_retain,
  replicate,
  zip_roles,
)
from unlearnjax.core.types import Array


class Recipe(NamedTuple):
  """How a model is trained from scratch; the oracle uses the same one on less data.

  Attributes:
    tx: optimizer. Schedules that read the progress (`updates.by_progress`) keep their shape on less data.
    epochs: passes over the data.
    batch_size: examples of a step.
    objective: `ModelFn -> Objective`.
  """

  tx: optax.GradientTransformation
  epochs: int
  batch_size: int = 128
  objective: Callable[[ModelFn], Objective] = objectives.cross_entropy


def train(
  fn: ModelFn, source: Any, recipe: Recipe, *, key: Array, run: Run | None = None, name: str = "train"
) -> Model:
  """Trains a fresh model.

  Args:
    fn: the architecture; `fn.init(key)` makes the weights.
    source: a `Source` with the columns that the objective reads.
    recipe: optimizer, epochs, batch size and objective.
    key: decides the weights and the order of data; same key, same bits.
    run: where to save, progress, mesh, ledger.
    name: of the fit within the run.

  Example:
    >>> import unlearnjax as uj
    >>> data = uj.data.load("digits")
    >>> fn = uj.models.make("mlp", input_shape=data.input_shape, num_outputs=10)
    >>> model = train(fn, data.train, Recipe(optax.sgd(0.1, momentum=0.9), epochs=5), key=jax.random.key(0))
    >>> bool(uj.metrics.accuracy(uj.outputs(model, data.test)["logits"], data.test.column("y")) > 0.9)
    True
  """
  check.key("key", key)
  if not callable(getattr(fn, "init", None)):
    raise TypeError(f"fn must be a model function such as uj.models.make returns, got {type(fn).__name__}")
  init_key, state_key = jax.random.split(key)
  model = fn.init(init_key)
  step = trainer(fn, recipe)
  state = step.init(UnlearnState.create(model.params, rng=state_key, model_state=model.state, copy=False))
  plan = zip_roles(train=source, batch_size=recipe.batch_size, epochs=recipe.epochs)
  state, _ = fit(step, state, plan, run=run, name=name)
  return Model(state.params, state.model_state, {}, fn)


def train_many(
  fn: ModelFn, sources: Sequence[Any], recipe: Recipe, *, keys: Array, run: Run | None = None, name: str = "train"
) -> list[Model]:
  """Trains one model a key, all at once with `vmap`; each equals `train` with its key up to rounding.

  Args:
    fn: the architecture.
    sources: one `Source` for all, or one a key: selections of one table with as many steps an epoch.
    recipe: shared by all.
    keys: typed keys [S].
    run: where to save, progress, mesh, ledger.
    name: of the fit within the run.
  """
  if len(sources) not in (1, len(keys)):
    raise ValueError(f"sources must hold 1 or {len(keys)} sources, got {len(sources)}")
  pairs = jax.vmap(jax.random.split)(keys)
  models = [fn.init(pair[0]) for pair in pairs]
  stack = lambda trees: jax.tree.map(lambda *x: jnp.stack(x), *trees)
  create = lambda params, state, key: UnlearnState.create(params, rng=key, model_state=state)
  step = _many(trainer(fn, recipe))
  state = jax.vmap(create)(stack([m.params for m in models]), stack([m.state for m in models]), pairs[:, 1])
  plan = zip_roles(train=list(sources), batch_size=recipe.batch_size, epochs=recipe.epochs)
  state, _ = fit(step, step.init(state), plan, run=run, name=name)
  take = lambda i: jax.tree.map(lambda x: x[i], (state.params, state.model_state))
  return [Model(*take(i), {}, fn) for i in range(len(keys))]


def retrain(
  model: Model | ModelFn, request: ForgetRequest, recipe: Recipe, *, key: Array, run: Run | None = None
) -> Model:
  """Trains from scratch on the retain set alone: the oracle (baseline B1).

  Raises:
    ValueError: the request has no retain set, or an id to forget is in it.
  """
  check_request(request)
  source = need_retain("retrain", request)
  if request.ids is not None and np.isin(np.asarray(request.ids), as_examples(source).ids).any():
    raise ValueError("the retain set holds ids that the request wants forgotten")
  return train(model.fn if isinstance(model, Model) else model, source, recipe, key=key, run=run, name="retrain")


@functools.lru_cache(maxsize=128)
def trainer(fn: ModelFn, recipe: Recipe) -> Transform:
  """The step of a recipe; one value for each pair, so that later trainings find it compiled."""
  return descend({"train": recipe.objective(fn)}, recipe.tx, state_from="train")


@functools.lru_cache(maxsize=128)
def _many(step: Transform) -> Transform:
  return replicate(step)
