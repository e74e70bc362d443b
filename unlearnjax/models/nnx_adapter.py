"""Flax NNX modules as pure functions of plain nested dicts."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
from flax import nnx
from flax.traverse_util import unflatten_dict

from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import EMPTY, Array, ArrayTree, Model, Outputs, Params, Refs
from unlearnjax.models import calling, sites

if TYPE_CHECKING:
  from unlearnjax.models.calling import Column

Path = tuple[Any, ...]


class Layout(NamedTuple):
  """What is known of a module before it has weights. Variables are listed by their name, `"blocks/0/conv/kernel"`."""

  graphs: Mapping[bool, Any]  # by train
  params: Mapping[str, Any]  # name -> abstract value
  state: Mapping[str, Any]
  paths: Mapping[str, Path]  # name -> path inside the module
  keys: frozenset[str]
  counts: frozenset[str]
  caches: frozenset[str]
  modules: Mapping[str, Path]


@dataclasses.dataclass(frozen=True)
class NnxFn:
  """A `ModelFn` over an NNX module; see `from_nnx`."""

  make: Callable[[nnx.Rngs], nnx.Module]
  example: tuple[Column, ...] | None = None

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
    layout = self._layout
    taps = sites.Taps(capture, inject, layout.modules)
    before = calling.named(state, "state", layout.state)
    leaves = {**calling.named(params, "params", layout.params), **before}
    if rng is not None:
      leaves |= _streams(layout, rng)
    module = nnx.merge(layout.graphs[bool(train)], unflatten_dict({layout.paths[n]: v for n, v in leaves.items()}))
    args, kwargs = calling.arguments(inputs, type(module).__call__)
    with _tapped(module, layout, taps):
      logits = module(*args, **kwargs, **calling.mode(type(module).__call__, train))
    # The streams of the model advance only where no rng replaces them; evaluation changes nothing but caches.
    changed = before.keys() - (layout.keys | layout.counts if rng is not None else ()) if train else layout.caches
    if changed:
      after = _values(module)
      state = calling.unnamed({n: calling.as_before(after[n], v) if n in changed else v for n, v in before.items()})
    return Outputs(logits, taps.finish(), state)

  def init(self, key: Array) -> Model:
    """A fresh model; `key` seeds the weights and the module's own random streams."""
    return self.wrap(self._build(nnx.Rngs(key)))

  def wrap(self, module: nnx.Module) -> Model:
    """The weights and state of a module of this architecture, as a `Model`.

    Raises:
      ValueError: variables of other names or shapes than those that `make` gives.
    """
    layout, values = self._layout, _values(module)
    expected = {**layout.params, **layout.state}
    calling.named(calling.unnamed(values), "the module", expected)
    for name, want in expected.items():
      if values[name].shape != want.shape:
        raise ValueError(f"the module's {name!r} has shape {values[name].shape}, this architecture has {want.shape}")
    pick = lambda names: calling.unnamed({n: values[n] for n in names})
    return Model(pick(layout.params) or {}, pick(layout.state), fn=self)

  @property
  def sites(self) -> tuple[str, ...]:
    """Paths of all submodules that can be captured or injected."""
    return tuple(self._layout.modules)

  def _build(self, rngs: nnx.Rngs) -> nnx.Module:
    module = self.make(rngs)
    if not isinstance(module, nnx.Module):
      raise TypeError(f"make(rngs) must return an nnx.Module, got {type(module).__name__}")
    return module

  @functools.cached_property
  def _layout(self) -> Layout:
    module = nnx.eval_shape(lambda: self._build(nnx.Rngs(0)))
    graphs = {}
    for train in (True, False):
      view = nnx.view(module, raise_if_not_found=False, deterministic=not train, use_running_average=not train)
      graphs[train] = nnx.graphdef(view)
    flat = {_name(path): (path, leaf) for path, leaf in nnx.to_flat_state(nnx.state(module))}
    of = lambda kind: frozenset(n for n, (_, leaf) in flat.items() if isinstance(leaf, kind))
    weights = of(nnx.Param)
    modules = {_name(path): path for path, m in nnx.iter_modules(module) if path and callable(m)}
    return Layout(
      graphs=graphs,
      params={n: _raw(leaf) for n, (_, leaf) in flat.items() if n in weights},
      state={n: _raw(leaf) for n, (_, leaf) in flat.items() if n not in weights},
      paths={n: path for n, (path, _) in flat.items()},
      keys=of(nnx.RngKey),
      counts=of(nnx.RngCount),
      caches=of(nnx.Cache),
      modules=modules,
    )


def from_nnx(make: Callable[[nnx.Rngs], nnx.Module], example_inputs: ArrayTree | None = None) -> NnxFn:
  """An NNX module as a pure `ModelFn`.

  Parameters and state are plain nested dicts with string keys, also for list indices: `blocks/0/conv/kernel` is
  `params["blocks"]["0"]["conv"]["kernel"]`. The state holds every variable that is not an `nnx.Param`: batch
  statistics, dropout keys and counts, caches. Without `train` nothing but caches changes. With `rng` all random streams
  of the module draw from it, each from its own fold, and those in the state stay as they are.

  The module is called as `module(inputs["x"])`, further inputs as keywords; `train`, `training`, `deterministic` and
  `use_running_average` are passed where its call declares them, and set on the layers that know them. Sites need
  nothing from the module. Those inside a submodule that scans or rematerialises itself cannot be reached.

  Args:
    make: builds the module from `nnx.Rngs`. Functions of the same `make` are equal and share compiled programs, so
      give a module-level function or an object with equality rather than a fresh lambda.
    example_inputs: an input, or a mapping of inputs, of which only shapes count; for `module_order`.

  Raises:
    TypeError: `make` is a module, not a function that makes one.
    ValueError: when called, parameters or state of another structure, or a site that does not exist.

  Example:
    >>> import jax.numpy as jnp
    >>> fn = from_nnx(lambda rngs: nnx.Linear(3, 2, rngs=rngs))
    >>> model = fn.init(jax.random.key(0))
    >>> sorted(model.params), model({"x": jnp.ones((5, 3))}).logits.shape
    (['bias', 'kernel'], (5, 2))
  """
  if isinstance(make, nnx.Module) or not callable(make):
    raise TypeError(
      f"make must be a function of nnx.Rngs that returns the module, got {type(make).__name__}; the weights of a "
      "trained module are taken by from_nnx(make).wrap(module)"
    )
  return NnxFn(make, None if example_inputs is None else calling.columns(example_inputs))


def _name(path: Path) -> str:
  return "/".join(map(str, path))


def _raw(leaf: Any) -> Any:
  return leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf


def _values(module: nnx.Module) -> dict[str, Any]:
  return {_name(path): _raw(leaf) for path, leaf in nnx.to_flat_state(nnx.state(module))}


def _streams(layout: Layout, rng: Array) -> dict[str, Array]:
  """Fresh keys and zero counts for all random streams; each stream folds its own name."""
  fresh = {}
  for name in layout.keys:
    key, shape = fold_name(rng, name), layout.state[name].shape
    fresh[name] = jax.random.split(key, shape) if shape else key
  for name in layout.counts:
    fresh[name] = jax.numpy.zeros(layout.state[name].shape, layout.state[name].dtype)
  return fresh


class _Tapped:
  """Stands in the place of a submodule: the same, but its calls pass the taps."""

  def __init__(self, module: nnx.Module, site: str, taps: sites.Taps):
    self._module, self._site, self._taps = module, site, taps

  def __call__(self, *args, **kwargs):
    return self._taps.around(self._site, self._module, args, kwargs)

  def __getattr__(self, name):
    return getattr(self._module, name)

  def __getitem__(self, index):
    return self._module[index]


@contextlib.contextmanager
def _tapped(module: nnx.Module, layout: Layout, taps: sites.Taps) -> Iterator[None]:
  """Replaces the wanted submodules for the duration of a call."""
  places = []
  for site in sorted({s.removesuffix(sites.INPUT) for s in taps.wanted}):
    *outer, last = layout.modules[site]
    holder = module
    for key in outer:
      holder = _entries(holder)[_key(holder, key)]
    places.append((_entries(holder), _key(holder, last), site))
  held = [entries[key] for entries, key, _ in places]
  try:
    for (entries, key, site), inner in zip(places, held):
      entries[key] = _Tapped(inner, site, taps)
    yield
  finally:
    for (entries, key, _), inner in zip(places, held):
      entries[key] = inner


def _entries(node: Any) -> Any:
  """Where a node keeps its children; by-passing setattr, which would refuse a stand-in."""
  return vars(node) if isinstance(node, nnx.Module) else node


def _key(node: Any, key: Any) -> Any:
  return str(key) if isinstance(node, nnx.Module) else key
