# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Many devices
#
# **What it shows**: forgetting with the batch split over a mesh, a Transformer whose weights are split over it, what a
# step on eight billion weights would take on each device, and an exact top-k mask over weights that no device holds
# whole. Eight devices are pretended on a CPU: the code is that of eight accelerators. **Run time**: a minute on two CPU
# cores. **What to change**: the sizes in `uj.sharding.mesh`, `SIZE`, the rules of the layout.
#
# On a fresh machine: `pip install -e .` in a checkout.
#
# The number of devices is fixed when JAX starts: on a notebook that has imported it already, restart the runtime first.
# On a machine with accelerators leave this cell out.

# %%
import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()

# %%
import math

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import unlearnjax as uj
from unlearnjax import curvature, models, objectives, reparam

FAST = bool(os.environ.get("UNLEARNJAX_FAST"))  # the tests run this notebook with little training
on = uj.sharding.mesh(data=4, model=2)
print(dict(on.shape), "of", len(jax.devices()), "devices")

# %% [markdown]
# ## Any method, on a mesh
#
# A mesh is a part of the `Run`, not of a method: batches are split over its axis "data", gradients are summed by the
# compiler, and nothing else changes. The numbers are those of one device up to rounding.

# %%
data = uj.data.load("digits")
fn = uj.models.make("mlp", input_shape=data.input_shape, num_outputs=data.num_classes)
recipe = uj.Recipe(optax.sgd(0.1, momentum=0.9), epochs=5 if FAST else 20, batch_size=64)
model = uj.train(fn, data.train, recipe, key=jax.random.key(0))
request = uj.data.forget_class(data, 3)

salun = uj.methods.salun(tx=optax.sgd(0.05, momentum=0.9), epochs=1 if FAST else 2, batch_size=64, exclude_true=True)
results = {
  "one device": uj.forget(salun, model, request, key=jax.random.key(1)),
  "4 x 2 devices": uj.forget(salun, model, request, key=jax.random.key(1), run=uj.Run(mesh=on)),
}
print(f"{'':<16}{'UA':>8}{'RA':>8}{'TA':>8}")
for name, result in results.items():
  scores = uj.audit(result.model, request).scores
  print(f"{name:<16}" + "".join(f"{scores[c]:>8.1f}" for c in ("UA", "RA", "TA")))
pairs = zip(*(jax.tree.leaves(jax.device_get(r.model.params)) for r in results.values()))
difference = max(float(np.max(np.abs(a - b))) for a, b in pairs)
print(f"largest difference of a weight: {difference:.0e}")
assert difference < 1e-3

# %% [markdown]
# ## A model that is laid out over the mesh
#
# Every axis of every parameter of a `Transformer` has a name, and rules say which axis of the mesh a name is split
# over. With the default rules weights are stored in parts on all devices; those of one layer at a time are put together
# over "data" when they are used. `init` makes each part where it will lie.

# %%
lm = models.transformer("llama", vocab_size=512, dim=128, depth=2, heads=4)
spread = lm.on(on)
weights = spread.init(jax.random.key(2)).params

names = ("blocks/attn/q/kernel", "blocks/mlp/up/kernel", "embed/table")
print(f"{'':<24}{'axes':<28}{'shape':<18}{'on a device'}")
for name in names:
  leaf, axes = weights, spread.axes
  for part in name.split("/"):
    leaf, axes = leaf[part], axes[part]
  print(f"{name:<24}{', '.join(axes):<28}{leaf.shape!s:<18}{leaf.sharding.shard_shape(leaf.shape)}")

tokens = np.random.default_rng(0).integers(0, 512, (8, 16), np.int32)
there = jax.jit(spread)(weights, {"tokens": tokens}).logits
alone = jax.jit(lm)(jax.device_get(weights), {"tokens": tokens}).logits
print(
  f"largest difference of a logit from one device: {np.max(np.abs(jax.device_get(there) - jax.device_get(alone))):.0e}"
)

# %% [markdown]
# ## Exact top-k over all weights
#
# A saliency mask keeps the largest scores of the whole tree. A sort would gather it; `top_saliency` counts instead, and
# its mask lies where the scores do.

# %%
mask = jax.jit(lambda scores: curvature.top_saliency(scores, 0.3))(weights)  # here the score is a weight's magnitude
kept = sum(int(np.sum(jax.device_get(m))) for m in jax.tree.leaves(mask))
total = sum(m.size for m in jax.tree.leaves(mask))
print(f"{kept} of {total} kept, floor(0.3 n) is {int(0.3 * total)}")
assert kept == int(0.3 * total)
same_place = jax.tree.map(lambda m, w: m.sharding.is_equivalent_to(w.sharding, w.ndim), mask, weights)
print("every mask lies where its scores do:", all(jax.tree.leaves(same_place)))

# %% [markdown]
# ## Will it fit?
#
# The compiler says what a step takes on each device, from shapes alone: no weight is ever made. Here it is NPO with a
# retain term through LoRA on a bfloat16 base, eight rows of each role. The compiler is that of the CPU, which computes
# bfloat16 in float32: what it says of temporaries is an upper bound for an accelerator.

# %%
SIZE, LENGTH = ("llama3.2-1b", 64) if FAST else ("llama3-8b", 512)
GIB = 2**30


def memory(**sizes):
  """GiB on one device of one step of unlearning."""
  mesh = uj.sharding.mesh(**sizes)
  fn = models.transformer(SIZE, dtype="bfloat16", param_dtype="bfloat16", remat=True).on(mesh)
  everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  by_row = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
  lay = lambda tree, where: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), tree)

  base = jax.tree.map(
    lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), fn.abstract, fn.shardings()
  )
  lora = reparam.lora(rank=8, where=r"blocks/attn/(q|v)/kernel")
  bound = lora.bind(fn)
  step = uj.descend({"forget": objectives.npo(bound), "retain": objectives.nll(bound)}, optax.adamw(1e-4))

  def start(key, base):
    return step.init(uj.UnlearnState.create(lora.init(key, base)[0], rng=key))

  state = lay(jax.eval_shape(start, jax.eval_shape(lambda: jax.random.key(0)), base), everywhere)
  row = lambda *shape, dtype=jnp.int32: jax.ShapeDtypeStruct((8, *shape), dtype, sharding=by_row)
  role = {"inputs": {"tokens": row(LENGTH)}, "mask": row(LENGTH, dtype=bool), "ref_logp": row(dtype=jnp.float32)}
  role |= {"valid": row(dtype=bool), "id": row()}
  program = jax.jit(step.update, donate_argnums=0).lower(state, {"forget": role, "retain": role}, {"base": base})
  found = program.compile().memory_analysis()
  parts = [math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(base)]
  others = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes - sum(parts)
  amounts = {"weights": sum(parts), "LoRA, moments, batch": others, "temporary": found.temp_size_in_bytes}
  return {name: amount / GIB for name, amount in amounts.items()}


layouts = {"2 x 4": dict(data=2, model=4)}
if not FAST:
  layouts |= {"4 x 2": dict(data=4, model=2), "1 device": dict(data=1)}
found = {name: memory(**sizes) for name, sizes in layouts.items()}
print(f"{SIZE}, GiB a device\n{'':<12}" + "".join(f"{what:>22}" for what in found["2 x 4"]) + f"{'total':>10}")
for name, amounts in found.items():
  print(f"{name:<12}" + "".join(f"{a:>22.2f}" for a in amounts.values()) + f"{sum(amounts.values()):>10.2f}")

# %%
figure, axis = plt.subplots(figsize=(5, 3))
below = np.zeros(len(found))
for what in found["2 x 4"]:
  amounts = np.array([layout[what] for layout in found.values()])
  axis.bar(list(found), amounts, bottom=below, label=what)
  below += amounts
axis.set(title=f"a step on {SIZE}", ylabel="GiB a device")
axis.legend(fontsize=8)
figure.tight_layout()
plt.show()
