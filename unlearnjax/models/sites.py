"""Sites: the named activations of a forward pass, and how adapters read and rewrite them.

A site is the path of a submodule, `"blocks/1"`, for its output, or that path with `":in"`, `"head:in"`, for its first
input. Rewriting comes before reading, so a captured value is the one that the rest of the model sees.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from unlearnjax.core.types import Array

INPUT = ":in"
LISTED = 80


class Taps:
  """The requests of one forward pass: called as `taps(site, value)` wherever a site is reached.

  Args:
    capture: sites to read.
    inject: rewriting functions by site.
    known: the submodule paths there are; None when they are only known once the pass has run.

  Raises:
    TypeError: `capture` is one string, or `inject` is not a mapping of functions.
    ValueError: a site that does not exist; the message lists those that do.

  Example:
    >>> taps = Taps(("head:in",), {"head:in": lambda h: 2 * h}, known=("blocks/0", "head"))
    >>> taps("blocks/0", 1.0), taps("head:in", 3.0), taps.finish()
    (1.0, 6.0, {'head:in': 6.0})
  """

  def __init__(
    self, capture: tuple[str, ...], inject: Mapping[str, Callable[[Array], Array]] | None, known: Iterable[str] | None
  ):
    if isinstance(capture, str):
      raise TypeError(f"capture must be a tuple of sites, got the string {capture!r}; write ({capture!r},)")
    self.capture = frozenset(capture)
    self.inject = dict(inject or {})
    self.hidden: dict[str, Any] = {}
    self.reached: dict[str, None] = {}
    for site, f in self.inject.items():
      if not callable(f):
        raise TypeError(f"inject[{site!r}] must be a function of the activation, got {type(f).__name__}")
    if known is not None:
      known = tuple(known)
      for site in self.wanted:
        if site.removesuffix(INPUT) not in known:
          raise unknown_site(site, known)

  @property
  def wanted(self) -> frozenset[str]:
    """The sites that are read or rewritten."""
    return self.capture | self.inject.keys()

  def __call__(self, site: str, value: Any) -> Any:
    self.reached[site] = None
    if site in self.inject:
      value = self.inject[site](value)
    if site in self.capture:
      self.hidden[site] = value
    return value

  def around(self, path: str, call: Callable[..., Any], args: tuple, kwargs: dict) -> Any:
    """Calls the submodule at `path` with its first input and its output tapped."""
    if args:
      args = (self(path + INPUT, args[0]), *args[1:])
    elif kwargs:
      first = next(iter(kwargs))
      kwargs = {**kwargs, first: self(path + INPUT, kwargs[first])}
    return self(path, call(*args, **kwargs))

  def finish(self) -> dict[str, Any]:
    """The captured values; a site that was never reached is a ValueError."""
    for site in sorted(self.wanted):
      if site not in self.reached:
        raise unknown_site(site, self.reached, " was not reached in this forward pass")
    return self.hidden


def unknown_site(site: str, known: Iterable[str], what: str = " does not exist") -> ValueError:
  """The error for a site that is not there, with close names first."""
  known = sorted(known)
  close = difflib.get_close_matches(
    site, [k + INPUT for k in known] if site.endswith(INPUT) else known, n=3, cutoff=0.5
  )
  hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else "."
  shown = ", ".join(known[:LISTED]) + (f" and {len(known) - LISTED} more" if len(known) > LISTED else "")
  return ValueError(f"site {site!r}{what}{hint} Sites (with {INPUT!r} for the first input): {shown or 'none'}")
