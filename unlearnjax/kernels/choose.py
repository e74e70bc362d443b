"""Which implementation runs."""

from __future__ import annotations

from unlearnjax.core import check

IMPLEMENTATIONS = ("auto", "xla", "pallas")


def check_implementation(implementation: str) -> None:
  check.one_of("implementation", implementation, IMPLEMENTATIONS)
