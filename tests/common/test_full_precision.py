"""Projections, duals and statistics do not let an accelerator round the factors of their products."""

import jax
import jax.numpy as jnp
import pytest
from jax.extend import core as jex

from unlearnjax import combine, curvature, updates
from unlearnjax.core import Model, Outputs

ROWS, NOW = {"w": jnp.eye(2, 6).reshape(2, 3, 2)}, {"w": jnp.ones((3, 2))}
MANY = {"w": jnp.ones((40, 3, 2))}  # more rows than are added one by one
PAIR = {"a": NOW, "b": {"w": -NOW["w"]}}
X = jnp.ones((4, 3))


def model_of(params, inputs, **_):
  return Outputs(inputs["x"] * 2, {"site": inputs["x"]})


def statistic(kind, **settings):
  found = kind(model_of, **settings)
  model = Model({"k": {"kernel": jnp.ones((3, 2))}}, fn=model_of)
  batch = {"inputs": {"x": X}, "y": jnp.zeros(4, jnp.int32), "valid": jnp.ones(4, bool)}
  return lambda: found.update(found.init(model), model, batch, jax.random.key(0))


def updated(combiner, grads):
  return lambda: combiner.update(grads, (), NOW)[0]


@pytest.mark.parametrize(
  "work",
  [
    updated(combine.gem(iterations=2), {"current": NOW, "memory": ROWS}),
    updated(combine.gem(iterations=2), {"current": NOW, "memory": MANY}),
    updated(combine.agem(), {"current": NOW, "memory": NOW}),
    updated(combine.ogd(), {"current": NOW, "memory": ROWS}),
    updated(combine.gpm(), {"current": NOW, "memory": {"w": jnp.eye(1, 3)}}),
    updated(combine.pcgrad(), PAIR),
    updated(combine.mgda(iterations=2), PAIR),
    updated(combine.cagrad(iterations=2), PAIR),
    lambda: updates.project_retain("b").update(NOW, (), NOW, refs={"b": {"w": jnp.ones((3, 1))}})[0],
    lambda: curvature.woodfisher(ROWS, NOW),
    lambda: curvature.newton_residual(X, jnp.ones(3), 0.25),
    statistic(curvature.class_prototypes, num_classes=2, site="site", width=3),
    statistic(curvature.class_moments, num_classes=2, site="site", width=3),
    statistic(curvature.input_covariance, sites={"k/kernel": "site"}),
  ],
)
def test_products_are_not_rounded(work):
  found = list(precisions(jax.make_jaxpr(work)().jaxpr))
  assert found and all(p is not None and set(p) == {jax.lax.Precision.HIGHEST} for p in found)


def precisions(jaxpr):
  """Of every product, however deep."""
  for eqn in jaxpr.eqns:
    if eqn.primitive.name == "dot_general":
      yield eqn.params["precision"]
    for value in eqn.params.values():
      for inner in value if isinstance(value, (tuple, list)) else (value,):
        inner = getattr(inner, "jaxpr", inner)
        if isinstance(inner, jex.Jaxpr):
          yield from precisions(inner)
