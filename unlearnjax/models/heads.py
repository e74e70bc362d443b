"""Which outputs of a full head compete: heads by task, and classes that have been seen."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from unlearnjax.core.types import EMPTY, Array, Model, ModelFn, Outputs

MASKED = -1e9
"""The logit of a class that does not compete: finite, so that differences of masked logits are 0 and not NaN."""


@dataclasses.dataclass(frozen=True)
class _MultiHead:
  fn: ModelFn
  heads: tuple[tuple[int, ...], ...]

  def __call__(self, params, inputs, **kwargs) -> Outputs:
    if "task" not in inputs:
      raise ValueError(f"a model with one head a task needs inputs['task'], got {sorted(inputs)}")
    out = self.fn(params, {k: v for k, v in inputs.items() if k != "task"}, **kwargs)
    table = np.zeros((len(self.heads), out.logits.shape[-1]), bool)  # part of the architecture: a few hundred bits
    for task, classes in enumerate(self.heads):
      table[task, list(classes)] = True
    mine = jnp.asarray(table)[jnp.clip(inputs["task"], 0, len(self.heads) - 1)]
    return out.replace(logits=jnp.where(mine, out.logits, MASKED))

  def init(self, key: Array) -> Model:
    return self.fn.init(key).replace(fn=self)

  @property
  def sites(self):
    return self.fn.sites


def multi_head(fn: ModelFn, heads: tuple[tuple[int, ...], ...]) -> ModelFn:
  """One head a task over a shared body: logits outside the head of `inputs["task"]` are `MASKED`.

  The full output layer is the same for all tasks, so a new task compiles nothing.

  Args:
    fn: the model, whose outputs all heads share.
    heads: the classes of each task.

  Raises:
    ValueError: no heads, or an empty one; when called, inputs without the task.

  Example:
    >>> from unlearnjax.models import from_fn
    >>> fn = multi_head(lambda params, inputs, **_: Outputs(inputs["x"]), ((0, 1), (2,)))
    >>> fn({}, {"x": jnp.ones((2, 3)), "task": jnp.array([0, 1])}).logits.argmax(-1).tolist()
    [0, 2]
  """
  heads = tuple(tuple(int(c) for c in head) for head in heads)
  if not heads or not all(heads):
    raise ValueError(f"heads must hold the classes of each task, got {heads}")
  return _MultiHead(fn, heads)


@dataclasses.dataclass(frozen=True)
class _Seen:
  fn: ModelFn
  ref: str

  def __call__(self, params, inputs, *, refs=EMPTY, **kwargs) -> Outputs:
    out = self.fn(params, inputs, refs=refs, **kwargs)
    if self.ref not in refs:
      raise ValueError(f"this model reads refs[{self.ref!r}], the classes that compete; found {sorted(refs)}")
    open_ = out.logits > MASKED / 2
    some = (refs[self.ref] & open_).any(-1, keepdims=True)
    return out.replace(logits=jnp.where(refs[self.ref] | ~some, out.logits, MASKED))

  def init(self, key: Array) -> Model:
    return self.fn.init(key).replace(fn=self)

  @property
  def sites(self):
    return self.fn.sites


def seen_classes(fn: ModelFn, ref: str = "seen") -> ModelFn:
  """Only the classes in `refs[ref]`, bool[C], compete; a row of which no class has been seen is left as it is.

  Args:
    fn: a classifier with an output for every class that will ever come.
    ref: name of the mask.

  Raises:
    ValueError: when called, refs without the mask.

  Example:
    >>> fn = seen_classes(lambda params, inputs, **_: Outputs(inputs["x"]))
    >>> refs = {"seen": jnp.array([True, True, False])}
    >>> fn({}, {"x": jnp.array([[1.0, 2.0, 3.0]])}, refs=refs).logits.argmax(-1).tolist()
    [1]
  """
  return _Seen(fn, ref)


@dataclasses.dataclass(frozen=True)
class _NearestMean:
  fn: ModelFn
  site: str

  def __call__(self, params, inputs, *, refs=EMPTY, capture=(), **kwargs) -> Outputs:
    missing = {"means", "seen"} - set(refs)
    if missing:
      raise ValueError(f"a nearest-mean model reads refs {sorted(missing)}; found {sorted(refs)}")
    out = self.fn(params, inputs, refs=refs, capture=tuple({*capture, self.site}), **kwargs)
    phi = out.hidden[self.site].astype(jnp.float32)
    phi = phi / jnp.maximum(jnp.linalg.norm(phi, axis=-1, keepdims=True), 1e-12)
    far = jnp.linalg.norm(phi[:, None] - refs["means"], axis=-1)
    hidden = {site: out.hidden[site] for site in capture}
    competes = refs["seen"] & (out.logits > MASKED / 2)
    return out.replace(logits=jnp.where(competes, -far, MASKED), hidden=hidden)

  def init(self, key: Array) -> Model:
    return self.fn.init(key).replace(fn=self)

  @property
  def sites(self):
    return self.fn.sites


def nearest_mean(fn: ModelFn, site: str = "head:in") -> ModelFn:
  """Answers by the nearest class mean: logits are the negative distances of the normalised features to `refs["means"]`.

  Args:
    fn: a model with the site; its own logits only say which classes its head lets compete.
    site: features f[B, d].

  `refs["means"]` is f[C, d], rows of unit length, and `refs["seen"]`, bool[C], the classes that compete.

  Example:
    >>> fn = lambda params, inputs, **_: Outputs(jnp.zeros((1, 2)), {"head:in": inputs["x"]})
    >>> refs = {"means": jnp.eye(2), "seen": jnp.array([True, True])}
    >>> nearest_mean(fn)({}, {"x": jnp.array([[0.1, 3.0]])}, refs=refs).logits.argmax(-1).tolist()
    [1]
  """
  return _NearestMean(fn, site)
