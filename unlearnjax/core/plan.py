"""The order of data: which rows of which table every step of a run reads.

A `Plan` is for data in memory: the tables live on the device, the rows are int32 indices made on the host (a
permutation on the device costs more than the step), and the whole order is a pure function of (seed, role, epoch). Its
position is one integer. A `Feed` is for data that does not fit: an iterator whose state can be saved.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from unlearnjax.core.source import Examples, as_examples
from unlearnjax.core.tree import name_id
from unlearnjax.core.types import RESERVED_ROLES


class Phase(NamedTuple):
  """Part of a cycle: `steps` steps (None: one pass over the first role) during which only `roles` advance."""

  name: str
  steps: int | None = None
  roles: tuple[str, ...] | None = None


class Stream(NamedTuple):
  """One role of a plan: its examples (one source, or one a replica) and how many of them a batch holds."""

  sources: tuple[Examples, ...]
  batch: int

  @property
  def steps_per_epoch(self) -> int:
    return -(-max(len(s) for s in self.sources) // self.batch)

  def batches(self, replica: int, seed: int, role: str, epoch: int) -> np.ndarray:
    """One shuffled epoch as row numbers, int32[steps_per_epoch, batch], the last batch padded with -1."""
    source = self.sources[replica % len(self.sources)]
    order = np.random.default_rng([seed & (2**64 - 1), name_id(role), epoch]).permutation(len(source))
    rows = np.full(self.steps_per_epoch * self.batch, -1, np.int32)
    rows[: len(source)] = source.rows[order]
    return rows.reshape(-1, self.batch)


class Plan(NamedTuple):
  """A finite, resumable order of batches over data in memory; made by `zip_roles`."""

  streams: Mapping[str, Stream]
  phase: np.ndarray | None  # int32[steps], name_id of the phase
  active: Mapping[str, np.ndarray]  # bool[steps] by role: does the role advance
  steps: int
  steps_per_epoch: int
  seeds: tuple[int, ...] | None
  capacity: int | None

  def indices(self, start: int, stop: int, seeds: Sequence[int], axis: bool) -> dict[str, np.ndarray]:
    """Row numbers by role, int32[stop - start, (seeds,) batch]; -1 marks padding and resting roles."""
    out = {}
    for role, stream in self.streams.items():
      active = self.active[role][start:stop]
      position = int(np.count_nonzero(self.active[role][:start])) + np.cumsum(active)[active] - 1
      epoch, place = np.divmod(position, stream.steps_per_epoch)
      rows = np.full((stop - start, len(seeds), stream.batch), -1, np.int32)
      moving = np.flatnonzero(active)
      for s, seed in enumerate(seeds):
        for e in np.unique(epoch):
          now = epoch == e
          rows[moving[now], s] = stream.batches(s, seed, role, int(e))[place[now]]
      out[role] = rows if axis else rows[:, 0]
    return out

  def fingerprint(self) -> dict[str, Any]:
    """What must agree for a saved position to make sense: JSON, independent of the machine."""
    roles = {r: [s.batch, *(_checksum(x.ids) for x in s.sources)] for r, s in sorted(self.streams.items())}
    phases = None if self.phase is None else _checksum(self.phase)
    active = {r: _checksum(a) for r, a in sorted(self.active.items())}
    return {"steps": self.steps, "roles": roles, "phases": phases, "active": active}


class Feed(NamedTuple):
  """Batches from an iterator, for data that does not fit into memory.

  Attributes:
    make: `() -> iterator` of batches `{role: {"inputs": {...}, ..., "id": int32[B], "valid": bool[B]}}`. The iterator
      has `get_state()` and `set_state(state)` with a JSON value or bytes, as grain's iterators do.
    steps: how many batches to take.
    steps_per_epoch: how often `fit(until=...)` looks.
  """

  make: Callable[[], Iterator]
  steps: int
  steps_per_epoch: int | None = None

  def fingerprint(self) -> dict[str, Any]:
    return {"steps": self.steps, "feed": True}


def zip_roles(
  *,
  anchor: str | None = None,
  batch_size: int | Mapping[str, int],
  epochs: int = 1,
  seeds: int | Sequence[int] | None = None,
  capacity: int | None = None,
  cycle: Sequence[Phase | tuple] = (),
  **roles: Any,
) -> Plan:
  """Plans batches that hold one part a role.

  Every role is shuffled anew in each of its own epochs and walks through them at its own pace; the last batch of an
  epoch is padded and marked by `valid`.

  Args:
    anchor: the role whose passes count as epochs. None with a `cycle`: the cycle is repeated `epochs` times.
    batch_size: rows of a batch, for all roles or by role.
    epochs: passes over the anchor (or cycles).
    seeds: of the order. None: from the key of the state that is fitted. A sequence adds a leading axis of that length
      to every role batch (see `replicate`).
    capacity: rows that every table is padded to, so that tables of other sizes share one compilation; by default a
      size of coarse steps. Selections of one table need none.
    cycle: phases, `Phase(name, steps, roles)` or tuples of the same form; `("max", 2)` lets all roles advance for two
      steps, `("max", None, ("forget",))` is one pass over `forget` during which other roles rest.
    **roles: a `Source` each, or a list with one a replica (selections of one table).

  Raises:
    ValueError: no roles, an empty role, an unknown anchor, or a batch size below one.

  Example:
    >>> data = Examples({"x": np.zeros((10, 2), np.float32)})
    >>> plan = zip_roles(anchor="retain", batch_size=4, epochs=2, forget=data[:3], retain=data[3:])
    >>> plan.steps, {r: i.shape for r, i in plan.indices(0, 4, (0,), False).items()}
    (4, {'forget': (4, 4), 'retain': (4, 4)})
  """
  if not roles:
    raise ValueError("zip_roles needs at least one role")
  for role in roles:
    if role in RESERVED_ROLES:
      raise ValueError(f"{role!r} is a reserved batch key and cannot name a role")
  streams = {}
  for role, source in roles.items():
    if source is None:
      raise ValueError(f"role {role!r} has no examples (got None): this plan needs them")
    size = batch_size.get(role, 0) if isinstance(batch_size, Mapping) else batch_size
    if size < 1:
      raise ValueError(f"batch_size of role {role!r} must be >= 1, got {size}")
    several = isinstance(source, (list, tuple)) and not (source and isinstance(source[0], Mapping))
    sources = tuple(as_examples(s) for s in (source if several else [source]))
    if not sources or not all(len(s) for s in sources):
      raise ValueError(f"role {role!r} is empty")
    if any(s.columns.keys() != sources[0].columns.keys() for s in sources) or any(
      s.columns[k] is not v for s in sources for k, v in sources[0].columns.items()
    ):
      raise ValueError(f"the sources of role {role!r} must be selections of one table")
    streams[role] = Stream(sources, int(size))
  if epochs < 0:
    raise ValueError(f"epochs must be >= 0, got {epochs}")
  if anchor is None and not cycle:
    if len(roles) > 1:
      raise ValueError(f"anchor must name the role whose passes are counted, one of {sorted(roles)}")
    anchor = next(iter(roles))
  if anchor is not None and anchor not in roles:
    raise ValueError(f"anchor must be one of the roles {sorted(roles)}, got {anchor!r}")

  names, active = _cycle(cycle, streams)
  length = len(names)
  if anchor is None:
    repeats, steps, per_epoch = epochs, epochs * length, length
  else:
    per_epoch = streams[anchor].steps_per_epoch
    advances = int(active[anchor].sum())
    if not advances:
      raise ValueError(f"the anchor {anchor!r} never advances in the cycle")
    repeats = -(-epochs * per_epoch // advances)
    steps = repeats * length
    per_epoch = -(-per_epoch * length // advances)  # steps of the plan, among them those in which the anchor rests
  tile = lambda a: np.tile(a, repeats)[:steps]
  return Plan(
    streams=streams,
    phase=tile(np.array([name_id(n) for n in names], np.int32)) if cycle else None,
    active={r: tile(a) for r, a in active.items()},
    steps=steps,
    steps_per_epoch=max(per_epoch, 1),
    seeds=None if seeds is None else tuple(int(s) for s in np.atleast_1d(seeds)),
    capacity=capacity,
  )


def _cycle(cycle, streams: Mapping[str, Stream]) -> tuple[list[str], dict[str, np.ndarray]]:
  """Phase names and activity of one cycle, step by step."""
  if not cycle:
    return [""], {r: np.ones(1, bool) for r in streams}
  names: list[str] = []
  active: dict[str, list[bool]] = {r: [] for r in streams}
  for item in cycle:
    phase = Phase(*item)
    moving = tuple(streams) if phase.roles is None else tuple(phase.roles)
    for role in moving:
      if role not in streams:
        raise ValueError(f"phase {phase.name!r} advances role {role!r}, but the roles are {sorted(streams)}")
    steps = streams[moving[0]].steps_per_epoch if phase.steps is None else phase.steps
    names += [phase.name] * steps
    for role in streams:
      active[role] += [role in moving] * steps
  return names, {r: np.array(a, bool) for r, a in active.items()}


def _checksum(array: np.ndarray) -> int:
  return zlib.crc32(np.ascontiguousarray(array).tobytes())
