"""Curvature on eight fake devices is that of one, and a batch that is split stays split.

The number of devices is fixed when JAX starts, so this file runs itself once as a script; the tests look at its report.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
HERE = pathlib.Path(__file__).resolve()
NAMES = ("hvp", "ggn_vp", "jacobian_vp", "jacobian_tvp", "cg", "ntk", "kfac_factors", "fisher_diag")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
  paths = [str(HERE.parents[2]), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
  env = {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    "PYTHONPATH": os.pathsep.join(paths),
  }
  out = tmp_path_factory.mktemp("curvature") / "report.json"
  done = subprocess.run([sys.executable, str(HERE), str(out)], env=env, capture_output=True, text=True, timeout=400)
  assert done.returncode == 0, done.stderr[-4000:]
  return json.loads(out.read_text())


@pytest.mark.parametrize("name", NAMES)
def test_equals_a_single_device(report, name):
  assert report["difference"][name] < 1e-5


def test_products_gather_nothing(report):
  assert report["all-gathers"] == 0


def main(out: pathlib.Path) -> None:
  import jax
  import jax.numpy as jnp
  import numpy as np
  from jax.sharding import NamedSharding, PartitionSpec
  from toy_net import mlp_params, model_of, random_role, tanh_mlp

  from unlearnjax import curvature, losses, objectives
  from unlearnjax.core import Examples, Run, fold
  from unlearnjax.sharding import mesh

  both, flat = mesh(data=4, model=2), mesh(data=8)
  params, batch = mlp_params(sizes=(6, 8, 4)), random_role(size=32)
  batch = {**batch, "valid": jnp.arange(32) < 29}
  vector = jax.tree.map(lambda p: jnp.cos(5 * p), params)
  cotangent = jnp.sin(jnp.arange(128.0)).reshape(32, 4)
  xent = objectives.cross_entropy(tanh_mlp, train=False)

  @jax.jit
  def products(params, batch, vector, cotangent):
    ggn = lambda v: curvature.ggn_vp(tanh_mlp, losses.cross_entropy, params, batch, v, microbatch=16)
    return {
      "hvp": curvature.hvp(xent, params, batch, vector, microbatch=8),
      "ggn_vp": ggn(vector),
      "jacobian_vp": curvature.jacobian_vp(tanh_mlp, params, batch, vector, microbatch=16),
      "jacobian_tvp": curvature.jacobian_tvp(tanh_mlp, params, batch, cotangent, microbatch=16),
    }

  @jax.jit
  def more(params, batch, vector):
    ggn = lambda v: curvature.ggn_vp(tanh_mlp, losses.cross_entropy, params, batch, v, microbatch=16)
    kernel = curvature.ntk(tanh_mlp, params, batch["inputs"], rows=16, form="trace")
    return {"cg": curvature.cg(ggn, vector, damping=1.0)[0], "ntk": kernel}

  spec = {"fc": {"kernel": (None, "model"), "bias": ("model",)}, "head": {"kernel": ("model",), "bias": ()}}
  split = lambda tree: jax.tree.map(lambda x, s: jax.device_put(x, NamedSharding(both, PartitionSpec(*s))), tree, spec)
  rows = lambda x: jax.device_put(x, NamedSharding(both, PartitionSpec("data")))
  batched = jax.tree.map(rows, batch)

  def difference(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.abs(np.asarray(x) - np.asarray(y)).max()) for x, y in pairs)

  one = products(params, batch, vector, cotangent) | more(params, batch, vector)
  many = products(split(params), batched, split(vector), rows(cotangent)) | more(split(params), batched, split(vector))
  found = {name: difference(one[name], many[name]) for name in one}

  source = Examples({"x": np.asarray(batch["inputs"]["x"])[:29], "y": np.asarray(batch["y"])[:29]})
  model = model_of(params, tanh_mlp)
  statistics = {
    "kfac_factors": curvature.kfac_factors(tanh_mlp, ("fc", "head")),
    "fisher_diag": curvature.fisher_diag(xent, microbatch=8),
  }
  for name, statistic in statistics.items():
    found[name] = difference(*(fold(statistic, model, source, Run(mesh=on)) for on in (None, flat)))

  on_all = lambda tree: jax.device_put(tree, NamedSharding(flat, PartitionSpec()))
  by_row = lambda tree: jax.device_put(tree, NamedSharding(flat, PartitionSpec("data")))
  text = products.lower(on_all(params), by_row(batch), on_all(vector), by_row(cotangent)).compile().as_text()
  out.write_text(json.dumps({"difference": found, "all-gathers": text.count(" all-gather(")}))


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]))
