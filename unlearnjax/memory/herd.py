"""Exemplars whose mean follows the mean of their class: iCaRL's herding."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array, Memory
from unlearnjax.memory.buffers import refuse_group
from unlearnjax.memory.table import draw, empty, group_of, matching


def herd(features: Array, valid: Array, count: int) -> Array:
  """The order in which herding picks rows: each pick brings the mean of those picked nearest to the mean of all.

  Pick k minimises |mu - (phi_i + sum of those picked) / k| over the rows that are left. Welling 2009; Rebuffi et al.,
  CVPR 2017, arXiv:1611.07725, on features of unit length.

  Args:
    features: phi, f[n, d].
    valid: bool[n].
    count: how many picks.

  Returns:
    int32[count] row numbers, -1 where no row is left.

  Example:
    >>> herd(jnp.array([[0.0], [1.0], [5.0], [2.0]]), jnp.ones(4, bool), 5).tolist()
    [3, 1, 2, 0, -1]
  """
  features, valid = jnp.asarray(features), jnp.asarray(valid, bool)
  total = jnp.maximum(valid.sum(), 1)
  mean = jnp.where(valid[:, None], features, 0).sum(0) / total
  half = 0.5 * jnp.sum(features**2, -1)

  def pick(carry, _):
    want, left = carry  # want = k mu - sum of those picked before
    i = jnp.argmax(jnp.where(left, features @ want - half, -jnp.inf))
    some = left.any()
    return (want + mean - features[i], left.at[i].set(False)), jnp.where(some, i, -1).astype(jnp.int32)

  return jax.lax.scan(pick, (mean, valid), length=count)[1]


def herding(capacity: int, classes: int, *, by: str = "y", features: str = "features") -> Memory:
  """iCaRL's exemplars: capacity / (classes seen) of every class, in the order of herding; old lists are cut short.

  `add` takes whole classes at once, with a column of features; a class that comes again is chosen anew.

  Args:
    capacity: rows in all, >= 1.
    classes: labels are in [0, classes).
    by: column of labels.
    features: column f[B, d] of features; it is normalised here and is not kept.

  Raises:
    ValueError: at `add`, a batch without features, a label out of range, or an example of another shape.

  Example:
    >>> memory = herding(2, 2)
    >>> example = {"y": jnp.zeros(1, int), "valid": jnp.ones(1, bool)}
    >>> batch = {"y": jnp.array([0, 0, 1]), "valid": jnp.ones(3, bool), "features": jnp.eye(3)}
    >>> memory.add(memory.init(example), batch, jax.random.key(0))["rows"]["y"].tolist()
    [0, 1]
  """
  check.positive("capacity", capacity)
  check.positive("classes", classes)

  def init(example):
    blank = jnp.full(capacity, -1, jnp.int32)
    return {"rows": empty(example, capacity), "label": blank, "rank": blank, "seen": jnp.zeros(classes, bool)}

  def add(tree, batch, key):
    del key
    if features not in batch:
      raise ValueError(f"herding reads the column {features!r}, but the batch has {sorted(batch)}")
    rows, labels = matching(tree["rows"], batch), group_of(batch, by)
    refuse_group(labels, rows["valid"], classes, by)
    phi = jnp.asarray(batch[features], jnp.float32)
    phi = phi / jnp.maximum(jnp.linalg.norm(phi, axis=-1, keepdims=True), 1e-12)
    total = len(labels)

    def ranks(c):  # place of every row in the list of class c, or capacity
      mine = rows["valid"] & (labels == c)
      none = jnp.full(total, capacity, jnp.int32)

      def choose():
        order = herd(phi, mine, min(capacity, total))
        return none.at[jnp.where(order < 0, total, order)].set(jnp.arange(len(order), dtype=jnp.int32), mode="drop")

      return jax.lax.cond(mine.any(), choose, lambda: none)

    rank = jax.lax.map(ranks, jnp.arange(classes)).min(0)
    came = jnp.zeros(classes, bool).at[jnp.where(rows["valid"], labels, classes)].set(True, mode="drop")
    seen = tree["seen"] | came
    share = capacity // jnp.maximum(seen.sum(), 1)
    stays = tree["rows"]["valid"] & (tree["rank"] < share) & ~came[jnp.maximum(tree["label"], 0)]
    keep = jnp.concatenate([stays, rank < share])
    label, place = jnp.concatenate([tree["label"], labels]), jnp.concatenate([tree["rank"], rank])
    order = jnp.argsort(jnp.where(keep, label * (capacity + 1) + place, jnp.iinfo(jnp.int32).max))[:capacity]
    kept = jax.tree.map(lambda a, b: jnp.concatenate([a, b])[order], tree["rows"], rows)
    kept["valid"] = keep[order]
    blank = lambda x: jnp.where(kept["valid"], x[order], -1)
    return {"rows": kept, "label": blank(label), "rank": blank(place), "seen": seen}

  return Memory(init, add, lambda tree, key, size: draw(tree["rows"], key, size))
