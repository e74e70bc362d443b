"""The only pass over data without an update."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core import check
from unlearnjax.core.batches import gather, pad_rows, tables_of
from unlearnjax.core.run import Run
from unlearnjax.core.source import as_examples
from unlearnjax.core.tree import fold_name, strong, unshared
from unlearnjax.core.types import Array, Model, RoleBatch, Statistic
from unlearnjax.sharding import data_parallelism, layout_of, pin, place, split_batch

CHUNK = 64


def fold(
  statistic: Statistic,
  model: Model,
  source: Any,
  run: Run | None = None,
  *,
  name: str = "fold",
  rng: Array | None = None,
  batch_size: int | None = None,
) -> Any:
  """Runs a statistic over a source, in order, once: Fisher, saliency, prototypes, predictions.

  Args:
    statistic: its `update` must weigh rows by `batch["valid"]`: the last batch is padded.
    model: parameters, state and refs; the pass does not change them.
    source: a `Source`.
    run: batch size, mesh, progress and ledger.
    name: shown with the progress and folded into `rng`.
    rng: a typed key for statistics that draw; `jax.random.key(0)` by default. It is folded by batch.
    batch_size: rows of a batch; otherwise the statistic's own, otherwise the run's.

  Returns:
    what `statistic.finish` returns.

  Raises:
    ValueError: an empty source.

  Example:
    >>> from unlearnjax.core.source import Examples
    >>> count = Statistic(lambda m: jnp.zeros(()), lambda acc, m, b, rng: acc + b["valid"].sum())
    >>> float(fold(count, Model({}), Examples({"x": np.zeros((5, 2), np.float32)})))
    5.0
  """
  check.kind("statistic", statistic, Statistic, "a Statistic such as curvature.fisher_diag(objective)")
  check.kind("model", model, Model, "a Model such as uj.train returns")
  run = run or Run()
  source = as_examples(source)
  if not len(source):
    raise ValueError(f"{name}: the source is empty")
  size = batch_size or statistic.batch_size or min(run.batch_size, 1 << (len(source) - 1).bit_length())
  key = fold_name(jax.random.key(0) if rng is None else rng, name)
  with run.cost.measure():
    layout, tables = tables_of({"data": source}, None, run.mesh)
    rows = np.full(-(-len(source) // size) * size, -1, np.int32)
    rows[: len(source)] = source.rows
    rows = pad_rows(rows.reshape(-1, size), data_parallelism(run.mesh, run.data_axes))
    model = place(strong(model), run.mesh)
    acc = place(unshared(strong(statistic.init(model)), model), run.mesh)
    shardings = layout_of(acc, run.mesh)
    from tqdm import tqdm

    label = "/".join((*run.path, name))
    for start in tqdm(range(0, len(rows), CHUNK), desc=label, leave=False, disable=not run.progress, unit="chunk"):
      part = rows[start : start + CHUNK]
      count = len(part)
      part = np.concatenate([part, np.full((CHUNK - count, part.shape[1]), -1, np.int32)]) if count < CHUNK else part
      acc = _fold_chunk(
        statistic, layout, shardings, run.mesh, run.data_axes, acc, model, tables, part, count, start, key
      )
    if statistic.backward:
      run.cost.gradient_evaluations += statistic.backward * len(source)
    else:
      run.cost.forward_evaluations += len(source)
    return jax.block_until_ready(statistic.finish(acc))


@functools.partial(
  jax.jit, static_argnames=("statistic", "layout", "shardings", "mesh", "axes"), donate_argnames=("acc",)
)
def _fold_chunk(statistic, layout, shardings, mesh, axes, acc, model, tables, rows, count, start, key):
  def body(carry):
    i, acc = carry
    batch: RoleBatch = split_batch(gather(layout, tables, {"data": rows[i]})["data"], mesh, axes)
    return i + 1, pin(statistic.update(acc, model, batch, jax.random.fold_in(key, start + i)), shardings)

  return pin(jax.lax.while_loop(lambda c: c[0] < count, body, (jnp.zeros((), jnp.int32), acc))[1], shardings)


def outputs(
  run_on: Model, source: Any, run: Run | None = None, *, capture: tuple[str, ...] = (), name: str = "predict"
) -> dict[str, np.ndarray]:
  """Logits and captured activations of every example, in order, as host arrays.

  Args:
    run_on: the model.
    source: a `Source` of n examples.
    run: batch size, mesh and ledger.
    capture: sites to read besides the logits.
    name: shown with the progress.

  Returns:
    a dict: `"logits"` f32[n, ...] and one entry a captured site.

  Example:
    >>> from unlearnjax.core.source import Examples
    >>> from unlearnjax.core.types import Outputs
    >>> double = lambda params, inputs, **_: Outputs(2 * inputs["x"])
    >>> outputs(Model({}, fn=double), Examples({"x": np.ones((3, 1), np.float32)}))["logits"].tolist()
    [[2.0], [2.0], [2.0]]
  """
  run = run or Run()
  source = as_examples(source)
  layout, tables = tables_of({"data": source}, None, run.mesh)
  size = min(run.batch_size, 1 << max(len(source) - 1, 0).bit_length())
  found: dict[str, list[np.ndarray]] = {}
  with run.cost.measure():
    model = place(strong(run_on), run.mesh)
    for start in range(0, len(source), size):
      rows = source.rows[start : start + size].astype(np.int32)
      padded = pad_rows(
        np.pad(rows, (0, size - len(rows)), constant_values=-1), data_parallelism(run.mesh, run.data_axes)
      )
      part = jax.device_get(_outputs(capture, layout, run.mesh, run.data_axes, model, tables, padded))
      for key, value in part.items():
        found.setdefault(key, []).append(np.asarray(value, np.float32)[: len(rows)])
    run.cost.forward_evaluations += len(source)
  if not found:
    raise ValueError(f"{name}: the source is empty")
  return {key: np.concatenate(parts) for key, parts in found.items()}


@functools.partial(jax.jit, static_argnames=("capture", "layout", "mesh", "axes"))
def _outputs(capture, layout, mesh, axes, model, tables, rows):
  batch = split_batch(gather(layout, tables, {"data": rows})["data"], mesh, axes)
  out = model(batch["inputs"], capture=capture) if capture else model(batch["inputs"])
  return {"logits": out.logits, **{site: out.hidden[site] for site in capture}}
