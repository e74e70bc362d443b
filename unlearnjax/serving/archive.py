"""What a service keeps on disk: requests, receipts, and the state that goes with them."""

from __future__ import annotations

import errno
import logging
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from unlearnjax.checkpoint import Store
from unlearnjax.core import Run
from unlearnjax.ledger import INTENTS, LEDGER, Chain, LedgerError, Log, canonical, reason
from unlearnjax.lock import Lock
from unlearnjax.serving.faults import reach

_log = logging.getLogger("unlearnjax")
DONE = "done"


class Archive:
  """Requests are written before work starts; a state is committed together with the receipts that it earned.

  The state's checkpoint holds the sealed receipts, and Orbax commits it by a rename: what a crash between the rename
  and the ledger leaves out is appended at the next start. Only the newest state is kept, and the checkpoints of work
  that is committed are erased: what was forgotten must not survive in them.

  Args:
    run: with an output directory, or None in it for a service that keeps nothing.
    header: what the directory belongs to; a JSON value.

  Raises:
    Busy: another service writes there.
    LedgerError: the directory belongs to something else, or was tampered with.
  """

  def __init__(self, run: Run, header: Mapping[str, Any]):
    self._run, self._lock, self._store = run, None, None
    if run.out is None:
      self.intents, self.ledger = Chain(), Chain()
      self.intents.append({"service": dict(header)})
      return
    where = pathlib.Path(run.out)
    self._lock = Lock(where)
    try:
      self.intents = Log(where / INTENTS)
      self.ledger = Log(where / LEDGER)
      if not self.intents.entries:
        if self.ledger.entries:
          raise LedgerError(f"{where / LEDGER} has receipts, but {INTENTS} is missing or empty")
        self.intents.append({"service": dict(header)})
      found = self.intents.entries[0].get("service")
      if canonical(found) != canonical(header):
        differ = [k for k in sorted({*(found or {}), *header}) if (found or {}).get(k) != header.get(k)]
        lines = ", ".join(f"{k}: {(found or {}).get(k)} there, {header.get(k)} now" for k in differ)
        raise LedgerError(f"{where} belongs to another service ({lines}): choose another output directory")
      self._store = Store(run.apart("serve").directory("state"), keep=1)
    except BaseException:
      self.close()
      raise

  def accept(self, intent: Mapping[str, Any]) -> dict[str, Any]:
    """Writes a request down; from here on it will be answered."""
    return self.intents.append(intent)

  def restore(self, like: Any) -> Any | None:
    """The committed state, with the ledger brought up to it; None where nothing was committed.

    Raises:
      LedgerError: ledger and state contradict one another.
    """
    if self._store is None:
      return None
    entries = self.ledger.entries
    found = self._store.restore(like, self._fingerprint)
    if found is None:
      if any(e["outcome"] == DONE for e in entries):
        raise LedgerError(
          f"{self._run.out}: the ledger has receipts of work that was done, but no readable state goes with them: put "
          "the state back from a copy, or choose another output directory"
        )
      return None
    tree, meta = found
    first, last = meta["receipts"][0]["seq"], meta["receipts"][-1]["seq"]
    if len(entries) < first:
      raise LedgerError(f"{self._run.out}: the ledger ends after {len(entries)} of at least {first} receipts")
    for receipt in meta["receipts"]:
      if receipt["seq"] >= len(entries):
        _log.warning("appending the receipt of %s, which a crash kept back", receipt["request"])
        self.ledger.append_sealed(receipt)
      elif entries[receipt["seq"]]["hash"] != receipt["hash"]:
        raise LedgerError(f"{self._run.out}: receipt {receipt['seq']} is not the one that the state was committed with")
    if ahead := [e for e in entries[last + 1 :] if e["outcome"] == DONE]:
      raise LedgerError(
        f"{self._run.out}: the state is that of receipt {last}, but the ledger has done more up to receipt "
        f"{ahead[-1]['seq']}: the newest state was lost"
      )
    return tree

  def commit(self, tree: Any, receipts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Keeps a state and the receipts that it earned: both, or neither."""
    sealed = self.ledger.seal(*receipts)
    reach("before_commit")
    if self._store is not None:
      try:
        self._store.save(sealed[-1]["seq"], tree, {"fingerprint": self._fingerprint, "receipts": sealed})
      except Exception as error:  # tensorstore reports a full disk by errors of its own
        if not isinstance(error, OSError) and "No space left" not in str(error):
          raise
        number = getattr(error, "errno", None) or errno.ENOSPC
        names = ", ".join(e["request"] for e in sealed)
        raise OSError(
          number,
          f"the state could not be saved in {self._run.out} ({reason(OSError(number, str(error)))}); nothing was "
          f"applied, and {names} will be done when the service is started again",
        ) from error
    reach("after_commit")
    return self.note(sealed)

  def note(self, sealed: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Appends receipts whose state stands."""
    found = []
    for entry in sealed:
      reach("before_receipt")
      found.append(self.ledger.append_sealed(entry))
      reach("after_receipt")
    return found

  def work(self, first: int, last: int) -> Run:
    """Where the work on the requests `first` to `last` keeps its own checkpoints."""
    return self._run.apart("serve", f"{first:08d}-{last:08d}")

  def erase(self, before: int) -> None:
    """Removes the checkpoints of work on requests that are all answered: those up to number `before`."""
    if self._run.out is None:
      return
    root = self._run.apart("serve").directory("")
    for path in root.iterdir() if root.exists() else ():
      first, _, last = path.name.partition("-")
      if first.isdigit() and last.isdigit() and int(last) < before:
        shutil.rmtree(path, ignore_errors=True)

  @property
  def _fingerprint(self) -> dict[str, Any]:
    return {"service": self.intents.entries[0]["hash"]}

  def close(self) -> None:
    """Lets the next writer in."""
    for part in (getattr(self, "intents", None), getattr(self, "ledger", None), self._store, self._lock):
      if part is not None:
        part.close()
