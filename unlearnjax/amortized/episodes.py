"""Simulated requests: what somebody might ask to forget, while the data are still there."""

from __future__ import annotations

import numpy as np

from unlearnjax.core import check
from unlearnjax.core.source import Examples


def episodes(
  identity: np.ndarray,
  validation: int,
  rng: np.random.Generator,
  *,
  people: int,
  epochs: int,
  forget_size: int,
  validation_size: int,
) -> Examples:
  """A table of simulated requests, as row numbers of the data.

  In every epoch the identities are shuffled and cut into requests of `people`; of each person one row is the support,
  and the others are what should be forgotten.

  Args:
    identity: int[n], who is on each row of the training data.
    validation: rows of the validation data.
    rng: draws everything.
    people: identities a request, >= 1.
    epochs: passes over all identities.
    forget_size: room for rows to forget; more are sampled down, fewer are padded by -1.
    validation_size: validation rows a request, drawn with replacement between requests.

  Returns:
    a table with the columns support int32[people], forget int32[forget_size] and validation int32[validation_size].

  Raises:
    ValueError: fewer identities than `people`, none with two rows, or numbers below one.

  Example:
    >>> table = episodes(
    ...   np.arange(12) // 3, 5, np.random.default_rng(0), people=2, epochs=1, forget_size=6, validation_size=4
    ... )
    >>> len(table), table.column("support").shape, sorted(table.column("forget")[0])[:2]
    (2, (2, 2), [np.int32(-1), np.int32(-1)])
  """
  for name, value in (("people", people), ("epochs", epochs), ("forget_size", forget_size)):
    check.positive(name, value)
  check.positive("validation_size", validation_size)
  check.positive("validation", validation)
  identity = np.asarray(identity)
  known, counts = np.unique(identity, return_counts=True)
  known = known[counts > 1]
  if len(known) < people:
    raise ValueError(f"a simulated request needs {people} people with at least two rows, the data have {len(known)}")
  order = np.argsort(identity, kind="stable")
  rows_of = dict(zip(np.unique(identity), np.split(order, np.cumsum(counts)[:-1])))
  support, forget, held = [], [], []
  for _ in range(epochs):
    shuffled = rng.permutation(known)
    for group in shuffled[: len(shuffled) // people * people].reshape(-1, people):
      mine = [rng.permutation(rows_of[person]) for person in group]
      support.append([rows[0] for rows in mine])
      rest = rng.permutation(np.concatenate([rows[1:] for rows in mine]))[:forget_size]
      forget.append(np.pad(rest, (0, forget_size - len(rest)), constant_values=-1))
      held.append(rng.choice(validation, validation_size, replace=validation_size > validation))
  columns = {"support": support, "forget": forget, "validation": held}
  return Examples({name: np.asarray(rows, np.int32) for name, rows in columns.items()})
