"""The course of every fit as files that TensorBoard reads."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__doctest_requires__ = ("tensorboardX",)


def tensorboard(directory: str | pathlib.Path) -> Callable[[str, int, Mapping[str, Any]], None]:
  """A writer for `Run(writer=)`: scalars as event files, a directory for every fit, so that fits can be compared.

  A fit that is resumed goes on in a new file, and what it had written of later steps is no longer shown. Of several
  processes the first one writes.

  Args:
    directory: what `tensorboard --logdir` is given; made where it is missing.

  Returns:
    `writer(label, step, scalars)`. Numbers that are not finite, as of a role that rests, are left out.

  Raises:
    ValueError: tensorboardX, the extra `tensorboard`, is not installed.

  Example:
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> write = tensorboard(folder.name)
    >>> write("salun/fit", 100, {"forget/loss": 1.5})
    >>> [path.parent.name for path in pathlib.Path(folder.name).rglob("events.*")]
    ['fit']
  """
  try:
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog
  except ModuleNotFoundError:
    raise ValueError("files for TensorBoard need tensorboardX: pip install 'unlearnjax[tensorboard]'") from None
  import jax

  if jax.process_index():
    return lambda label, step, scalars: None
  top = pathlib.Path(directory)
  top.mkdir(parents=True, exist_ok=True)
  open_file: dict[str, Any] = {}  # the fit at work and its file: fits follow one another

  def write(label: str, step: int, scalars: Mapping[str, Any]) -> None:
    if label not in open_file:
      for file in open_file.values():
        file.close()
      open_file.clear()
      (top / label).mkdir(parents=True, exist_ok=True)
      file = open_file[label] = EventsWriter(str(top / label / "events"), f".{time.time_ns()}")
      start = SessionLog(status=SessionLog.START)  # what an earlier file says of this step and later ones is void
      file.write_event(Event(wall_time=time.time(), step=step, session_log=start))
    event = Event(wall_time=time.time(), step=step)
    for name, value in scalars.items():
      if np.isfinite(value):
        event.summary.value.add(tag=name, simple_value=float(value))
    open_file[label].write_event(event)
    open_file[label].flush()

  return write
