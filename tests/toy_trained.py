"""A toy network that has learned its blobs, and requests to forget some of them."""

from __future__ import annotations

import functools

import jax
import numpy as np
import optax
from toy import TOY, toy_data

from unlearnjax.core import Examples, ForgetRequest, Model, outputs
from unlearnjax.training import Recipe, train

FORGOTTEN = 1


@functools.cache
def data(size: int = 120, seed: int = 0) -> Examples:
  """The blobs of `toy_data`, drawn together so that they hardly overlap."""
  rows = toy_data(size, seed)
  centers = 2 * np.eye(4, dtype=np.float32)[rows.column("y")]
  return rows.replace(x=centers + 0.6 * (rows.column("x") - centers))


@functools.cache
def trained(fn=TOY) -> Model:
  return train(fn, data(), Recipe(optax.adam(0.03), epochs=20, batch_size=32), key=jax.random.key(0))


@functools.cache
def class_request() -> ForgetRequest:
  gone = data().column("y") == FORGOTTEN
  test = data(60, seed=1)
  extra = {"test": test.where(test.column("y") != FORGOTTEN), "surrogate": surrogate()}
  forget = data().where(gone)
  return ForgetRequest(forget, data().where(~gone), forget.ids, extra=extra, classes=(FORGOTTEN,))


@functools.cache
def random_request() -> ForgetRequest:
  gone = np.arange(len(data())) % 10 == 0
  forget = data().where(gone)
  extra = {"test": data(60, seed=1), "surrogate": surrogate()}
  return ForgetRequest(forget, data().where(~gone), forget.ids, extra=extra)


@functools.cache
def surrogate(size: int = 200) -> Examples:
  """Points that belong to no blob: a wide cloud over all of them."""
  rng = np.random.default_rng(7)
  x = 2 * rng.normal(size=(size, 4)) + 0.5
  return Examples({"x": x.astype(np.float32), "y": np.zeros(size, np.int32), "id": 10_000 + np.arange(size)})


def accuracy(model: Model, source: Examples) -> float:
  return float(np.mean(outputs(model, source)["logits"].argmax(-1) == source.column("y")))


def equal(a, b) -> bool:
  """Two trees hold the same bits."""
  return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
