"""Exact selection: equal to a stable sort for all dtypes, ties, special values and scopes, also across devices."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearnjax import kernels
from unlearnjax.kernels import pool, wide

SHAPES = ((3, 11), (0, 4), (), (29,), (2, 3, 5))
N = 93


def sorted_mask(leaves, k, magnitude=False):
  """By a stable sort of everything: NaN first, then descending, earlier entries first among equals."""
  flat = np.concatenate([np.asarray(x.astype(jnp.float32)).ravel() for x in leaves])
  flat = np.abs(flat) if magnitude else flat
  order = np.argsort(np.where(np.isnan(flat), -np.inf, -flat), kind="stable")
  # NaN and infinity would tie
  order = np.concatenate([order[np.isnan(flat[order])], order[~np.isnan(flat[order])]])
  mask = np.zeros(flat.size, bool)
  mask[order[:k]] = True
  ends = np.cumsum([x.size for x in leaves])[:-1]
  return [m.reshape(x.shape) for m, x in zip(np.split(mask, ends), leaves)], flat[order]


def draw(seed, dtype, kind):
  rng = np.random.default_rng(seed)
  make = {
    "normal": lambda s: rng.normal(size=s),
    "wide": lambda s: rng.normal(size=s) * 10.0 ** rng.integers(-30, 30, s),
    "ties": lambda s: rng.integers(-2, 3, s) / 2,
    "equal": lambda s: np.full(s, -0.0),
    "special": lambda s: rng.choice([0.0, -0.0, np.inf, -np.inf, 1e-40, -1e-40, 1.0], s),
  }[kind]
  return [jnp.asarray(make(s), dtype) for s in SHAPES]


def same(found, wanted):
  for f, w in zip(found, wanted):
    np.testing.assert_array_equal(f, w)


@pytest.fixture(params=[1 << 17, 0], ids=["joined", "apart"], scope="module")
def joined(request):
  """Small leaves end to end, as on one device, or one by one, as large ones."""
  before, pool.JOINED = pool.JOINED, request.param
  jax.clear_caches()
  yield
  pool.JOINED = before
  jax.clear_caches()


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
  seed=st.integers(0, 99),
  dtype=st.sampled_from([jnp.float32, jnp.bfloat16]),
  kind=st.sampled_from(["normal", "wide", "ties", "equal", "special"]),
  magnitude=st.booleans(),
  k=st.integers(0, N),
)
def test_the_mask_is_that_of_a_stable_sort(joined, seed, dtype, kind, magnitude, k):
  leaves = draw(seed, dtype, kind)
  wanted, ranked = sorted_mask(leaves, k, magnitude)
  same(kernels.largest_mask(leaves, k, magnitude=magnitude), wanted)
  if k:
    assert kernels.kth_largest(leaves, k, magnitude=magnitude) == ranked[k - 1]


def test_each_layer_keeps_its_own_fraction():
  leaves = draw(0, jnp.float32, "ties")
  found = kernels.top_fraction_mask(leaves, 0.3, "layer")
  for f, x in zip(found, leaves):
    same([f], sorted_mask([x], int(0.3 * x.size + 1e-6))[0])
  with pytest.raises(ValueError, match="scores must not be NaN; found some in '3'"):
    kernels.top_fraction_mask([*leaves[:3], leaves[3] * jnp.nan, leaves[4]], 0.3, "layer")


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.int32, jnp.uint32, jnp.bool_])
def test_other_dtypes(dtype):
  rng = np.random.default_rng(0)
  if jnp.issubdtype(dtype, jnp.floating):
    x = rng.normal(size=200).astype(np.float16)
  elif dtype == jnp.bool_:
    x = rng.random(200) < 0.5
  else:
    info = jnp.iinfo(dtype)
    x = np.concatenate([rng.integers(info.min, info.max, 198, endpoint=True), [info.min, info.max]])
  x = jnp.asarray(x, dtype)
  for k in (1, 57, 200):
    wide_x = np.asarray(x).astype(np.float64)
    order = np.argsort(-wide_x, kind="stable")[:k]
    np.testing.assert_array_equal(np.flatnonzero(kernels.largest_mask(x, k)), np.sort(order))
    assert kernels.kth_largest(x, k) == x[order[-1]] and kernels.kth_largest(x, k).dtype == dtype


def test_a_skewed_distribution_that_no_sample_shows():
  x = np.zeros(100_000, np.float32)
  x[1::977] = np.arange(1, 104) * 1e-30
  x[5], x[70_001] = 1e30, -1e30
  for k in (1, 50, 104, 105, 99_999):
    same([kernels.largest_mask(jnp.asarray(x), k)], sorted_mask([jnp.asarray(x)], k)[0])


def test_nan_is_refused_by_name_and_above_infinity_under_jit():
  scores = {"a": jnp.ones(3), "b": {"c": jnp.array([jnp.inf, -jnp.nan, 1.0, 2.0])}}
  for call in (
    lambda s: kernels.largest_mask(s, 2),
    lambda s: kernels.top_fraction_mask(s, 1.0),
    lambda s: kernels.kth_largest(s, 1, magnitude=True),
  ):
    with pytest.raises(ValueError, match="scores must not be NaN; found some in 'b/c'"):
      call(scores)
  for magnitude in (False, True):
    found = jax.jit(functools.partial(kernels.largest_mask, k=1, magnitude=magnitude))(scores)
    assert found["b"]["c"].tolist() == [False, True, False, False]


def test_k_may_be_traced_and_is_clipped():
  x = {"a": jnp.array([3.0, 1.0, 2.0])}
  found = jax.jit(kernels.largest_mask)
  assert [found(x, jnp.array(k))["a"].tolist() for k in (-1, 2, 7)] == [
    [False, False, False],
    [True, False, True],
    [True, True, True],
  ]
  assert jax.vmap(lambda k: kernels.kth_largest(x, k))(jnp.array([1, 2, 3])).tolist() == [3.0, 2.0, 1.0]


def test_what_is_out_of_range_is_refused():
  x = jnp.ones(3)
  for k in (-1, 4):
    with pytest.raises(ValueError, match=rf"k must be in \[0, 3\], got {k}"):
      kernels.largest_mask(x, k)
  with pytest.raises(ValueError, match=r"k must be in \[1, 3\], got 0"):
    kernels.kth_largest(x, 0)
  with pytest.raises(ValueError, match="k must be an integer scalar, got 1.5"):
    kernels.largest_mask(x, 1.5)
  with pytest.raises(ValueError, match=r"density must be in \[0, 1\], got 1.5"):
    kernels.top_fraction_mask(x, 1.5)
  with pytest.raises(ValueError, match="scope must be one of global, layer; got 'row'"):
    kernels.top_fraction_mask(x, 0.5, "row")
  with pytest.raises(ValueError, match="kth_largest of a tree without entries"):
    kernels.kth_largest({}, 1)
  with pytest.raises(ValueError, match="scores must be real, 'z' has dtype complex64"):
    kernels.largest_mask({"z": jnp.ones(2, jnp.complex64)}, 1)
  assert kernels.top_fraction_mask({"a": jnp.ones((0, 2))}, 0.5)["a"].shape == (0, 2)


def test_keys_are_not_stored():
  x = jax.ShapeDtypeStruct((1 << 12, 1 << 10), jnp.float32)
  stats = jax.jit(lambda x: kernels.kth_largest(x, 1 << 20)).lower(x).compile().memory_analysis()
  assert stats.temp_size_in_bytes < 0.1 * 4 * x.size


def test_counts_beyond_32_bits():
  numbers = [0, 1, 65535, 65536, 2**32 - 1, 2**33 + 5, 2**40]
  value = lambda w: int(w.high) * 65536 + int(w.low)
  for a in numbers:
    assert value(wide.wide(a)) == a
    for b in numbers:
      assert bool(wide.less(wide.wide(a), wide.wide(b))) == (a < b)
      assert value(wide.minus(wide.wide(a), wide.wide(b))) == max(a - b, 0)
  counts = jnp.full(1000, 2**32 - 1, jnp.uint32)
  assert value(wide.total(counts)) == 1000 * (2**32 - 1)
  assert value(jax.tree.map(lambda x: x[-1], wide.running(counts))) == 999 * (2**32 - 1)
  assert [int(wide.narrow(wide.wide(a))) for a in (7, 2**33)] == [7, 2**32 - 1]


def test_on_eight_devices():
  root = pathlib.Path(__file__).resolve().parents[2]
  path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
  flags = "--xla_force_host_platform_device_count=8"
  env = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": path}
  done = subprocess.run([sys.executable, __file__], env=env, capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr[-4000:]
  report = json.loads(done.stdout.splitlines()[-1])
  assert report["equal"] and report["sharded"]
  assert report["gathered"] == []  # nothing as large as a shard travels


def on_eight_devices():
  import re

  mesh = jax.make_mesh((4, 2), ("d", "m"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
  spec = jax.sharding.PartitionSpec
  put = lambda x, s: jax.device_put(x, jax.sharding.NamedSharding(mesh, s))
  rng = np.random.default_rng(0)
  plain = [jnp.asarray(np.round(rng.normal(size=s), 1), jnp.float32) for s in ((64, 32), (48, 40, 4), (256,))]
  leaves = [put(x, s) for x, s in zip(plain, (spec("d", "m"), spec(None, "d"), spec("m")))]
  f = jax.jit(lambda s: kernels.top_fraction_mask(s, 0.4))
  found = f(leaves)
  text = f.lower(leaves).compile().as_text()
  shapes = re.findall(r"= \(?\w+\[([\d,]*)\][^\n]* (?:all-gather|all-to-all|collective-permute)\(", text)
  numbers = [int(np.prod([int(d) for d in s.split(",") if d])) for s in shapes]
  n = sum(x.size for x in plain)
  equal = all((np.asarray(a) == b).all() for a, b in zip(found, sorted_mask(plain, kernels.select.kept(n, 0.4))[0]))
  sharded = [a.sharding.is_equivalent_to(b.sharding, a.ndim) for a, b in zip(found, leaves)]
  print(json.dumps({"equal": equal, "sharded": all(sharded), "gathered": [s for s in numbers if s > 128]}))


if __name__ == "__main__":
  on_eight_devices()
