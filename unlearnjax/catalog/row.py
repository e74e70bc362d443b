"""One row of the catalog, and whether what it names exists."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from unlearnjax.core import check

ROOMS = {
  "losses": "a number computed from outputs, one per example",
  "combine": "several gradients become one",
  "updates": "what happens to one update: optimizer, mask, noise, projection, schedule",
  "reparam": "what is trained",
  "memory": "what is remembered",
  "curvature": "a statistic of one pass over data: Fisher, saliency, prototypes, Hessian products",
  "edits": "one-shot change of weights",
  "guards": "changes inference, leaves the weights",
  "amortized": "learned optimizers, learned losses, unrolled solvers, samplers",
  "online": "experts, sequential predictors, memorization, asking for help",
  "models": "the architecture is the point",
  "data": "which data comes, in which order, with which labels",
  "metrics": "measures",
  "attacks": "measures by trying to get back what was forgotten",
}
"""The parts of the library, with what makes a piece belong there."""

GROUPS = (
  "classification",
  "language",
  "language_evaluation",
  "generative",
  "continual_core",
  "continual_replay",
  "continual_architecture",
  "amortized_online",
)

SOURCES = {
  "verified": "the formulas were read in the authors' code or in the paper's full text",
  "second-hand": "read in abstracts, reviews, notes or implementations of third parties",
  "as remembered": "written from memory of the paper and not checked",
  "reconstructed": "only the abstract is certain; the mathematics is a reading that honours it",
  "derived": "derived here and checked numerically",
}
"""How the mathematics of a row was checked, as a whole; details may be weaker."""

STATUSES = ("works", "planned")


class Row(NamedTuple):
  """A paper, or a baseline that papers compare with.

  Attributes:
    number: 1 to 149, None for a baseline.
    name: the short name.
    title: of the paper; its core where that is long.
    author: the first author, empty for folklore.
    year: of the first version, None for folklore.
    group: one of `GROUPS`.
    parts: the rooms of the library that the method is composed of, in the order of `ROOMS`.
    source: one of `SOURCES`.
    arxiv: the identifier, where it was checked.
    factories: what runs it: a name in `unlearnjax.methods`, or a dotted name below `unlearnjax`.
    experiment: the module that reproduces it.
  """

  number: int | None
  name: str
  title: str
  author: str
  year: int | None
  group: str
  parts: tuple[str, ...]
  source: str = "verified"
  arxiv: str | None = None
  factories: tuple[str, ...] = ()
  experiment: str | None = None


def rows_of(group: str) -> Callable[..., Row]:
  """A constructor of rows of one group; it takes `parts` and `factories` as words in one string.

  Raises:
    ValueError: on an unknown group, part or source.

  Example:
    >>> row = rows_of("classification")(95, "SalUn", "Saliency Unlearning", "Fan", 2024, "updates losses")
    >>> row.parts
    ('losses', 'updates')
  """
  check.one_of("group", group, GROUPS)

  def make(number, name, title, author, year, parts, *, source="verified", arxiv=None, factories="", experiment=None):
    check.one_of("source", source, SOURCES)
    for part in parts.split():
      check.one_of("part", part, ROOMS)
    ordered = tuple(room for room in ROOMS if room in parts.split())
    return Row(number, name, title, author, year, group, ordered, source, arxiv, tuple(factories.split()), experiment)

  return make


def resolve(name: str) -> Any | None:
  """The object behind a factory's name, or None where it does not exist yet.

  Raises:
    ImportError: the module is there and cannot be imported; that is a fault, not a plan.

  Example:
    >>> resolve("core.Method").__name__, resolve("no_such_method")
    ('Method', None)
  """
  path, _, attribute = f"unlearnjax.{name if '.' in name else 'methods.' + name}".rpartition(".")
  try:
    return getattr(importlib.import_module(path), attribute, None)
  except ModuleNotFoundError as error:
    if error.name is not None and (path == error.name or path.startswith(error.name + ".")):
      return None
    raise


def status(row: Row) -> str:
  """`"works"` iff the row names at least one factory and all of them can be imported, else `"planned"`.

  Example:
    >>> status(Row(None, "x", "X", "", None, "language", ("losses",), factories=("core.fit",)))
    'works'
    >>> status(Row(None, "x", "X", "", None, "language", ("losses",)))
    'planned'
  """
  return "works" if row.factories and all(callable(resolve(name)) for name in row.factories) else "planned"


def select(rows: Iterable[Row], *, group: str | None = None, having: str | None = None) -> tuple[Row, ...]:
  """The rows of one group, those with one status, or both.

  Raises:
    ValueError: on an unknown group or status.

  Example:
    >>> row = rows_of("language")(22, "NPO", "Negative Preference Optimization", "Zhang", 2024, "losses")
    >>> len(select([row], group="language")), len(select([row], having="works"))
    (1, 0)
  """
  if group is not None:
    check.one_of("group", group, GROUPS)
  if having is not None:
    check.one_of("status", having, STATUSES)
  return tuple(r for r in rows if group in (None, r.group) and (having is None or status(r) == having))
