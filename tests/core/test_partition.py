"""Logical axes to mesh axes."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from unlearnjax import sharding

MESH = jax.sharding.AbstractMesh((2, 4), ("data", "model"))


@pytest.mark.parametrize(
  ("axes", "shape", "expected"),
  [
    (("layer", "embed", "mlp"), (3, 8, 16), (None, "data", "model")),
    (("layer", "mlp", "embed"), (3, 16, 8), (None, "model", "data")),
    (("embed", "vocab"), (8, 50257), ("data",)),  # 4 does not divide it: whole
    (("embed", "embed"), (8, 8), ("data",)),  # a mesh axis is used once
    (("batch", None, "vocab"), (4, 7, 8), ("data", None, "model")),
    (("layer",), (3,), ()),
  ],
)
def test_axes_go_where_the_rules_say(axes, shape, expected):
  assert tuple(sharding.partition(axes, shape, MESH, sharding.FSDP)) == expected


def test_several_mesh_axes_and_those_that_do_not_exist():
  rules = {"embed": ("data", "model"), "mlp": "expert"}
  assert tuple(sharding.partition(("embed", "mlp"), (16, 16), MESH, rules)) == (("data", "model"),)
  assert tuple(sharding.partition(("embed", "mlp"), (4, 16), MESH, rules)) == ()


def test_every_dimension_needs_a_name():
  with pytest.raises(ValueError, match=r"axes \('embed',\) must name every dimension of shape \(8, 8\)"):
    sharding.partition(("embed",), (8, 8), MESH, sharding.FSDP)


def test_parameters_are_laid_out_by_their_names():
  on = sharding.mesh(data=1)
  placed = sharding.shard_params({"w": np.ones((4, 2))}, on, {"w": ("embed", "mlp")})
  assert placed["w"].sharding == jax.sharding.NamedSharding(on, jax.sharding.PartitionSpec("data"))
