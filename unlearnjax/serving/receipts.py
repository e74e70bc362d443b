"""Making receipts, and the requests that methods are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unlearnjax.core import ForgetRequest, Guarantee
from unlearnjax.serving.archive import DONE
from unlearnjax.serving.holdings import Holdings
from unlearnjax.serving.requests import ids_digest


def forget_request(holdings: Holdings, ids: np.ndarray, why: str, extra: Mapping[str, Any]) -> ForgetRequest:
  """The request that a method is given: `ids` of what is live, the rest to retain, the classes that vanish whole."""
  gone, kept = holdings.select(ids), holdings.known(without=ids)
  classes = ()
  if "y" in gone.columns and np.issubdtype(gone.columns["y"].dtype, np.integer) and gone.columns["y"].ndim == 1:
    left = np.unique(kept.column("y")) if kept is not None else []
    classes = tuple(int(c) for c in np.setdiff1d(gone.column("y"), left))
  return ForgetRequest(gone, kept, gone.ids, why, extra, classes)


def receipt_of(
  intent: Mapping[str, Any],
  part: Sequence[Any],
  shared: Mapping[str, Any],
  promise: Guarantee,
  error: Exception | None,
) -> dict[str, Any]:
  """The content of a receipt.

  Args:
    intent: the request as it was accepted.
    part: its ids: affected, already forgotten, never learned.
    shared: what all requests of the batch have in common.
    promise: of the method.
    error: why the batch failed, None where it did not.
  """
  live, gone, never = (len(ids) for ids in part)
  idle = "already forgotten" if gone else "never learned"
  outcome = DONE if live else idle if bool(gone) != bool(never) else "nothing to do"
  detail = f"{live} {'learned' if intent['kind'] == 'learn' else 'forgotten'}"
  detail += f", {gone} already forgotten" * bool(gone) + f", {never} never learned" * bool(never)
  if error is not None and live:
    outcome, detail = "failed", " ".join(str(error).split())
  promised = promise._asdict() if outcome == DONE and intent["kind"] == "forget" else None
  return {
    "request": intent["request"],
    "kind": intent["kind"],
    "reason": intent["about"],
    "outcome": outcome,
    "detail": detail,
    "asked": intent["asked"],
    "affected": live if outcome == DONE else 0,
    "already_forgotten": gone,
    "never_learned": never,
    "ids_hash": ids_digest(part[0]),
    "guarantee": promised,
    "accepted": intent["accepted"],
    **shared,
  }


def environment() -> dict[str, Any]:
  """Versions of the libraries and the revision of the code."""
  return {"versions": dict(_versions()[0]), "commit": _versions()[1]}


def _versions() -> tuple[Mapping[str, Any], str | None]:
  """Looked up once: it asks git."""
  if not _FOUND:
    from unlearnjax.info import versions
    from unlearnjax.report import git_commit

    _FOUND.append((versions(), git_commit()))
  return _FOUND[0]


_FOUND: list[tuple[Mapping[str, Any], str | None]] = []
