from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_net import mlp, mlp_params, random_role

from unlearnjax import edits

PARAMS, X = mlp_params(), random_role()["inputs"]


def test_widening_leaves_the_old_logits_alone_and_dropping_undoes_it():
  wide = edits.widen_head(PARAMS, jax.random.key(0))
  logits = mlp(wide, X).logits
  assert logits.shape == (12, 5)
  np.testing.assert_array_equal(logits[:, :4], mlp(PARAMS, X).logits)
  assert jnp.abs(logits[:, 4]).max() > 0 and wide["fc"] is PARAMS["fc"]
  jax.tree.map(np.testing.assert_array_equal, edits.drop_head_row(wide), PARAMS)


def test_any_row_can_be_dropped():
  found = edits.drop_head_row(PARAMS, 1)
  np.testing.assert_array_equal(mlp(found, X).logits, mlp(PARAMS, X).logits[:, jnp.array([0, 2, 3])])
  with pytest.raises(ValueError, match=r"row must be in \[-4, 4\), got 4"):
    edits.drop_head_row(PARAMS, 4)
  with pytest.raises(ValueError, match="no sub-tree 'classifier'; found"):
    edits.widen_head(PARAMS, jax.random.key(0), head="classifier")


def test_a_path_mask_covers_or_complains():
  mask = edits.path_mask(PARAMS, r"^head/")
  assert all(m.all() for m in mask["head"].values()) and not any(m.any() for m in mask["fc"].values())
  with pytest.raises(ValueError, match="pattern 'tail' matches no parameter; found"):
    edits.path_mask(PARAMS, "tail")


def test_reinitialize_takes_fresh_weights_where_the_mask_is_true():
  fresh = mlp_params(9)
  found = edits.reinitialize(PARAMS, fresh, edits.path_mask(PARAMS, "^head"))
  jax.tree.map(np.testing.assert_array_equal, found, {"fc": PARAMS["fc"], "head": fresh["head"]})
  with pytest.raises(ValueError, match=r"fresh at 'head/bias' has shape \(5,\), params has \(4,\)"):
    edits.reinitialize(PARAMS, edits.widen_head(PARAMS, jax.random.key(0)), PARAMS)


def test_soft_threshold_returns_small_moves_and_shortens_large_ones():
  reference = jnp.array([1.0, 1.0, 1.0, -2.0])
  found = edits.soft_threshold(jnp.array([1.2, 2.0, 0.0, -2.0]), reference, 0.25)
  np.testing.assert_allclose(found, [1.0, 1.75, 0.25, -2.0], atol=1e-6)
  np.testing.assert_allclose(edits.soft_threshold(reference + 0.5, reference, 0.0), reference + 0.5)


def test_perturbation_is_relative_to_each_leaf():
  big = {"a": jnp.full(5000, 100.0), "b": jnp.full(5000, 0.01), "zero": jnp.zeros(3)}
  moved = edits.perturb(big, jax.random.key(0), 1e-2)
  np.testing.assert_allclose([(moved[k] - big[k]).std() / big[k][0] for k in "ab"], 1e-2, rtol=0.05)
  assert not moved["zero"].any()
