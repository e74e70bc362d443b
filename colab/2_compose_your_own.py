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
# # Compose your own method
#
# **What it shows**: a method is objectives, a combiner, an optax chain and a plan; each can be replaced alone.
# **Run time**: half a minute on two CPU cores. **What to change**: every argument of `descend` below.

# %%
import os

import jax
import jax.numpy as jnp
import optax

import unlearnjax as uj
from unlearnjax import objectives, updates

FAST = bool(os.environ.get("UNLEARNJAX_FAST"))
EPOCHS = 5 if FAST else 20

data = uj.data.load("digits")
fn = uj.models.make("mlp", input_shape=data.input_shape, num_outputs=data.num_classes)
recipe = uj.Recipe(optax.sgd(0.1, momentum=0.9), epochs=EPOCHS, batch_size=64)
model = uj.train(fn, data.train, recipe, key=jax.random.key(0))
request = uj.data.forget_class(data, 3)
oracle = uj.retrain(model, request, recipe, key=jax.random.key(2))


def show(name, params):
  scores = uj.audit(uj.Model(params, model.state, {}, fn), request, reference=oracle).scores
  print(f"{name:<32}" + "".join(f"{k} {scores[k]:6.1f}   " for k in ("UA", "RA", "TA", "gap")))


show("original", model.params)

# %% [markdown]
# ## One step
#
# `descend` takes one objective a role, makes one gradient of all of them, and hands it to any optax transformation.
# The result is a pure function `(state, batch, refs) -> (state, info)`.

# %%
two_roles = {"forget": objectives.random_label(fn, exclude_true=True), "retain": objectives.cross_entropy(fn)}
step = uj.descend(two_roles, optax.sgd(0.05, momentum=0.9), combine=uj.combine.weighted(forget=0.5, retain=1.0))


def run(step, refs=None, epochs=2):
  """Two passes over the retain set, each batch with as many rows to forget."""
  state = step.init(uj.UnlearnState.create(model.params, rng=jax.random.key(3), model_state=model.state))
  plan = uj.zip_roles(forget=request.forget, retain=request.retain, anchor="retain", batch_size=64, epochs=epochs)
  return uj.fit(step, state, plan, refs or {})


state, history = run(step)
show("random labels + retain", state.params)

# %% [markdown]
# ## Another combiner: the two gradients must not fight
#
# `pcgrad` takes from each gradient what opposes the other. Nothing else changes.

# %%
step = uj.descend(two_roles, optax.sgd(0.05, momentum=0.9), combine=uj.combine.pcgrad())
show("the same, without conflict", run(step)[0].params)

# %% [markdown]
# ## Another update rule: only the weights that matter for the forget set
#
# The statistic is a streaming pass over data (`fold`); the mask is an array in `refs`. It is the last link of the
# chain: there neither decay nor momentum can move a frozen weight.

# %%
score = uj.fold(uj.curvature.saliency(objectives.cross_entropy(fn, train=False)), model, request.forget)
mask = uj.curvature.top_saliency(score, density=0.3)
tx = optax.chain(optax.sgd(0.05, momentum=0.9), updates.mask_by("saliency"))
masked, _ = run(uj.descend(two_roles, tx), {"saliency": mask})
show("SalUn, by hand", masked.params)

moved = jax.tree.map(lambda a, b: jnp.sum(a != b), masked.params, model.params)
total = sum(x.size for x in jax.tree.leaves(model.params))
print(f"{sum(int(m) for m in jax.tree.leaves(moved)) / total:.0%} of the weights moved")

# %% [markdown]
# ## Another parameterization: LoRA
#
# `bind` turns a function of the weights into a function of the low-rank factors. The base model is a reference.

# %%
lora = uj.reparam.lora(rank=4, where=r"blocks/.*kernel")
phi, refs = lora.init(jax.random.key(4), model.params)
low_rank = lora.bind(fn)
step = uj.descend(
  {"forget": objectives.random_label(low_rank, exclude_true=True), "retain": objectives.cross_entropy(low_rank)},
  optax.adam(1e-2),
)
state = step.init(uj.UnlearnState.create(phi, rng=jax.random.key(3), model_state=model.state))
plan = uj.zip_roles(forget=request.forget, retain=request.retain, anchor="retain", batch_size=64, epochs=2)
state, _ = uj.fit(step, state, plan, refs)
show("random labels through LoRA", lora.merge(state.params, refs))

# %% [markdown]
# To give such a composition a name and the catalog's guarantees (one compilation, exact resume), write it as a factory:
# CONTRIBUTING.md has the skeleton.
