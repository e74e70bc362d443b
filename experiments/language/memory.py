"""How much memory a step of unlearning takes on every device, asked of the compiler: no weight is ever made.

python -m experiments.language.memory --model=llama3-8b --mesh=data=2,model=4

NPO with a LoRA over a bfloat16 base, whose log-probabilities as the reference are cached: one copy of the weights is
held. Expected for the command above: 9.5 GiB a device, which fits into 8 x 16 GiB; with --rank=0 it is 18 GiB, which
does not. Without that many devices the host pretends to have them, and the compiler is that of the CPU, which computes
bfloat16 in float32: its temporaries are an upper bound of an accelerator's.
"""

from __future__ import annotations

import json
import os
import pathlib

from absl import app, flags

FLAGS = flags.FLAGS

GIB = 2**30


def axes(text: str) -> dict[str, int]:
  """`"data=2,model=4"` -> {"data": 2, "model": 4}.

  Raises:
    ValueError: anything else.
  """
  try:
    found = {name: int(size) for name, size in (part.split("=") for part in text.split(","))}
  except ValueError:
    raise ValueError(f"--mesh must be written as data=2,model=4, got {text!r}") from None
  if min(found.values()) < 1 or not all(found):
    raise ValueError(f"--mesh must have names and sizes of at least 1, got {text!r}")
  return found


def pretend(devices: int) -> None:
  """Gives a host without accelerators so many devices; before JAX starts."""
  if os.environ.get("JAX_PLATFORMS") == "cpu" or not pathlib.Path("/dev/nvidia0").exists():
    flag = f"--xla_force_host_platform_device_count={devices}"
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
      os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()


def step_memory(model: str, sizes: dict[str, int], batch: int, length: int, rank: int, layers: int = 0) -> dict:
  """Bytes on one device of one compiled step, by what they are for.

  Args:
    model: a published size.
    sizes: mesh axes.
    batch: rows of each role.
    length: tokens of a row.
    rank: of the LoRA; 0 trains all weights, in bfloat16 with Adam, against cached log-probabilities of the reference.
    layers: fewer than the model has; 0: all.

  Returns:
    bytes a device as {"weights", "trained": the LoRA and the optimizer's moments, "batch", "temporary", "total"}, and
    "parameters": how many weights there are in all.
  """
  import math

  import jax
  import jax.numpy as jnp
  import optax
  from jax.sharding import NamedSharding, PartitionSpec

  from unlearnjax import UnlearnState, descend, objectives, reparam, sharding
  from unlearnjax.models import transformer

  on = sharding.mesh(**sizes)
  smaller = dict(depth=layers) if layers else {}
  fn = transformer(model, dtype="bfloat16", param_dtype="bfloat16", remat=True, **smaller).on(on)
  whole = NamedSharding(on, PartitionSpec())
  rows = NamedSharding(on, PartitionSpec("data" if "data" in sizes else None))
  at = lambda tree, where: jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, where)
  spread = lambda tree, where: at(tree, jax.tree.map(lambda _: where, tree))

  base = at(fn.abstract, fn.shardings())
  key = jax.eval_shape(lambda: jax.random.key(0))
  if rank:
    adapter = reparam.lora(rank, where=r"blocks/attn/(q|v)/kernel")
    bound = adapter.bind(fn)
    trained = spread(jax.eval_shape(lambda k, p: adapter.init(k, p)[0], key, base), whole)
    refs = {"base": base}
  else:
    bound, trained, refs = fn, base, {}
  goal = {"forget": objectives.npo(bound), "retain": objectives.nll(bound)}
  step = descend(goal, optax.adamw(1e-4))
  start = jax.jit(lambda p, k: step.init(UnlearnState.create(p, rng=k)))
  state = jax.eval_shape(start, trained, key)
  places = {x.shape: x.sharding for x in jax.tree.leaves(trained)}  # moments lie where their parameters do
  state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=places.get(x.shape, whole)), state)
  role = {
    "inputs": {"tokens": jax.ShapeDtypeStruct((batch, length), jnp.int32)},
    "mask": jax.ShapeDtypeStruct((batch, length), bool),
    "ref_logp": jax.ShapeDtypeStruct((batch,), jnp.float32),
    "valid": jax.ShapeDtypeStruct((batch,), bool),
    "id": jax.ShapeDtypeStruct((batch,), jnp.int32),
  }
  data = spread({"forget": role, "retain": role}, rows)
  compiled = jax.jit(step.update, donate_argnums=0).lower(state, data, refs).compile()
  found = compiled.memory_analysis()

  def on_a_device(tree) -> int:
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree) if x.size)

  kept = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
  return {
    "parameters": sum(x.size for x in jax.tree.leaves(base)),
    "weights": on_a_device(base),
    "trained": found.argument_size_in_bytes - on_a_device(data) - on_a_device(base),
    "batch": on_a_device(data),
    "temporary": found.temp_size_in_bytes,
    "total": kept + found.temp_size_in_bytes,
  }


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments {argv[1:]}")
  try:
    sizes = axes(FLAGS.mesh)
    if FLAGS.batch % sizes.get("data", 1):
      raise ValueError(f"--batch={FLAGS.batch} rows cannot be split over data={sizes['data']} of --mesh")
  except ValueError as e:
    raise app.UsageError(str(e)) from None
  devices = 1
  for size in sizes.values():
    devices *= size
  pretend(devices)
  found = step_memory(FLAGS.model, sizes, FLAGS.batch, FLAGS.length, FLAGS.rank, FLAGS.layers)
  what = f"LoRA of rank {FLAGS.rank}" if FLAGS.rank else "all weights"
  print(f"{FLAGS.model}, {found['parameters'] / 1e9:.2f} G parameters in bfloat16, NPO on {what}, mesh {FLAGS.mesh}")
  for name in ("weights", "trained", "batch", "temporary", "total"):
    print(f"  {name:10} {found[name] / GIB:8.2f} GiB a device")
  fits = found["total"] <= FLAGS.gib * GIB
  print(f"{'fits' if fits else 'does not fit'} into {devices} x {FLAGS.gib:g} GiB")
  if FLAGS.memory_out:
    out = pathlib.Path(FLAGS.memory_out)
    out.mkdir(parents=True, exist_ok=True)
    settings = {"model": FLAGS.model, "mesh": sizes, "batch": FLAGS.batch, "length": FLAGS.length, "rank": FLAGS.rank}
    (out / "memory.json").write_text(json.dumps({**settings, "fits": fits, "bytes": found}, indent=2))


def define_flags() -> None:
  """What this module is asked, once it is run: another one may have flags of the same names."""
  flags.DEFINE_string("model", "llama3-8b", "A published size: gpt2, llama3-8b, llama3.2-1b, qwen2.5-0.5b.")
  flags.DEFINE_string("mesh", "data=2,model=4", "Mesh axes and their sizes.")
  flags.DEFINE_integer("batch", 8, "Rows of the forget role and of the retain role, each.", lower_bound=1)
  flags.DEFINE_integer("length", 512, "Tokens of a row.", lower_bound=2)
  flags.DEFINE_integer("rank", 8, "Rank of the LoRA on queries and values; 0 trains all weights.", lower_bound=0)
  flags.DEFINE_integer("layers", 0, "Fewer layers than the model has; 0: all.", lower_bound=0)
  flags.DEFINE_float("gib", 16.0, "Memory of a device, in GiB.", lower_bound=0)
  flags.DEFINE_string("memory_out", None, "Where to write memory.json.")


if __name__ == "__main__":
  define_flags()
  app.run(main)
