"""Memories of examples: reservoir, ring, greedy balance. All shapes are static; add and read run under jit."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Memory
from unlearnjax.memory.table import draw, empty, group_of, matching, write


def reservoir(capacity: int) -> Memory:
  """A uniform sample of everything that was ever added: each of n examples is kept with probability capacity / n.

  Example number s (from 0) goes to place s while there is room, then to a place drawn from {0..s} if that exists.
  Vitter 1985; no task is needed.

  Args:
    capacity: rows, >= 1.

  Example:
    >>> memory = reservoir(2)
    >>> batch = {"y": jnp.array([5, 6]), "id": jnp.array([0, 1]), "valid": jnp.array([True, True])}
    >>> tree = memory.add(memory.init(batch), batch, jax.random.key(0))
    >>> memory.read(tree, jax.random.key(1), 2)["y"].sum().tolist(), int(tree["added"])
    (11, 2)
  """
  check.positive("capacity", capacity)

  def init(example):
    return {"rows": empty(example, capacity), "added": jnp.zeros((), jnp.int32)}

  def add(tree, batch, key):
    rows = matching(tree["rows"], batch)
    number = tree["added"] + jnp.cumsum(rows["valid"]) - 1
    drawn = jax.random.randint(key, number.shape, 0, jnp.maximum(number, 0) + 1)
    slot = jnp.where(number < capacity, number, drawn)
    slot = jnp.where(rows["valid"], slot, capacity)
    return {"rows": write(tree["rows"], slot, rows), "added": tree["added"] + rows["valid"].sum()}

  return Memory(init, add, lambda tree, key, size: draw(tree["rows"], key, size))


def ring(per_group: int, *, groups: int = 1, by: str = "task") -> Memory:
  """The last `per_group` examples of every group: of every task (GEM), or of every class with `by="y"`.

  Args:
    per_group: rows a group, >= 1.
    groups: how many; examples of a later group are refused outside of jit and ignored inside.
    by: column that holds the group's number; not needed for one group.

  Raises:
    ValueError: at `add`, a group out of range, an example of another shape, or a batch without the column.

  Example:
    >>> memory = ring(2, groups=2)
    >>> batch = {"task": jnp.array([1, 1, 1]), "y": jnp.array([5, 6, 7]), "valid": jnp.ones(3, bool)}
    >>> tree = memory.add(memory.init(batch), batch, jax.random.key(0))
    >>> tree["rows"]["y"].tolist()
    [[0, 0], [7, 6]]
  """
  check.positive("per_group", per_group)
  check.positive("groups", groups)

  def init(example):
    return {"rows": empty(example, groups, per_group), "added": jnp.zeros(groups, jnp.int32)}

  def add(tree, batch, key):
    del key
    rows = matching(tree["rows"], batch, lead=2)
    valid = rows["valid"]
    group = jnp.zeros(valid.shape, jnp.int32) if groups == 1 else group_of(batch, by)
    refuse_group(group, valid, groups, by)
    member = (group[:, None] == jnp.arange(groups)) & valid[:, None]
    number = tree["added"] + jnp.cumsum(member, axis=0) - 1  # of each example within each group
    mine = jnp.take_along_axis(number, jnp.clip(group, 0, groups - 1)[:, None], 1)[:, 0] % per_group
    slot = jnp.where(member.any(-1), group * per_group + mine, groups * per_group)
    flat = jax.tree.map(lambda x: x.reshape(groups * per_group, *x.shape[2:]), tree["rows"])
    flat = write(flat, slot, rows)
    return {
      "rows": jax.tree.map(lambda x, old: x.reshape(old.shape), flat, tree["rows"]),
      "added": tree["added"] + member.sum(0),
    }

  def read(tree, key, size):
    flat = jax.tree.map(lambda x: x.reshape(groups * per_group, *x.shape[2:]), tree["rows"])
    return draw(flat, key, size)

  return Memory(init, add, read)


def stacked(memory: Memory) -> Memory:
  """A ring whose `read` gives `size` rows of every group, [groups, size, ...]: one gradient a task (GEM).

  Example:
    >>> memory = stacked(ring(2, groups=3))
    >>> batch = {"task": jnp.array([1]), "y": jnp.array([5]), "valid": jnp.ones(1, bool)}
    >>> tree = memory.add(memory.init(batch), batch, jax.random.key(0))
    >>> memory.read(tree, jax.random.key(0), 2)["valid"].any(-1).tolist()
    [False, True, False]
  """

  def read(tree, key, size):
    groups, per_group = tree["rows"]["valid"].shape
    if size == per_group:
      return tree["rows"]
    return jax.vmap(lambda rows, k: draw(rows, k, size))(tree["rows"], jax.random.split(key, groups))

  return Memory(memory.init, memory.add, read)


def balanced(capacity: int, classes: int, *, by: str = "y") -> Memory:
  """As many examples of every class as the capacity allows, first come, first kept: GDumb's greedy sampler.

  An example is kept while there is room, or while its class holds fewer than capacity / (classes seen): then it takes
  the place of a random example of the largest class. Prabhu et al., ECCV 2020.

  Args:
    capacity: rows, >= 1.
    classes: labels are in [0, classes).
    by: column of labels.

  Raises:
    ValueError: at `add`, a label out of range (outside of jit), or an example of another shape.

  Example:
    >>> memory = balanced(4, 2)
    >>> batch = {"y": jnp.array([0, 0, 0, 0, 1, 1]), "valid": jnp.ones(6, bool)}
    >>> tree = memory.add(memory.init(batch), batch, jax.random.key(0))
    >>> sorted(tree["rows"]["y"].tolist())
    [0, 0, 1, 1]
  """
  check.positive("capacity", capacity)
  check.positive("classes", classes)

  def init(example):
    zeros = jnp.zeros(classes, bool)
    return {"rows": empty(example, capacity), "label": jnp.full(capacity, -1, jnp.int32), "seen": zeros}

  def add(tree, batch, key):
    rows = matching(tree["rows"], batch)
    labels = group_of(batch, by)
    refuse_group(labels, rows["valid"], classes, by)
    usable = rows["valid"] & (labels >= 0) & (labels < classes)

    def one(carry, item):  # decides where the example goes; the rows are written once, at the end
      label, seen, source = carry
      number, mine, ok, k = item
      seen = seen.at[mine].set(seen[mine] | ok, mode="drop")
      counts = jnp.zeros(classes, jnp.int32).at[jnp.where(label >= 0, label, classes)].add(1, mode="drop")
      full = (label >= 0).all()
      share = capacity // jnp.maximum(seen.sum(), 1)
      luck = jax.random.uniform(k, (capacity,))
      victim = jnp.argmax(jnp.where(label == jnp.argmax(counts), luck, -1.0))
      place = jnp.where(full, victim, jnp.argmax(label < 0))
      keep = ok & (~full | (counts[mine] < share))
      place = jnp.where(keep, place, capacity)
      return (label.at[place].set(mine, mode="drop"), seen, source.at[place].set(number, mode="drop")), None

    total = len(labels)
    start = (tree["label"], tree["seen"], jnp.full(capacity, -1, jnp.int32))
    items = (jnp.arange(total, dtype=jnp.int32), labels, usable, jax.random.split(key, total))
    (label, seen, source), _ = jax.lax.scan(one, start, items)
    new = source >= 0
    pick = lambda old, x: jnp.where(new.reshape(-1, *[1] * (old.ndim - 1)), x[jnp.maximum(source, 0)], old)
    return {"rows": jax.tree.map(pick, tree["rows"], rows), "label": label, "seen": seen}

  return Memory(init, add, lambda tree, key, size: draw(tree["rows"], key, size))


def refuse_group(group, valid, groups: int, by: str) -> None:
  """Raises ValueError for groups out of range where they are known, that is outside of jit."""
  if isinstance(group, jax.core.Tracer) or isinstance(valid, jax.core.Tracer):
    return
  found = group[valid]
  if found.size and not (0 <= int(found.min()) and int(found.max()) < groups):
    raise ValueError(f"the memory has room for {groups} values of {by!r}, 0..{groups - 1}; got {int(found.max())}")
