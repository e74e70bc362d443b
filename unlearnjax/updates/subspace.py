"""Keeping updates off a subspace of the layers' inputs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from unlearnjax.core.precise import full_precision
from unlearnjax.core.tree import paths


def project_retain(name: str = "retain_basis") -> optax.GradientTransformationExtraArgs:
  """Removes from each kernel's update what acts on retained inputs: U - B B^T U; all other weights stay.

  A kernel [in, out] whose update has no component along the inputs of the retain set cannot change what the layer does
  to them. Convolution kernels [..., in, out] count as [window * in, out]. Projected-gradient unlearning,
  arXiv:2312.04095. Last in the chain, so that no optimizer brings the component back.

  Args:
    name: `refs[name] = {kernel path: f[in, r] with orthonormal columns}`, see `curvature.subspace_basis`; paths read
      `blocks/0/conv/kernel`.

  Raises:
    ValueError: at update, for a missing ref, a path that is no parameter, or a basis of the wrong size.

  Example:
    >>> tx = project_retain()
    >>> refs = {"retain_basis": {"kernel": jnp.array([[1.0], [0.0]])}}
    >>> updates, _ = tx.update({"bias": jnp.ones(2), "kernel": jnp.ones((2, 2))}, tx.init({}), refs=refs)
    >>> updates["kernel"].tolist(), jnp.abs(updates["bias"]).tolist()
    ([[0.0, 0.0], [1.0, 1.0]], [0.0, 0.0])
  """

  def update(updates, state, params=None, *, refs=None, **extra):
    del params, extra
    if name not in (refs or {}):
      raise ValueError(f"project_retain needs refs[{name!r}]; found {sorted(refs or {})}")
    bases = refs[name]
    known = paths(updates)
    missing = sorted(set(bases) - set(known))
    if missing:
      raise ValueError(f"refs[{name!r}] has bases for {missing}, which are no parameters; found {known}")
    leaves, structure = jax.tree.flatten(updates)
    projected = [_project(p, u, bases[p]) if p in bases else jnp.full_like(u, -0.0) for p, u in zip(known, leaves)]
    return jax.tree.unflatten(structure, projected), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


@full_precision
def _project(path, update, basis):
  flat = update.reshape(-1, update.shape[-1])
  if jnp.ndim(basis) != 2 or basis.shape[0] != flat.shape[0]:
    raise ValueError(f"the basis of {path!r} must be f[{flat.shape[0]}, r], got shape {jnp.shape(basis)}")
  wide = flat.astype(jnp.promote_types(flat.dtype, jnp.float32))
  return (wide - basis @ (basis.T @ wide)).astype(update.dtype).reshape(update.shape)
