"""Forgetting and projecting steps on a (4, 2) mesh: no device ever holds the whole model, nor more than its share.

The network is a stack of layers that is scanned, as `uj.models.transformer` is: the gradient of one layer is summed
over "data" and cut before the next begins. Over a list of layers XLA's CPU compiler joins these sums into one, and then
half of every layer's gradient exists at once on every device of this mesh.

The number of devices is fixed when JAX starts, so this file runs itself once as a script; the tests look at its report.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve()
STEPS = ("salun", "salun mask", "gem")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
  env = {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    "PYTHONPATH": os.pathsep.join([str(HERE.parents[2]), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]),
  }
  out = tmp_path_factory.mktemp("steps") / "report.json"
  done = subprocess.run([sys.executable, str(HERE), str(out)], env=env, capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr[-4000:]
  return json.loads(out.read_text())


@pytest.mark.parametrize("step", STEPS)
def test_equals_the_step_on_one_device(report, step):
  assert report[step]["difference"] < 1e-5


@pytest.mark.parametrize("step", STEPS)
def test_no_device_gathers_a_whole_layer(report, step):
  assert report[step]["whole"] == []


@pytest.mark.parametrize("step", STEPS)
def test_the_memory_of_a_device_falls_with_the_number_of_devices(report, step):
  """State, optimizer and masks: an eighth on each of eight devices. So is what the step needs meanwhile, gradients
  (GEM: one a task) and what is combined of them; the tenth more is for activations and for the layer at hand."""
  assert report[step]["arguments"] < 1.01 / 8
  assert report[step]["outputs"] < 1.01 / 8
  assert report[step]["total"] < 1.1 / 8


WIDTH, DEPTH, ROWS, TASKS = 256, 16, 16, 4


def main(out: pathlib.Path) -> None:
  import jax
  import jax.numpy as jnp
  import numpy as np
  import optax
  from jax.sharding import NamedSharding, PartitionSpec

  from unlearnjax import combine, curvature, objectives, updates
  from unlearnjax.core import Outputs, UnlearnState, descend
  from unlearnjax.sharding import mesh, place, split_batch

  def fn(params, inputs, *, state=(), **_):
    h, _ = jax.lax.scan(lambda h, kernel: (jnp.tanh(h @ kernel), None), inputs["x"], params["layers"]["kernel"])
    return Outputs(h @ params["head"]["kernel"], {}, state)

  keys = jax.random.split(jax.random.key(0))
  params = {
    "layers": {"kernel": jax.random.normal(keys[0], (DEPTH, WIDTH, WIDTH)) / WIDTH**0.5},
    "head": {"kernel": jax.random.normal(keys[1], (WIDTH, 16)) / WIDTH**0.5},
  }
  on = mesh(data=4, model=2)
  spec = lambda x: NamedSharding(on, PartitionSpec(*[None] * (x.ndim - 2), "data", "model"))
  split = lambda tree: jax.tree.map(lambda x: jax.device_put(x, spec(x)), tree)

  rng = np.random.default_rng(0)

  def batch(*lead):
    x, y = rng.normal(size=(*lead, ROWS, WIDTH)), rng.integers(0, 16, (*lead, ROWS))
    columns = {"inputs": {"x": x.astype(np.float32)}, "y": y, "id": 0 * y, "valid": y >= 0}
    return jax.tree.map(jnp.asarray, columns)

  xent = objectives.cross_entropy(fn)
  salun = descend(
    {"forget": objectives.random_label(fn), "retain": xent},
    optax.chain(optax.sgd(0.1, momentum=0.9), updates.mask_by("saliency")),
  )
  gem = descend({"current": xent, "memory": objectives.per_task(xent)}, optax.sgd(0.1), combine=combine.gem())
  refs = {"saliency": jax.tree.map(lambda p: p > 0, params)}

  def transform(step, data):
    def run(state, refs, mesh):
      parts = {role: split_batch(part, mesh, ("data",), part["y"].ndim - 1) for role, part in data.items()}
      return step.update(state, parts, refs)[0]

    return run, lambda params: step.init(UnlearnState.create(params, rng=jax.random.key(1)))

  cases = {
    "salun": (*transform(salun, {"forget": batch(), "retain": batch()}), refs),
    "gem": (*transform(gem, {"current": batch(), "memory": batch(TASKS)}), {}),
    "salun mask": (lambda scores, refs, mesh: curvature.top_saliency(scores, 0.3), lambda params: params, {}),
  }
  found = {}
  for name, (run, make, given) in cases.items():
    program, result = {}, {}
    for mesh_or_none in (None, on):
      lay = (lambda tree: place(split(tree), on)) if mesh_or_none else (lambda tree: tree)
      args = place(make(lay(params)), mesh_or_none), lay(given)
      program[mesh_or_none] = jax.jit(run, static_argnums=2).lower(*args, mesh_or_none).compile()
      result[mesh_or_none] = program[mesh_or_none](*args)
    leaves = [jax.tree.leaves(getattr(r, "params", r)) for r in result.values()]
    stats = {k: p.memory_analysis() for k, p in program.items()}
    parts = {"arguments": "argument", "outputs": "output", "temporaries": "temp"}
    held = {k: {name: getattr(m, f"{part}_size_in_bytes") for name, part in parts.items()} for k, m in stats.items()}
    held = {k: v | {"total": sum(v.values())} for k, v in held.items()}
    gathered = re.findall(r"= \w+\[([\d,]*)\]\S* all-gather", program[on].as_text())
    gathered = [tuple(int(n) for n in dims.split(",") if n) for dims in gathered]
    found[name] = {
      "difference": max(float(np.abs(np.asarray(a, float) - np.asarray(b, float)).max()) for a, b in zip(*leaves)),
      "whole": [dims for dims in gathered if np.prod(dims) >= WIDTH * WIDTH],
      **{part: amount / held[None][part] for part, amount in held[on].items()},
    }
  out.write_text(json.dumps(found))


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]))
