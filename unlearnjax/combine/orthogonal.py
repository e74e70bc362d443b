"""Projection off stored directions: OGD in the space of all weights, GPM in the input space of every layer."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.combine.rows import current_and_rows, role, weigh
from unlearnjax.core.precise import full_precision
from unlearnjax.core.types import ArrayTree, Combiner
from unlearnjax.kernels import gram


def ogd(
  *, orthonormal: bool = False, basis: str | None = None, current: str = "current", memory: str = "memory"
) -> Combiner:
  """Orthogonal gradient descent: the current gradient without its part in the span of stored gradients.

  g - B B^T g with B an orthonormal basis of the memory's rows. Farajtabar et al., AISTATS 2020, arXiv:1910.07104.
  Momentum and weight decay after the projection leave the subspace: use plain SGD.

  Args:
    orthonormal: the rows are orthonormal already (rows of zeros are allowed), so that their Gram matrix is not solved.
    basis: `refs[basis]` holds the rows where there is no role `memory`.
    current: role of the new gradient.
    memory: role of the stored gradients, leaves [T, ...]. Rows that `valid` excludes, and zeros, do not count.

  Raises:
    ValueError: at update, a missing role or ref, or a memory that is not rows of the current gradient.

  Example:
    >>> grads = {"current": {"w": jnp.array([3.0, 1.0])}, "memory": {"w": jnp.array([[2.0, 0.0]])}}
    >>> [round(x, 4) + 0.0 for x in ogd().update(grads, (), None)[0]["w"].tolist()]
    [0.0, 1.0]
  """

  def update(grads, state, params, *, values=None, view=None, valid=None):
    del params, values
    grads = _with_basis(grads, basis, memory, view, "ogd")
    now, rows = current_and_rows(grads, current, memory, valid, "ogd")
    products, dots = gram(rows, now)
    return weigh(rows, -dots if orthonormal else -_pseudo_solve(products, dots), now), state

  return Combiner(lambda params: (), update)


def gpm(*, basis: str | None = None, current: str = "current", memory: str = "memory") -> Combiner:
  """Gradient projection memory: each layer's gradient without its part along the inputs that old tasks use.

  dW - M M^T dW for a kernel [in, out] (or [..., in, out], its leading axes flattened), M an orthonormal basis of the
  layer's old inputs. A bias is a weight on the constant input 1: the basis [[1.0]] freezes it. Saha et al., ICLR 2021,
  arXiv:2103.09762.

  Args:
    basis: `refs[basis]` holds the bases where there is no role `memory`.
    current: role of the new gradient.
    memory: role of the bases: for every leaf f[..., in, out] of the gradient an f[r, in] of orthonormal rows, and an
      f[r, 1] for every vector or scalar; rows of zeros do nothing.

  Raises:
    ValueError: at update, a missing role or ref, or a basis of another size.

  Example:
    >>> grads = {"current": {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}}
    >>> bases = {"w": jnp.array([[1.0, 0.0]]), "b": jnp.ones((1, 1))}
    >>> found, _ = gpm().update({**grads, "memory": bases}, (), None)
    >>> found["w"].tolist(), found["b"].tolist()
    ([[0.0, 0.0], [1.0, 1.0]], [0.0, 0.0])
  """

  def update(grads, state, params, *, values=None, view=None, valid=None):
    del params, values, valid
    grads = _with_basis(grads, basis, memory, view, "gpm")
    now, bases = role(grads, current, "gpm"), role(grads, memory, "gpm")
    if jax.tree.structure(now) != jax.tree.structure(bases):
      raise ValueError(f"gpm: role {memory!r} must hold one basis a leaf of role {current!r}")
    return jax.tree_util.tree_map_with_path(_project, now, bases), state

  return Combiner(lambda params: (), update)


def _with_basis(grads, basis, memory, view, combiner) -> dict[str, ArrayTree]:
  if memory in grads or basis is None:
    return grads
  if view is None or basis not in view.refs:
    found = [] if view is None else sorted(view.refs)
    raise ValueError(f"{combiner} needs a role {memory!r} or refs[{basis!r}]; the refs are {found}")
  return {**grads, memory: view.refs[basis]}


@full_precision
def _pseudo_solve(products, dots):
  """Q^+ q for a positive semi-definite Q, with a unit diagonal for the sake of float32."""
  scale = jnp.sqrt(jnp.diag(products))
  present = scale > 0
  scale = jnp.where(present, scale, 1.0)
  values, vectors = jnp.linalg.eigh(products / jnp.outer(scale, scale))
  kept = values > 1e-6 * values.max()
  inverse = jnp.where(kept, 1 / jnp.where(kept, values, 1.0), 0.0)
  return jnp.where(present, (vectors @ (inverse * (vectors.T @ (dots / scale)))) / scale, 0.0)


@full_precision
def _project(path, gradient, basis):
  flat = gradient.reshape(-1, gradient.shape[-1]) if gradient.ndim > 1 else gradient.reshape(1, -1)
  if basis.ndim != 2 or basis.shape[1] != flat.shape[0]:
    where = jax.tree_util.keystr(path, simple=True, separator="/")
    raise ValueError(f"gpm: the basis of {where!r} must be [r, {flat.shape[0]}], got shape {basis.shape}")
  wide = flat.astype(jnp.promote_types(flat.dtype, jnp.float32))
  return (wide - basis.T @ (basis @ wide)).astype(gradient.dtype).reshape(gradient.shape)
