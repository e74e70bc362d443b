from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from toy_net import batches_of, linear, mlp, mlp_params, model_of, random_role, run

from unlearnjax import curvature, objectives

X = np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32)


def test_a_linear_model_has_twice_the_mean_of_the_product_and_reads_no_labels():
  kernel = jnp.asarray(np.random.default_rng(1).normal(size=(6, 3)), jnp.float32)
  f = X @ np.asarray(kernel)
  want = np.mean(2 * np.abs(X[:, :, None] * f[:, None, :]), axis=0)
  for size in (3, 10):
    found = run(
      curvature.output_sensitivity(linear, microbatch=4),
      model_of({"kernel": kernel}, linear),
      batches_of(X, np.arange(10), size),
    )
    np.testing.assert_allclose(found["kernel"], want, rtol=1e-5)


def test_true_label_fisher_is_its_term_of_the_expected_one():
  params, batch = mlp_params(), random_role(size=1)
  model = model_of(params)
  xent = objectives.cross_entropy(mlp, train=False)
  of = lambda part, statistic: run(statistic, model, [part])
  terms = [of({**batch, "y": jnp.array([c])}, curvature.fisher_diag(xent, kind="true_label")) for c in range(4)]
  expected = of(batch, curvature.fisher_diag(mlp, kind="expected"))
  jax.tree.map(lambda e, *t: np.testing.assert_allclose(sum(t), e, rtol=1e-4, atol=1e-7), expected, *terms)
