"""Selective synaptic dampening."""

from __future__ import annotations

from unlearnjax import kernels
from unlearnjax.core import check
from unlearnjax.core.types import ArrayTree, Params


def ssd(
  params: Params,
  importance_all: ArrayTree,
  importance_forget: ArrayTree,
  *,
  alpha: float = 10.0,
  lam: float = 1.0,
) -> Params:
  """Shrinks the weights that matter much more to the forget set than to all data.

  Where I_F > alpha I_D: theta <- min(lam I_D / I_F, 1) theta. Foster et al., AAAI 2024, arXiv:2308.07707. Importances
  are those of `curvature.fisher_diag(kind="batch_mean")`, with one batch size for both.

  Args:
    params: weights.
    importance_all: I_D, tree like `params`, >= 0.
    importance_forget: I_F, tree like `params`, >= 0.
    alpha: > 0, how much more a weight must matter; inf changes nothing. 10 belongs to a ResNet-18, small networks need
      less.
    lam: > 0, strength: smaller dampens more.

  Returns:
    a tree like `params`, in its dtypes.

  Raises:
    ValueError: trees of different structure or shapes, alpha or lam <= 0.

  Example:
    >>> import jax.numpy as jnp
    >>> found = ssd(jnp.ones(3), jnp.array([1.0, 1.0, 2.0]), jnp.array([5.0, 20.0, 400.0]))
    >>> [round(x, 4) for x in found.tolist()]
    [1.0, 0.05, 0.005]
  """
  check.positive("alpha", alpha)
  check.positive("lam", lam)
  return kernels.dampen(params, importance_all, importance_forget, alpha=alpha, lam=lam)
