"""An append-only record on disk: JSON Lines, each chained to the one before by its hash, one writer at a time.

A `Log` is what `uj.serve` keeps its requests (`intents.jsonl`) and its receipts (`ledger.jsonl`) in. A line is on the
disk before `append` returns, or it is not there at all. A line that a crash left unfinished is dropped with a message;
a line that was changed, removed, inserted or moved is found by `verify` and named. Whoever can rewrite the whole file
can also make a new chain: publish the last hash (`head`) and pass it to `verify`.

Example:
  >>> import tempfile
  >>> with tempfile.TemporaryDirectory() as out:
  ...   with Log(f"{out}/ledger.jsonl") as log:
  ...     _ = log.append({"request": "a"}), log.append({"request": "b"})
  ...   verify(f"{out}/ledger.jsonl").entries
  2
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

_log = logging.getLogger("unlearnjax")
GENESIS = "0" * 64
"""What the first line of a log is chained to."""
LEDGER, INTENTS = "ledger.jsonl", "intents.jsonl"
_OWN = ("seq", "previous", "hash")


class LedgerError(ValueError):
  """A log was tampered with, or does not belong to what it lies beside."""


class Report(NamedTuple):
  """What `verify` found.

  Attributes:
    entries: whole lines.
    head: hash of the last one.
    problems: lines that were changed, removed, inserted or moved, one sentence each; empty for an intact log.
    notes: what is odd but no fault: an unfinished last line, a clock that went back.
  """

  entries: int
  head: str
  problems: tuple[str, ...]
  notes: tuple[str, ...]


class Chain:
  """Entries chained by their hashes, in memory.

  Attributes:
    entries: all entries, each with its own `seq` (from 0, without gaps), `previous` and `hash`.
  """

  def __init__(self, entries: list[dict[str, Any]] | None = None):
    self.entries = entries or []

  @property
  def head(self) -> str:
    """Hash of the last entry; it stands for the whole chain."""
    return self.entries[-1]["hash"] if self.entries else GENESIS

  def seal(self, *contents: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entries that `contents` would become after the last one; nothing is written."""
    sealed, seq, previous = [], len(self.entries), self.head
    for content in contents:
      if clash := set(content) & set(_OWN):
        raise ValueError(f"an entry cannot hold {sorted(clash)}: the log writes them itself")
      entry = {"seq": seq, "previous": previous, **content}
      entry = {**entry, "hash": digest(entry)}
      sealed.append(entry)
      seq, previous = seq + 1, entry["hash"]
    return sealed

  def append(self, content: Mapping[str, Any]) -> dict[str, Any]:
    """Adds one entry and returns it as it stands."""
    (entry,) = self.seal(content)
    return self.append_sealed(entry)

  def append_sealed(self, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Adds an entry that `seal` made.

    Raises:
      LedgerError: it does not follow the last one.
    """
    if entry["previous"] != self.head or entry["seq"] != len(self.entries):
      raise LedgerError(f"entry {entry['seq']} does not follow entry {len(self.entries) - 1}")
    self._write(canonical(entry) + b"\n")
    self.entries.append(dict(entry))
    return self.entries[-1]

  def _write(self, line: bytes) -> None:
    del line

  def close(self) -> None:
    """Nothing can be added afterwards; the entries stay."""

  def __enter__(self) -> Chain:
    return self

  def __exit__(self, *_: Any) -> None:
    self.close()


class Log(Chain):
  """A chain in a file: `append` returns once the line is on the disk.

  Args:
    path: the file; it and its directory are made.

  Raises:
    LedgerError: the file is damaged in more than an unfinished last line.
    OSError: from `append`, where the line could not be written (a full disk); the file is as it was.
  """

  def __init__(self, path: str | os.PathLike):
    super().__init__()
    self.path = pathlib.Path(path)
    self.path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not self.path.exists()
    self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
      if fresh:
        sync_directory(self.path.parent)
      self.entries, end, torn = _read(self.path)
      problems = chain_problems(self.entries)
      if problems:
        raise LedgerError(f"{self.path}: {problems[0]}; nothing was written")
      if torn:
        _log.warning("%s: dropping an unfinished last line of %d bytes, left by a crash", self.path, torn)
        os.ftruncate(self._file, end)
        os.fsync(self._file)
    except BaseException:
      self.close()
      raise

  def _write(self, line: bytes) -> None:
    size = os.fstat(self._file).st_size
    try:
      write_all(self._file, line)
      os.fsync(self._file)
    except OSError as error:
      os.ftruncate(self._file, size)  # frees space, so it works on a full disk
      raise OSError(error.errno, f"{self.path} could not be written ({reason(error)}); it is as it was") from error

  def close(self) -> None:
    if self._file is not None:
      os.close(self._file)
      self._file = None


def write_all(file: int, data: bytes) -> None:
  """Writes all bytes; `os.write` may stop half-way."""
  while data:
    data = data[os.write(file, data) :]


def sync_directory(path: pathlib.Path) -> None:
  """Makes the names in a directory durable."""
  file = os.open(path, os.O_RDONLY)
  try:
    os.fsync(file)
  finally:
    os.close(file)


def canonical(value: Any) -> bytes:
  """The one way in which a JSON value is written: sorted keys, no spaces.

  Example:
    >>> canonical({"b": 1, "a": [0.5, None]})
    b'{"a":[0.5,null],"b":1}'
  """
  return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(entry: Mapping[str, Any]) -> str:
  """SHA-256 of an entry without its own hash, as 64 hexadecimal digits."""
  return hashlib.sha256(canonical({k: v for k, v in entry.items() if k != "hash"})).hexdigest()


def read(path: str | os.PathLike) -> list[dict[str, Any]]:
  """The whole lines of a log, unchecked; an unfinished last line is left out."""
  return _read(pathlib.Path(path))[0]


def verify(path: str | os.PathLike, *, head: str | None = None) -> Report:
  """Checks every line of a log against its hash and the line before. It writes nothing and needs no lock.

  Args:
    path: the file.
    head: a hash that was published when it was the last one: lines that were cut off the end are found by it.

  Raises:
    FileNotFoundError: there is no such file.
  """
  path = pathlib.Path(path)
  if not path.exists():
    raise FileNotFoundError(f"{path} does not exist")
  entries, _, torn = _read(path)
  problems = chain_problems(entries)
  if head is not None and head not in (GENESIS, *(e.get("hash") for e in entries)):
    problems.append(
      f"the published hash {head[:12]}... is not in it: lines were removed from the end, or all rewritten"
    )
  notes = [f"an unfinished last line of {torn} bytes, left by a crash; the next writer drops it"] if torn else []
  times = [(n, e["finished"]) for n, e in enumerate(entries, 1) if isinstance(e.get("finished"), (int, float))]
  back = [n for (_, before), (n, now) in zip(times, times[1:]) if now < before]
  if back:
    notes.append(f"the clock went back at line {', '.join(map(str, back[:5]))}; the order is that of seq")
  last = entries[-1].get("hash", "") if entries else GENESIS
  return Report(len(entries), last, tuple(problems), tuple(notes))


def chain_problems(entries: list[dict[str, Any]]) -> list[str]:
  """What is wrong with the lines of a log, one sentence a line; at most one a line."""
  problems, previous = [], GENESIS
  for number, entry in enumerate(entries, 1):
    name = f" ({entry['request']!r})" if "request" in entry else ""
    if "hash" not in entry:
      problems.append(f"line {number} is not an entry of a ledger")
    elif digest(entry) != entry["hash"]:
      problems.append(f"line {number}{name} was changed: its content does not have its hash")
    elif entry["previous"] != previous or entry["seq"] != number - 1:
      problems.append(f"line {number}{name} does not follow line {number - 1}: a line was removed, inserted or moved")
    previous = entry.get("hash", "")
  return problems


def _read(path: pathlib.Path) -> tuple[list[dict[str, Any]], int, int]:
  """(entries, bytes of whole lines, bytes of an unfinished last line)."""
  data = path.read_bytes()
  end = data.rfind(b"\n") + 1
  entries = []
  for line in data[:end].split(b"\n")[:-1]:
    try:
      entry = json.loads(line)
    except ValueError:
      entry = None
    entries.append(entry if isinstance(entry, dict) else {})
  return entries, end, len(data) - end


def reason(error: OSError) -> str:
  """Why something could not be written, in words."""
  return "the disk is full" if error.errno == errno.ENOSPC else error.strerror or type(error).__name__
