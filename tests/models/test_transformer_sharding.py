"""A 4-layer Transformer on 2 x 4 fake devices: the numbers of one device, no parameter ever whole on any.

The number of devices is fixed when JAX starts, so this file runs itself once as a script.
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


@pytest.fixture(scope="module")
def report(tmp_path_factory):
  env = {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    "PYTHONPATH": os.pathsep.join([str(HERE.parents[2]), os.environ.get("PYTHONPATH", "")]),
  }
  out = tmp_path_factory.mktemp("sharded")
  done = subprocess.run([sys.executable, str(HERE), str(out)], env=env, capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr[-4000:]
  return json.loads((out / "report.json").read_text())


@pytest.mark.parametrize("name", ["logits", "parameters after a step", "loaded logits"])
def test_equals_one_device(report, name):
  assert report["difference"][name] < 1e-5


def test_no_parameter_is_gathered_whole(report):
  """A matrix of one layer is put together over "data" only: a quarter of it, where "model" has four devices."""
  assert report["gathers"] and not set(report["gathers"]) & set(report["whole"])
  assert report["largest gather"] <= report["largest matrix"] / 4


def test_parameters_stay_split_over_all_devices(report):
  assert report["share of a device"] < 1.1 / 8
  assert report["moved by the step"] == []


def test_memory_of_a_step_is_a_fraction(report):
  """Bytes of arguments, results and temporaries on one device."""
  assert report["bytes"]["mesh"] < 0.3 * report["bytes"]["one"]


def test_reading_a_checkpoint_onto_the_mesh(report):
  pytest.importorskip("safetensors", reason="checkpoints need the extra 'lm'")
  assert report["loaded layout"] == report["layout"]


def main(out: pathlib.Path) -> None:
  import math
  import re

  import jax
  import jax.numpy as jnp
  import numpy as np
  from jax.sharding import NamedSharding, PartitionSpec

  from unlearnjax import sharding
  from unlearnjax.models import load_hf, save_hf, transformer

  plain = transformer("llama", vocab_size=512, dim=64, depth=4, heads=8, kv_heads=4, hidden=320, remat=True)
  on = sharding.mesh(data=2, model=4)
  fn = plain.on(on)
  one = plain.init(jax.random.key(0))
  params = sharding.shard_params(one.params, on, fn.axes)
  tokens = np.random.default_rng(0).integers(0, 512, (4, 8))
  split = jax.device_put(tokens, NamedSharding(on, PartitionSpec("data")))

  def step(fn):
    def loss(params, tokens):
      logits = fn(params, {"tokens": tokens}).logits
      picked = jnp.take_along_axis(jax.nn.log_softmax(logits[:, :-1]), tokens[:, 1:, None], -1)
      return -picked.mean(), logits

    def update(params, tokens):
      grads, logits = jax.grad(loss, has_aux=True)(params, tokens)
      return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), logits

    return jax.jit(update)

  difference = lambda a, b: max(
    float(np.abs(np.asarray(x) - np.asarray(y)).max()) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b))
  )
  layout = lambda tree: [str(x.sharding.spec) for x in jax.tree.leaves(tree)]
  compiled, alone = step(fn).lower(params, split).compile(), step(plain).lower(one.params, tokens).compile()
  new, logits = compiled(params, split)
  new_one, logits_one = alone(one.params, tokens)
  found = {"difference": {"logits": difference(logits, logits_one)}}
  found["difference"]["parameters after a step"] = difference(new, new_one)
  found["moved by the step"] = [pair for pair in zip(layout(params), layout(new)) if pair[0] != pair[1]]
  found["layout"] = layout(params)

  found["gathers"] = sorted(set(re.findall(r"= \(?\w+\[([\d,]*)\]\S* all-gather", compiled.as_text())))
  count = lambda shape: math.prod(int(n) for n in shape.split(",") if n)
  matrices = [x.shape[i:] for x in jax.tree.leaves(one.params) for i in (0, 1) if x.ndim - i >= 2]
  matrices = [shape for shape in matrices if shape != (4, 64)]  # norms
  found["whole"] = [",".join(map(str, shape)) for shape in matrices]
  found["largest gather"] = max(map(count, found["gathers"]))
  found["largest matrix"] = max(math.prod(shape) for shape in matrices if len(shape) == 2)
  size = lambda x: math.prod(x.sharding.shard_shape(x.shape))
  found["share of a device"] = sum(map(size, jax.tree.leaves(params))) / sum(x.size for x in jax.tree.leaves(params))

  def used(program):
    memory = program.memory_analysis()
    return memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes

  found["bytes"] = {"mesh": used(compiled), "one": used(alone)}
  try:
    import safetensors  # noqa: F401
  except ImportError:
    found["loaded layout"], found["difference"]["loaded logits"] = None, 0.0
  else:
    model = load_hf(save_hf(one.replace(fn=plain), out / "lm"), mesh=on, remat=True)
    assert layout(fn.init(jax.random.key(0)).params) == found["layout"]
    found["loaded layout"] = layout(model.params)
    found["difference"]["loaded logits"] = difference(model.fn(model.params, {"tokens": split}).logits, logits_one)
  (out / "report.json").write_text(json.dumps(found))


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]))
