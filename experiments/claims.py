"""Which directories this process writes in."""

from __future__ import annotations

import pathlib

_HELD = {}


def hold(out: pathlib.Path) -> None:
  """Keeps other processes out of a directory until `release`; of several processes of one job the first one holds it.

  Raises:
    unlearnjax.lock.Busy: another process is writing in it.
  """
  import jax

  from unlearnjax import lock

  if not jax.process_index() and out.absolute() not in _HELD:
    _HELD[out.absolute()] = lock.lock(out, "job.lock")


def release() -> None:
  """Lets other processes write in the directories that this one held."""
  while _HELD:
    if (held := _HELD.popitem()[1]) is not None:
      held.close()
