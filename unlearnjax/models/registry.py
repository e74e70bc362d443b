"""Models by name."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from unlearnjax.core import check

if TYPE_CHECKING:
  from flax import nnx

  from unlearnjax.models.nnx_adapter import NnxFn


class Entry(NamedTuple):
  """Where a module class is, and the options that the name stands for."""

  file: str
  module: str
  options: Mapping[str, Any] = {}


ENTRIES: dict[str, Entry] = {
  "mlp": Entry("vision", "MLP"),
  "convnet": Entry("vision", "ConvNet"),
  "resnet8": Entry("vision", "ResNet"),
  "resnet8_gn": Entry("vision", "ResNet", {"norm": "group"}),
  "resnet18": Entry("vision", "ResNet", {"blocks_per_stage": (2, 2, 2, 2), "width": 64}),
  "vit": Entry("vit", "ViT"),
  "regression_mlp": Entry("vision", "RegressionMLP"),
}


@dataclasses.dataclass(frozen=True)
class Architecture:
  """Builds a registered module: a value with equality, where a lambda would have none."""

  name: str
  input_shape: tuple[int, ...]
  num_outputs: int
  options: tuple[tuple[str, Any], ...]

  def __call__(self, rngs: nnx.Rngs) -> nnx.Module:
    return _module(self.name)(self.input_shape, self.num_outputs, **dict(self.options), rngs=rngs)


def make(name: str, *, input_shape: Sequence[int], num_outputs: int, **options: Any) -> NnxFn:
  """The model function of a registered architecture; `make(...).init(key)` gives it weights.

  Equal arguments, defaults included, give one and the same function, so that compiled programs are shared.

  Args:
    name: one of `names()`.
    input_shape: shape of one example, e.g. (28, 28, 1).
    num_outputs: classes, or regression targets.
    options: keyword arguments of the module, e.g. widths=(32, 64, 64).

  Raises:
    ValueError: an unknown name or option, or sizes that do not fit together.

  Example:
    >>> import jax
    >>> fn = make("mlp", input_shape=(4,), num_outputs=3, widths=[8])
    >>> fn.init(jax.random.key(0))({"x": jax.numpy.zeros((2, 4))}).logits.shape
    (2, 3)
    >>> fn is make("mlp", input_shape=(4,), num_outputs=3, widths=(8,), activation="relu")
    True
  """
  check.one_of("name", name, names())
  shape = tuple(int(n) for n in input_shape)
  if not shape or min(shape) < 1:
    raise ValueError(f"input_shape must be the shape of one example, got {shape}")
  check.positive("num_outputs", num_outputs)
  known = _options(name)
  for option in options:
    if option not in known:
      raise ValueError(f"unknown option {option!r} of {name!r}; there are {', '.join(sorted(known))}")
  full = {**known, **options}
  return _make(Architecture(name, shape, int(num_outputs), tuple((k, _frozen(full[k])) for k in sorted(full))))


def names() -> tuple[str, ...]:
  """The names that `make` knows.

  Example:
    >>> names()[:2]
    ('mlp', 'convnet')
  """
  return tuple(ENTRIES)


def default_for(input_shape: Sequence[int], task: Literal["classification", "regression"] = "classification") -> str:
  """The name of a sensible model for examples of that shape: tables and 8x8 digits need no convolution.

  Example:
    >>> default_for((28, 28, 1)), default_for((8, 8, 1)), default_for((8,), "regression")
    ('convnet', 'mlp', 'regression_mlp')
  """
  check.one_of("task", task, ("classification", "regression"))
  if task == "regression":
    return "regression_mlp"
  return "convnet" if len(input_shape) == 3 and min(input_shape[:2]) > 8 else "mlp"


@functools.lru_cache(maxsize=256)
def _make(architecture: Architecture) -> NnxFn:
  import jax

  from unlearnjax.models.nnx_adapter import from_nnx

  fn = from_nnx(architecture, jax.ShapeDtypeStruct((1, *architecture.input_shape), "float32"))
  _ = fn.sites  # builds the module abstractly: sizes that do not fit are reported here, not at the first call
  return fn


def _module(name: str) -> type:
  entry = ENTRIES[name]
  return getattr(importlib.import_module(f"unlearnjax.models.{entry.file}"), entry.module)


def _options(name: str) -> dict[str, Any]:
  """Options of the module with their defaults, those of the entry first."""
  parameters = inspect.signature(_module(name).__init__).parameters.values()
  own = {p.name: p.default for p in parameters if p.kind == p.KEYWORD_ONLY and p.name != "rngs"}
  return {**own, **ENTRIES[name].options}


def _frozen(value: Any) -> Any:
  return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value
