"""What a run carries that is not mathematics: where to save, how to show progress, what it cost."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import pathlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax


@dataclasses.dataclass
class Cost:
  """The ledger of a run. It adds up over fits and folds, and survives a crash with the checkpoints.

  Attributes:
    gradient_evaluations: examples that went through a forward and a backward pass, counted once a backward.
    forward_evaluations: examples that went through a forward pass only.
    steps: updates made.
    seconds: wall time inside fits, folds and `measure` blocks, without compilation.
    compile_seconds: time spent tracing and compiling.
    peak_bytes: the largest device memory in use that was seen; 0 where the device does not tell.
  """

  gradient_evaluations: int = 0
  forward_evaluations: int = 0
  steps: int = 0
  seconds: float = 0.0
  compile_seconds: float = 0.0
  peak_bytes: int = 0
  _mark: tuple[float, float] | None = dataclasses.field(default=None, repr=False, compare=False)

  def add(self, other: Mapping[str, Any]) -> None:
    """Adds a ledger in the form of `to_dict`; the peak is the larger of both."""
    for key, value in other.items():
      setattr(self, key, max(getattr(self, key), value) if key == "peak_bytes" else getattr(self, key) + value)

  @contextlib.contextmanager
  def measure(self) -> Iterator[None]:
    """Adds the wall time of the block, split into compilation and the rest. Blocks may nest: the outermost counts."""
    if self._mark is not None:
      yield
      return
    self._mark = _clocks()
    try:
      yield
    finally:
      self.tick()
      self._mark = None

  def tick(self) -> None:
    """Brings the clocks of an open `measure` block up to date."""
    if self._mark is None:
      return
    wall, compiling = (now - then for now, then in zip(_clocks(), self._mark))
    self.compile_seconds += compiling
    self.seconds += max(wall - compiling, 0.0)
    self.peak_bytes = max(self.peak_bytes, _peak_bytes())
    self._mark = _clocks()

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Leaves a block out of the `measure` block that is open around it."""
    self.tick()
    try:
      yield
    finally:
      if self._mark is not None:
        self._mark = _clocks()

  def to_dict(self) -> dict[str, Any]:
    """The ledger now, as a JSON value."""
    self.tick()
    return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if not f.name.startswith("_")}

  def since(self, before: Mapping[str, Any]) -> dict[str, Any]:
    """What was spent since `before = cost.to_dict()`."""
    now = self.to_dict()
    return {k: v if k == "peak_bytes" else v - before[k] for k, v in now.items()}


_COMPILING = {"seconds": 0.0, "listening": False}


def _clocks() -> tuple[float, float]:
  return time.perf_counter(), _compile_clock()


def _compile_clock() -> float:
  """Seconds that this process has spent in tracing, lowering and compiling."""
  if not _COMPILING["listening"]:

    def listen(event: str, duration: float, **_: Any) -> None:
      if event.startswith("/jax/core/compile/"):
        _COMPILING["seconds"] += duration

    jax.monitoring.register_event_duration_secs_listener(listen)
    _COMPILING["listening"] = True
  return _COMPILING["seconds"]


def _peak_bytes() -> int:
  stats = jax.local_devices()[0].memory_stats() or {}
  return int(stats.get("peak_bytes_in_use", 0))


class Stopped(KeyboardInterrupt):
  """Somebody asked this process to stop, and what was running has been saved: the same command goes on from there."""


_STOP, _CALLS = threading.Event(), itertools.count()


def ask_to_stop(*_: Any) -> None:
  """Lets every fit of this process save and raise `Stopped` after its present chunk; fits to be a signal handler."""
  _STOP.set()


def forget_to_stop() -> None:
  """Takes `ask_to_stop` back."""
  _STOP.clear()


def stop_asked() -> bool:
  """Whether a fit should save and stop now.

  Several processes must stop at the same place: after a SIGTERM to any of them the runtime names one of the next calls,
  which it counts, so that all processes must call this equally often.
  """
  if jax.process_count() == 1:
    return _STOP.is_set()
  from jax.experimental import multihost_utils

  return multihost_utils.reached_preemption_sync_point(next(_CALLS))


@dataclasses.dataclass
class Run:
  """Everything about a run that does not change its result.

  Attributes:
    out: output directory; None keeps nothing and cannot resume.
    checkpoint_every: steps between checkpoints; None leaves it to `checkpoint_seconds`.
    checkpoint_seconds: wall time between checkpoints. Several processes cannot agree on the time: they save every
      `checkpoint_every` steps, 1,000 by default.
    keep: checkpoints to keep of each fit.
    mesh: device mesh; batches are split over `data_axes` of it.
    data_axes: mesh axes that examples are split over.
    progress: shows a bar for each fit and fold.
    writer: called as `writer(label, step, scalars)` after every chunk of steps, with what the last of them logged; see
      `report.tensorboard`.
    on_history: called as `on_history(label, history)` at the end of every fit, resumed or not; the label is the path
      of the scope and the name of the fit.
    looks: at how many evenly spaced steps of every fit, the last among them, `on_look` is asked.
    on_look: called as `on_look(label, state, refs)` there, on the host and outside the ledger; the numbers that it
      returns stand in the history at that step, and survive a crash with it. It must not keep the state, which the next
      step donates, and a fit of its own needs a run of its own.
    budget: gradient evaluations that may be spent; a fit stops at the step that would exceed it.
    batch_size: rows of a batch in passes that do not update.
    cost: the ledger, shared by all scopes.
    path: names of the enclosing scopes.
  """

  out: str | pathlib.Path | None = None
  checkpoint_every: int | None = None
  checkpoint_seconds: float = 60.0
  keep: int = 2
  mesh: jax.sharding.Mesh | None = None
  data_axes: tuple[str, ...] = ("data",)
  progress: bool = False
  writer: Callable[[str, int, Mapping[str, Any]], None] | None = None
  on_history: Callable[[str, Mapping[str, Any]], None] | None = None
  looks: int = 0
  on_look: Callable[[str, Any, Mapping[str, Any]], Mapping[str, float]] | None = None
  budget: int | None = None
  batch_size: int = 256
  cost: Cost = dataclasses.field(default_factory=Cost)
  path: tuple[str, ...] = ()
  _names: set[str] = dataclasses.field(default_factory=set, repr=False)

  def __post_init__(self):
    if self.checkpoint_every is not None and self.checkpoint_every < 1:
      raise ValueError(f"checkpoint_every must be >= 1, got {self.checkpoint_every}")
    if self.keep < 1:
      raise ValueError(f"keep must be >= 1, got {self.keep}")
    if self.looks < 0 or (self.looks and self.on_look is None):
      raise ValueError(f"looks must be >= 0, and needs on_look, got {self.looks} and {self.on_look}")
    if self.out is not None:
      self.out = pathlib.Path(self.out)
      if self.out.is_file():
        raise ValueError(f"out must be a directory, and {self.out} is a file")

  @property
  def label(self) -> str:
    return "/".join(self.path)

  def scope(self, name: str) -> Run:
    """A run for a part of the work, with its own names and directory and the same ledger.

    Raises:
      ValueError: the name was used before within this scope; two parts of one name would share their checkpoints.
    """
    self.claim(name)
    return dataclasses.replace(self, path=(*self.path, name), _names=set())

  def apart(self, *path: str) -> Run:
    """A run at a place of its own, with its own names and its own ledger."""
    return dataclasses.replace(self, path=path, cost=Cost(), _names=set())

  def claim(self, name: str) -> None:
    """Reserves a name within this scope."""
    if name in self._names:
      raise ValueError(
        f"the name {name!r} is used twice within the run scope {self.label or 'top'!r}: pass name=, or use run.scope()"
      )
    self._names.add(name)

  def directory(self, name: str) -> pathlib.Path | None:
    """Where the checkpoints of part `name` of this scope lie."""
    return None if self.out is None else self.out.joinpath("checkpoints", *self.path, name)

  def bar(self, name: str, total: int, initial: int) -> Any:
    """A progress bar for part `name` of this scope; it shows nothing where `progress` is off."""
    from tqdm import tqdm

    label = "/".join((*self.path, name))
    return tqdm(total=total, initial=initial, desc=label, leave=False, disable=not self.progress, unit="step")

  def look_steps(self, steps: int) -> list[int]:
    """After which of so many steps `on_look` is asked, rising.

    Example:
      >>> Run(looks=4, on_look=lambda *_: {}).look_steps(10), Run().look_steps(10)
      ([2, 5, 8, 10], [])
    """
    return sorted({round(steps * k / self.looks) for k in range(1, self.looks + 1)} - {0})

  def once(self, name: str, fn: Callable[[], Any]) -> Any:
    """The value of `fn()`, computed once: after a crash the saved value is used, bit by bit, at no cost.

    Args:
      name: unique within the scope.
      fn: computes nested dicts of arrays.
    """
    self.claim(name)
    directory = self.directory(name)
    from unlearnjax.core.tree import strong

    if directory is None:
      with self.cost.measure():
        return strong(fn())
    from unlearnjax import checkpoint

    saved = checkpoint.load_tree(directory)
    if saved is not None:
      value, meta = saved
      self.cost.add(meta["cost"])
      return value
    before = self.cost.to_dict()
    with self.cost.measure():
      value = jax.block_until_ready(strong(fn()))
    checkpoint.save_tree(directory, value, {"cost": self.cost.since(before)})
    return value
