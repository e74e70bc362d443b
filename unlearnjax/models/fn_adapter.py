"""Hand-written functions as model functions."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from unlearnjax.core.types import EMPTY, Array, ArrayTree, Model, Outputs, Params, Refs
from unlearnjax.models import calling, sites

OFFERED = ("state", "refs", "rng", "train", "capture", "inject", "tap")
"""Keywords that the function may declare."""


@dataclasses.dataclass(frozen=True)
class PlainFn:
  """A `ModelFn` over a hand-written function; see `from_fn`."""

  apply: Callable[..., Any]
  initialize: Callable[[Array], Any]

  def __call__(
    self,
    params: Params,
    inputs: Mapping[str, Array],
    *,
    state: ArrayTree = (),
    refs: Refs = EMPTY,
    rng: Array | None = None,
    train: bool = False,
    capture: tuple[str, ...] = (),
    inject: Mapping[str, Callable[[Array], Array]] = EMPTY,
  ) -> Outputs:
    names, whole = _declared(self.apply)
    taps = sites.Taps(capture, inject, None)
    own_sites = {"capture", "inject"} <= names
    if taps.wanted and not own_sites and "tap" not in names:
      raise ValueError(
        f"the function {_title(self.apply)} has no sites, so {sorted(taps.wanted)} cannot be captured or injected; "
        "let it take a keyword `tap` and pass its activations through it: h = tap('head:in', h)"
      )
    offered = dict(state=state, refs=refs, rng=rng, train=train, capture=tuple(capture), inject=taps.inject, tap=taps)
    kwargs = {name: offered[name] for name in OFFERED if name in names}
    if whole:
      found = self.apply(params, inputs, **kwargs)
    else:
      args, more = calling.arguments(inputs, self.apply)
      found = self.apply(params, *args, **more, **kwargs)
    if isinstance(found, Outputs):
      found = found if "state" in names else found.replace(state=state)
    else:
      logits, state = found if "state" in names else (found, state)
      found = Outputs(logits, {}, state)
    if not own_sites:
      return found.replace(hidden={**found.hidden, **taps.finish()})
    for site in capture:
      if site not in found.hidden:
        raise sites.unknown_site(site, found.hidden, " was not put into Outputs.hidden by the function")
    return found

  def init(self, key: Array) -> Model:
    """A fresh model: what `init(key)` gives, which is `(params, state)` where the function takes a `state`."""
    made = self.initialize(key)
    params, state = made if "state" in _declared(self.apply)[0] else (made, ())
    return Model(params, state, fn=self)


def from_fn(apply: Callable[..., Any], init: Callable[[Array], Any]) -> PlainFn:
  """A hand-written function as a `ModelFn`.

  The simplest is `apply(params, x) -> logits`. Its second argument is `inputs["x"]`, or the whole mapping if it is
  named `inputs`. It may declare any of the keywords state, refs, rng, train, capture, inject and tap, and gets those
  that it declares. With `tap`, it names its activations by `h = tap("head:in", h)`, which is all that capture and
  inject need. With `state` it returns `(logits, new state)` and `init` gives `(params, state)`. It may return `Outputs`
  instead, and must where it serves `capture` and `inject` by itself.

  Args:
    apply: the forward pass. Functions of the same `apply` and `init` are equal and share compiled programs.
    init: `key -> params`.

  Raises:
    TypeError: not functions.
    ValueError: when called, a site that the function does not tap.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> def apply(params, x, *, tap):
    ...   return tap("head:in", jnp.tanh(x)) @ params["w"]
    >>> fn = from_fn(apply, lambda key: {"w": jax.random.normal(key, (3, 2))})
    >>> out = fn.init(jax.random.key(0))({"x": jnp.zeros((1, 3))}, capture=("head:in",))
    >>> out.logits.tolist(), out.hidden["head:in"].shape
    ([[0.0, 0.0]], (1, 3))
  """
  for name, f in (("apply", apply), ("init", init)):
    if not callable(f):
      raise TypeError(f"{name} must be a function, got {type(f).__name__}")
  if len(inspect.signature(apply).parameters) < 2:
    raise TypeError(f"apply must take (params, x) or (params, inputs), got {_title(apply)}{inspect.signature(apply)}")
  return PlainFn(apply, init)


def _declared(apply: Callable[..., Any]) -> tuple[set[str], bool]:
  """Which of the offered keywords `apply` takes, and whether it wants the whole mapping of inputs."""
  parameters = list(inspect.signature(apply).parameters)
  return set(OFFERED) & set(parameters), parameters[1] == "inputs"


def _title(f: Callable[..., Any]) -> str:
  return getattr(f, "__name__", type(f).__name__)
