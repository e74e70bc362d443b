"""The neural tangent kernel: dense, in blocks, or as products; and the ridge solution in the span of the Jacobian."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import EMPTY, Array, ArrayTree, ModelFn, Params, Refs, View
from unlearnjax.curvature.products import jacobian_tvp, jacobian_vp
from unlearnjax.curvature.rows import join_rows, microbatches


def logit_jacobian(
  fn: ModelFn, params: Params, inputs: Mapping[str, Array], *, state: ArrayTree = (), refs: Refs = EMPTY
) -> ArrayTree:
  """Derivative of every logit of every example in every weight, in eval mode.

  Args:
    fn: the model.
    params: where the network is linearised.
    inputs: model inputs of n examples; all of them have a leading axis n.
    state: the model's non-parameter variables.
    refs: the model's refs.

  Returns:
    a tree like `params` with leaves f[n, C, ...]: n * C times the memory of the weights.

  Example:
    >>> from unlearnjax.core.types import Outputs
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"] @ params)
    >>> logit_jacobian(fn, jnp.zeros((2, 1)), {"x": jnp.array([[3.0, 4.0]])}).tolist()
    [[[[3.0], [4.0]]]]
  """

  def logits(params, row):
    one = jax.tree.map(lambda x: x[None], dict(row))
    return fn(params, one, state=state, refs=refs, train=False).logits[0]

  return jax.vmap(jax.jacrev(logits), in_axes=(None, 0))(params, dict(inputs))


def ntk_gram(left: ArrayTree, right: ArrayTree | None = None) -> Array:
  """The neural tangent kernel between the logits of examples: J J'^T, f[n, C, n', C].

  Args:
    left: from `logit_jacobian`, leaves f[n, C, ...].
    right: the same for other examples; `left` by default.

  Example:
    >>> ntk_gram(jnp.array([[[3.0, 4.0]]])).tolist()
    [[[[25.0]]]]
  """
  return _symmetric(left) if right is None else _contract(left, right, 2)


def ntk(
  fn: ModelFn,
  params: Params,
  left: Mapping[str, Array],
  right: Mapping[str, Array] | None = None,
  *,
  form: str = "full",
  by: str = "jacobian",
  rows: int = 16,
  state: ArrayTree = (),
  refs: Refs = EMPTY,
) -> Array:
  """The empirical neural tangent kernel between two sets of inputs, in blocks, in eval mode.

  Args:
    fn: the model.
    params: where the network is linearised.
    left: model inputs of n examples.
    right: model inputs of m examples; `left` by default.
    form: "full" or "trace", the mean over outputs of the kernel of an output with itself.
    by: "jacobian" holds the Jacobians of 2 x `rows` examples at a time, rows * C times the memory of the weights each;
      "products" holds none, a few vectors of weights, and pays a backward and a forward pass an output of `right`.
    rows: examples at a time; the result does not depend on it.
    state: the model's non-parameter variables.
    refs: the model's refs.

  Returns:
    f[n, C, m, C] ("full"), whose reshape to [n C, m C] is J J'^T, or f[n, m] ("trace").

  Raises:
    ValueError: an unknown form or way, or rows < 1.

  Example:
    >>> from unlearnjax.core.types import Outputs
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"] @ params)
    >>> x, z = {"x": jnp.array([[3.0, 4.0]])}, {"x": jnp.array([[1.0, 0.0], [1.0, 1.0]])}
    >>> ntk(fn, jnp.zeros((2, 5)), x, z, form="trace").tolist()
    [[3.0, 7.0]]
  """
  check.one_of("form", form, ("full", "trace"))
  check.one_of("by", by, ("jacobian", "products"))
  check.positive("rows", rows)
  left, right = _all_valid(left), _all_valid(left if right is None else right)
  if by == "products":
    kernel = _by_products(fn, params, left, right, rows, View(0, jax.random.key(0), refs, {}, state))
    return kernel if form == "full" else jnp.einsum("ncmc->nm", kernel) / kernel.shape[1]
  jacobian = lambda part: logit_jacobian(fn, params, part["inputs"], state=state, refs=refs)
  pieces = microbatches(right, rows)

  def of_block(block):
    j = jacobian(block)
    found = jax.lax.map(lambda piece: _contract(j, jacobian(piece), 2 if form == "full" else 1), pieces)
    found = jnp.moveaxis(found, 0, -2) if form == "trace" else jnp.moveaxis(found, 0, 3)  # [rows, .., rows, K, ..]
    return found

  blocks = jax.lax.map(of_block, microbatches(left, rows))
  kernel = join_rows(blocks, left)
  if form == "trace":
    kernel = kernel.swapaxes(1, 2).reshape(kernel.shape[0], -1)
    classes = jax.eval_shape(jacobian, jax.tree.map(lambda x: x[0], pieces))
    return kernel[:, : len(right["valid"])] / jax.tree.leaves(classes)[0].shape[1]
  n, c, r, k, _ = kernel.shape
  return kernel.reshape(n, c, r * k, c)[:, :, : len(right["valid"])]


def ntk_vp(
  fn: ModelFn,
  params: Params,
  left: Mapping[str, Array],
  vector: Array,
  right: Mapping[str, Array] | None = None,
  *,
  rows: int | None = None,
  state: ArrayTree = (),
  refs: Refs = EMPTY,
) -> Array:
  """J J'^T v: the neural tangent kernel times a vector, without the kernel and without a Jacobian.

  Args:
    fn: the model.
    params: where the network is linearised.
    left: model inputs of n examples.
    vector: f[m, C].
    right: model inputs of m examples; `left` by default.
    rows: examples at a time; all by default.
    state: the model's non-parameter variables.
    refs: the model's refs.

  Returns:
    f[n, C].

  Raises:
    ValueError: a vector of another shape than the outputs on `right`.

  Example:
    >>> from unlearnjax.core.types import Outputs
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"] @ params)
    >>> ntk_vp(fn, jnp.zeros((2, 1)), {"x": jnp.array([[3.0, 4.0]])}, jnp.array([[2.0]])).tolist()
    [[50.0]]
  """
  view = View(0, jax.random.key(0), refs, {}, state)
  left, right = _all_valid(left), _all_valid(left if right is None else right)
  along = jacobian_tvp(fn, params, right, vector, view, microbatch=rows)
  return jacobian_vp(fn, params, left, along, view, microbatch=rows)


def ridge_displacement(
  jacobian: ArrayTree,
  residual: Array,
  weight_decay: float,
  keep: Array | None = None,
  *,
  gram: Array | None = None,
) -> ArrayTree:
  """w = -G (G^T G + n weight_decay I)^-1 e: how far training moves the weights of the linearised network.

  The minimum of (1/n) sum_i |e_i + J_i w|^2 / 2 + weight_decay |w|^2 / 2 over the examples that are kept, where e is
  what the network is off by at the point of linearisation (Golatkar et al., arXiv:2003.02960).

  Args:
    jacobian: from `logit_jacobian`, leaves f[n, C, ...].
    residual: e, f[n, C]: outputs minus targets, or probabilities minus one-hot labels.
    weight_decay: > 0.
    keep: bool[n]; the examples that are trained on, all by default. n in the formula is their number.
    gram: `ntk_gram(jacobian)`, most of the work, where it is needed for several sets of examples.

  Returns:
    a tree like the parameters.

  Example:
    >>> round(float(ridge_displacement(jnp.array([[1.0]]), jnp.array([[-2.0]]), 1.0)), 4)
    1.0
  """
  check.positive("weight_decay", weight_decay)
  if jnp.ndim(residual) != 2:
    raise ValueError(f"residual must be [n, C], got shape {jnp.shape(residual)}")
  n, classes = residual.shape
  keep = jnp.ones(n, bool) if keep is None else jnp.asarray(keep, bool)
  gram = ntk_gram(jacobian) if gram is None else gram
  # rows that are left out become zero rows: they decouple, and the shapes do not depend on how many there are
  gram = jnp.where(keep[:, None, None, None] & keep[:, None], gram, 0).reshape(n * classes, n * classes)
  damped = gram + jnp.maximum(keep.sum(), 1) * weight_decay * jnp.eye(n * classes, dtype=gram.dtype)
  wanted = jnp.where(keep[:, None], residual, 0).ravel()
  solved = jnp.linalg.solve(damped, wanted).reshape(n, classes)
  return jax.tree.map(lambda j: -jnp.tensordot(solved, j, 2, precision="highest"), jacobian)


def _symmetric(jacobian: ArrayTree, blocks: int = 8) -> Array:
  """J J^T, f[n, C, n, C], of which the blocks above the diagonal are copies of those below."""
  n = jax.tree.leaves(jacobian)[0].shape[0]
  size = -(-n // blocks)
  rows = []
  for start in range(0, n, size):
    end = min(start + size, n)
    left, right = (jax.tree.map(lambda j, a=a, b=end: j[a:b], jacobian) for a in (start, 0))
    rows.append(jnp.pad(_contract(left, right, 2), ((0, 0), (0, 0), (0, n - end), (0, 0))))
  lower, block = jnp.concatenate(rows), jnp.arange(n) // size
  below = block[:, None, None, None] >= block[:, None]
  return jnp.where(below, lower, lower.transpose(2, 3, 0, 1))


def _contract(left: ArrayTree, right: ArrayTree, lead: int) -> Array:
  """Sum over all axes after the first `lead`, and over leaves; no leaf is reshaped."""

  def leaf(a, b):
    axes = tuple(range(lead, a.ndim))
    return jax.lax.dot_general(a, b, ((axes, axes), ((), ())), precision="highest")

  return sum(jax.tree.leaves(jax.tree.map(leaf, left, right)))


def _by_products(fn, params, left, right, rows, view) -> Array:
  run = lambda p: fn(p, right["inputs"], state=view.model_state, refs=view.refs, train=False).logits
  outputs = jax.eval_shape(run, params)
  m, classes = outputs.shape

  def column(i):
    one = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, i // classes, 1), right)
    unit = (jnp.arange(classes) == i % classes).astype(outputs.dtype)[None]
    along = jacobian_tvp(fn, params, one, unit, view)
    return jacobian_vp(fn, params, left, along, view, microbatch=rows)

  columns = jax.lax.map(column, jnp.arange(m * classes))  # [m C, n, C]
  return jnp.moveaxis(columns, 0, -1).reshape(*columns.shape[1:], m, classes)


def _all_valid(inputs: Mapping[str, Array]):
  size = jax.tree.leaves(dict(inputs))[0].shape[0]
  return {"inputs": dict(inputs), "valid": jnp.ones(size, bool)}
