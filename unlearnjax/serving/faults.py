"""Named points at which a service may die; tests put a bomb here."""

from __future__ import annotations

from collections.abc import Callable

POINTS = (
  "before_accept",
  "accepted",
  "before_work",
  "after_work",
  "before_commit",
  "after_commit",
  "before_receipt",
  "after_receipt",
  "after_erase",
)
"""In the order in which one request passes them."""

hook: Callable[[str], None] | None = None


def reach(point: str) -> None:
  """Calls the hook, where there is one."""
  if hook is not None:
    hook(point)
