"""Forgetting as the neural tangent kernel predicts it: how far two tasks pull at the same weights.

Doan et al., arXiv:2010.04003. The network is f_0(x) + Phi(x) (theta - theta_0), Phi the Jacobian of the outputs. Task k
is learned by ridge regression from where the one before it ended, and moves the weights by Phi_k^T (Phi_k Phi_k^T +
ridge I)^-1 y_k, y_k what the model was off by on it. All that is needed of the Jacobians is their kernels, of the size
of the data and not of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import EMPTY, Array, ArrayTree, ModelFn, Params, Refs, View
from unlearnjax.curvature.products import jacobian_vp
from unlearnjax.curvature.tangent import _all_valid, ntk


class Overlap(NamedTuple):
  """How a later task acts on an earlier one, the source. N and M count outputs of all examples, n C and m C.

  Attributes:
    matrix: f[N, M], O = V_s^T (I - B^T B) V_k between the right singular vectors of the tasks' Jacobians, strongest
      first; rows and columns of singular values that are 0 up to rounding are 0.
    cosines: f[min(N, M)] in [0, 1], its singular values: cosines of the principal angles between the tasks' tangent
      spaces where there is no basis B. The first is 1 for a shared direction, 0 for tasks that do not meet.
    angles: f[min(N, M)] radians in [0, pi / 2], smallest first.
    singular_source: f[N], sigma of the source's Jacobian, largest first.
    singular_target: f[M], of the later task's.
    change: f[n, C], predicted change of the outputs on the source; zeros without a residual.
    forgetting: f[] >= 0, |change|^2. Lower is better.
    bound: f[] >= forgetting up to rounding, sigma_1^2 |O M y|^2, y the residual and M how ridge regression answers it.
    step: f[N], O M y, so that steps of several tasks can be summed; see `total_forgetting`.
  """

  matrix: Array
  cosines: Array
  angles: Array
  singular_source: Array
  singular_target: Array
  change: Array
  forgetting: Array
  bound: Array
  step: Array


def ntk_overlap(
  fn: ModelFn,
  params: Params,
  source: Mapping[str, Array],
  target: Mapping[str, Array],
  residual: Array | None = None,
  *,
  ridge: float = 1e-3,
  basis: ArrayTree | None = None,
  by: str = "jacobian",
  rows: int = 16,
  state: ArrayTree = (),
  refs: Refs = EMPTY,
) -> Overlap:
  """The overlap of two tasks' tangent spaces, and how much learning the second forgets of the first.

  Exact for a model that is linear in its weights (`linearize`); for a network it is a prediction, the better the less
  its kernel moves.

  Args:
    fn: the model.
    params: where the network is linearised, the weights at the start of all tasks.
    source: model inputs of the n examples of the earlier task.
    target: model inputs of the m examples of the later one.
    residual: f[m, C], targets minus the outputs on the later task before it is learned; None leaves forgetting at 0.
    ridge: > 0, lambda in |Phi_k d - y_k|^2 + lambda |d|^2, d the step of the weights.
    basis: B, leaves f[r, ...] with orthonormal or zero rows: gradients are projected off it, as orthogonal gradient
      descent does with the gradients it stored (`orthonormalize`).
    by: "jacobian", or "products" where the Jacobian of `rows` examples does not fit in memory; see `ntk`.
    rows: examples at a time.
    state: the model's non-parameter variables.
    refs: the model's refs.

  Returns:
    Overlap. Singular values come from kernels, so those below the square root of the precision (1e-3 of the largest in
    float32) count as 0 in `matrix`; `change` and `forgetting` do not go through them.

  Raises:
    ValueError: ridge <= 0, or a residual of another shape than the outputs.

  Example:
    >>> from unlearnjax.core.types import Outputs
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"] @ params)
    >>> x, z = {"x": jnp.array([[1.0, 0.0]])}, {"x": jnp.array([[0.0, 2.0]])}
    >>> found = [ntk_overlap(fn, jnp.zeros((2, 1)), x, task, jnp.ones((1, 1))) for task in (x, z)]
    >>> [round(float(o.cosines[0]), 4) for o in found], [round(float(o.forgetting), 2) for o in found]
    ([1.0, 0.0], [1.0, 0.0])
  """
  check.positive("ridge", ridge)
  kernel = lambda a, b: ntk(fn, params, a, b, by=by, rows=rows, state=state, refs=refs)
  cross, inner = kernel(source, target), kernel(target, target)
  n, c, m, _ = cross.shape
  flat = lambda k: k.reshape(k.shape[0] * c, k.shape[2] * c)
  own, cross, inner = flat(kernel(source, source)), flat(cross), flat(inner)
  if residual is not None and jnp.shape(residual) != (m, c):
    raise ValueError(f"residual must have the shape of the outputs on target {(m, c)}, got {jnp.shape(residual)}")
  (s_source, u_source), (s_target, u_target) = _left(own), _left(inner)
  if basis is not None:
    view = View(0, jax.random.key(0), refs, {}, state)
    off = lambda x: jax.lax.map(lambda b: jacobian_vp(fn, params, _all_valid(x), b, view, microbatch=rows), basis)
    b_source, b_target = (off(x).reshape(-1, size * c) for x, size in ((source, n), (target, m)))
    cross, inner = cross - _mm(b_source.T, b_target), inner - _mm(b_target.T, b_target)
  y = jnp.zeros(m * c, cross.dtype) if residual is None else jnp.asarray(residual, cross.dtype).ravel()
  answer = jax.scipy.linalg.solve(inner + ridge * jnp.eye(m * c, dtype=inner.dtype), y, assume_a="pos")
  change = _mm(cross, answer)
  matrix = _safe(s_source)[:, None] * _mm(_mm(u_source.T, cross), u_target) * _safe(s_target)
  step = _safe(s_source) * _mm(u_source.T, change)
  cosines = jnp.clip(jnp.linalg.svd(matrix, compute_uv=False), 0, 1)
  forgetting = jnp.sum(change**2)
  bound = s_source[0] ** 2 * jnp.sum(step**2)
  shape = (n, c)
  return Overlap(
    matrix, cosines, jnp.arccos(cosines), s_source, s_target, change.reshape(shape), forgetting, bound, step
  )


def total_forgetting(overlaps: Sequence[Overlap]) -> tuple[Array, Array]:
  """(forgetting, bound) of one source after several later tasks: the steps add up before they are squared.

  Args:
    overlaps: of one source with each later task, all linearised at the same weights; residuals are those of the model
      at the start of each task.

  Returns:
    f[] and f[], forgetting <= bound up to rounding.

  Example:
    >>> from unlearnjax.core.types import Outputs
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"] @ params)
    >>> x = {"x": jnp.array([[1.0]])}
    >>> there, back = (ntk_overlap(fn, jnp.zeros((1, 1)), x, x, jnp.array([[y]])) for y in (1.0, -1.0))
    >>> round(float(total_forgetting([there, back])[0]), 4)
    0.0
  """
  if not overlaps:
    raise ValueError("overlaps is empty: give one of each later task")
  shapes = {o.change.shape for o in overlaps}
  if len(shapes) > 1:
    raise ValueError(f"overlaps must share one source, got changes of shapes {sorted(shapes)}")
  forgetting = jnp.sum(sum(o.change for o in overlaps) ** 2)
  bound = overlaps[0].singular_source[0] ** 2 * jnp.sum(sum(o.step for o in overlaps) ** 2)
  return forgetting, bound


def _left(kernel: Array) -> tuple[Array, Array]:
  """(singular values of the Jacobian, its left singular vectors) from its kernel, largest first."""
  values, vectors = jnp.linalg.eigh((kernel + kernel.T) / 2)
  return jnp.sqrt(jnp.maximum(values[::-1], 0)), vectors[:, ::-1]


def _safe(s: Array) -> Array:
  """1 / s, and 0 where s is 0 up to the rounding of a kernel."""
  keep = s > 4 * jnp.sqrt(jnp.finfo(s.dtype).eps) * s[0]
  return jnp.where(keep, 1 / jnp.where(keep, s, 1), 0)


def _mm(a: Array, b: Array) -> Array:
  return jnp.matmul(a, b, precision="highest")
