"""One writer a directory: a lock that ends with its process, however that ends."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import pathlib

_log = logging.getLogger("unlearnjax")
LOCK = "writer.lock"


class Busy(OSError):
  """Another writer holds the directory."""


class Lock:
  """The right to write in a directory; it ends with the process, however that ends.

  Args:
    directory: it is made.
    name: of the file that is locked; rights of different names do not exclude each other.

  Raises:
    Busy: another writer holds it.
  """

  def __init__(self, directory: str | os.PathLike, name: str = LOCK):
    self.path = pathlib.Path(directory) / name
    self.path.parent.mkdir(parents=True, exist_ok=True)
    self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
      fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      holder = self.path.read_text(errors="replace").strip() or "another process"
      os.close(self._file)
      self._file = None
      if error.errno not in (errno.EAGAIN, errno.EACCES):
        raise
      raise Busy(error.errno, f"{self.path.parent} is being written by {holder}: one writer at a time") from None
    try:  # only for the message of the next one: a full disk does no harm
      os.ftruncate(self._file, 0)
      os.pwrite(self._file, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
    except OSError:
      pass

  def close(self) -> None:
    if self._file is not None:
      os.close(self._file)
      self._file = None


def lock(directory: str | os.PathLike, name: str = LOCK) -> Lock | None:
  """A `Lock`, or None with a warning on a file system that has none.

  Raises:
    Busy: another writer holds it.
  """
  pathlib.Path(directory).mkdir(parents=True, exist_ok=True)
  try:
    return Lock(directory, name)
  except Busy:
    raise
  except OSError as error:
    _log.warning("%s cannot be locked (%s): let one process at a time write in it", directory, error.strerror)
    return None
