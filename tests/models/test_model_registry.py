"""Models by name."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unlearnjax import models
from unlearnjax.models.registry import Architecture


def test_equal_arguments_share_one_function_and_one_program():
  traces = []

  @jax.jit
  def forward(model, x):
    traces.append(1)
    return model({"x": x}).logits

  x = jnp.zeros((2, 4))
  for widths in ((8,), [8], (np.int64(8),)):
    forward(models.make("mlp", input_shape=np.zeros(4).shape, num_outputs=3, widths=widths).init(jax.random.key(0)), x)
  assert len(traces) == 1
  assert models.make("mlp", input_shape=(4,), num_outputs=3) != models.make("mlp", input_shape=(4,), num_outputs=2)


def test_architectures_are_values():
  a = Architecture("mlp", (4,), 3, (("widths", (8,)),))
  assert a == Architecture("mlp", (4,), 3, (("widths", (8,)),)) and models.from_nnx(a) == models.from_nnx(a)


@pytest.mark.parametrize("name", models.names())
def test_every_name_can_be_made_with_its_defaults(name):
  shape = (8,) if name == "regression_mlp" else (32, 32, 3)
  fn = models.make(name, input_shape=shape, num_outputs=5)
  model = jax.eval_shape(fn.init, jax.random.key(0))
  out = jax.eval_shape(lambda m, x: m({"x": x}), model, jax.ShapeDtypeStruct((2, *shape), jnp.float32))
  assert out.logits.shape == (2, 5) and "head" in fn.sites


def test_names_stand_for_their_options():
  shape = {"input_shape": (8, 8, 3), "num_outputs": 2}
  group, batch = models.make("resnet8_gn", **shape), models.make("resnet8", **shape)
  assert batch == models.make("resnet8", **shape, norm="batch") != group
  assert dict(models.make("resnet18", **shape).make.options)["blocks_per_stage"] == (2, 2, 2, 2)


def test_defaults_by_shape():
  assert [models.default_for(s) for s in ((8, 8, 1), (64,), (28, 28, 1), (32, 32, 3))] == [
    "mlp",
    "mlp",
    "convnet",
    "convnet",
  ]
  assert models.default_for((8,), "regression") == "regression_mlp"
  with pytest.raises(ValueError, match="task must be one of classification, regression; got 'ranking'"):
    models.default_for((8,), "ranking")


def test_errors_name_what_there_is():
  with pytest.raises(ValueError, match="name must be one of mlp, convnet.*; got 'lenet'"):
    models.make("lenet", input_shape=(4,), num_outputs=2)
  with pytest.raises(ValueError, match="unknown option 'width' of 'mlp'; there are activation, dropout, widths"):
    models.make("mlp", input_shape=(4,), num_outputs=2, width=3)
  with pytest.raises(ValueError, match="input_shape must be the shape of one example"):
    models.make("mlp", input_shape=(), num_outputs=2)
  with pytest.raises(ValueError, match="num_outputs must be > 0, got 0"):
    models.make("mlp", input_shape=(4,), num_outputs=0)
  with pytest.raises(ValueError, match="too small to be halved"):
    models.make("convnet", input_shape=(4, 4, 1), num_outputs=2)


def test_the_package_is_light_to_import():
  code = "import sys, unlearnjax.models; print([m for m in sys.modules if m.startswith('unlearnjax.models.')])"
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert done.stdout.strip() == "[]"


def test_all_public_names_resolve():
  for name in models.__all__:
    assert getattr(models, name) is not None
  with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
    models.nothing  # noqa: B018
