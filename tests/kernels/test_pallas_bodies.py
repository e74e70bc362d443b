"""Pallas bodies, interpreted on a CPU, against the references; and their lowering for TPU and GPU without either."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearnjax import kernels
from unlearnjax.kernels import stream
from unlearnjax.kernels.count import count_reaching

KERNELS = {
  "count": lambda t, how: count_reaching(t["a"], t["at"], t["a"].dtype, False, how),
  "count_magnitude": lambda t, how: count_reaching(t["a"], t["at"], t["a"].dtype, True, how),
  "layer_moments": lambda t, how: kernels.layer_moments(t["a"], t["b"], t["c"], implementation=how),
  "dampen": lambda t, how: kernels.dampen(t["a"], t["b"] ** 2, t["c"] ** 2, alpha=1.5, lam=0.5, implementation=how),
  "accumulate_square": lambda t, how: kernels.accumulate_square(t["wide"], t["b"], 0.25, implementation=how),
  "masked_update": lambda t, how: kernels.masked_update(t["a"], t["b"], t["mask"], implementation=how),
  "gram": lambda t, how: kernels.gram(t["memory"], t["a"], implementation=how),
  "rank_update": lambda t, how: kernels.rank_update(t["a"], t["memory"], t["v"], implementation=how),
}


def tensors(shape, dtype, tasks=3, seed=0):
  rng = np.random.default_rng(seed)
  draw = lambda *lead: jnp.asarray(rng.normal(size=(*lead, *shape)), dtype)
  at = jnp.asarray(rng.integers(-(2**31), 2**31, 8), jnp.int32)
  mask = jnp.asarray(rng.random(shape) < 0.5)
  v = jnp.asarray(rng.normal(size=tasks), jnp.float32)
  wide = draw().astype(jnp.float32)
  return {"a": draw(), "b": draw(), "c": draw(), "wide": wide, "mask": mask, "memory": draw(tasks), "v": v, "at": at}


def close(found, wanted):
  def leaf(f, w):
    assert (f.shape, f.dtype) == (w.shape, w.dtype)
    tolerance = 1e-2 if f.dtype == jnp.bfloat16 else 1e-5
    np.testing.assert_allclose(np.asarray(f, np.float64), np.asarray(w, np.float64), rtol=tolerance, atol=1e-4)

  jax.tree.map(leaf, found, wanted)


shapes = st.one_of(
  st.sampled_from([(), (0, 3), (1,), (4, 1100), (70, 3)]),
  st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
)


@pytest.mark.parametrize("target", ["tpu", "gpu"])
@pytest.mark.parametrize("name", KERNELS)
def test_equals_the_reference_over_a_grid_of_blocks(name, target, monkeypatch):
  for setting, value in (("ON_CPU", target), ("TPU_BLOCK", 1 << 10), ("GPU_PROGRAMS", 2)):
    monkeypatch.setattr(stream, setting, value)
  t = tensors((75, 43), jnp.float32 if target == "tpu" else jnp.bfloat16)
  close(KERNELS[name](t, "pallas"), KERNELS[name](t, "xla"))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["tpu", "gpu"])
@pytest.mark.parametrize("name", KERNELS)
@settings(max_examples=5, deadline=None, derandomize=True)
@given(shape=shapes, dtype=st.sampled_from([jnp.float32, jnp.bfloat16]), tasks=st.integers(1, 4))
def test_equals_the_reference_on_odd_shapes(name, target, shape, dtype, tasks):
  t, before = tensors(shape, dtype, tasks), stream.ON_CPU
  stream.ON_CPU = target
  try:
    close(KERNELS[name](t, "pallas"), KERNELS[name](t, "xla"))
  finally:
    stream.ON_CPU = before


LARGE = [((512, 300), jnp.float32), ((3, 3, 64, 130), jnp.bfloat16), ((70_001,), jnp.float32)]


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("name", KERNELS)
def test_lowers_without_hardware(name, platform):
  shape, dtype = LARGE[sum(map(ord, name)) % len(LARGE)]
  found = lowered(name, platform, shape, dtype)
  assert {"tpu": "tpu_custom_call", "cuda": "triton"}[platform] in found


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("name", KERNELS)
def test_lowers_all_shapes_without_hardware(name, platform):
  for shape, dtype in LARGE:
    lowered(name, platform, shape, dtype)


def lowered(name, platform, shape, dtype):
  t = tensors(shape, dtype, tasks=5)
  checks = [jax.export.DisabledSafetyCheck.custom_call("__gpu$xla.gpu.triton")] if platform == "cuda" else []
  f = jax.jit(functools.partial(KERNELS[name], how="pallas"))
  return jax.export.export(f, platforms=[platform], disabled_checks=checks)(t).mlir_module()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu: the extra tpu-aot")
def test_compiles_for_a_tpu():
  env = {**os.environ, "TPU_SKIP_MDS_QUERY": "1", "JAX_PLATFORMS": "cpu"}
  done = subprocess.run([sys.executable, __file__], env=env, capture_output=True, text=True, timeout=600)
  assert done.returncode == 0, done.stderr[-4000:]
  assert done.stdout.split() == sorted(KERNELS)


def compile_for_a_tpu():
  """Mosaic and XLA compile every kernel for a v5e; prints the names of those that hold in its memory."""
  from jax.experimental import topologies

  device = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices[0]
  one = jax.sharding.SingleDeviceSharding(device)
  for name in sorted(KERNELS):
    for shape, dtype in [*LARGE, ((4096, 4096), jnp.bfloat16)]:
      leaf = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=one)
      t = jax.tree.map(leaf, jax.eval_shape(functools.partial(tensors_like, shape, dtype)))
      jax.jit(functools.partial(KERNELS[name], how="pallas")).lower(t).compile()
    print(name, flush=True)


def tensors_like(shape, dtype, tasks=20):
  zeros = lambda *lead: jnp.zeros((*lead, *shape), dtype)
  one = {"a": zeros(), "b": zeros(), "c": zeros(), "wide": jnp.zeros(shape), "mask": jnp.zeros(shape, bool)}
  return {**one, "memory": zeros(tasks), "v": jnp.zeros(tasks), "at": jnp.zeros(16, jnp.int32)}


if __name__ == "__main__":
  compile_for_a_tpu()
