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
# # Forget a class in five minutes
#
# **What it shows**: train a classifier, forget one class with several methods, and compare each with the model that was
# trained again without that class. **Run time**: about a minute on two CPU cores. **What to change**: `DATASET`,
# `CLASS`, and the methods in `METHODS`.
#
# On a fresh machine: `pip install -e .` in a checkout.

# %%
import os

import jax
import matplotlib.pyplot as plt
import optax

import unlearnjax as uj

FAST = bool(os.environ.get("UNLEARNJAX_FAST"))  # the tests run this notebook with little training
DATASET, CLASS = "digits", 3
EPOCHS = 5 if FAST else 30

# %% [markdown]
# ## A trained model
#
# A model is a value: parameters, state and a pure function. `fn` can come from Flax NNX, Linen or be written by hand.

# %%
data = uj.data.load(DATASET)
fn = uj.models.make("mlp", input_shape=data.input_shape, num_outputs=data.num_classes)
recipe = uj.Recipe(optax.sgd(0.1, momentum=0.9), epochs=EPOCHS, batch_size=64)
model = uj.train(fn, data.train, recipe, key=jax.random.key(0))

# %% [markdown]
# ## A request
#
# What to forget, what to retain, and what to measure on. All of them are selections of one table.

# %%
request = uj.data.forget_class(data, CLASS)
print(len(request.forget), "examples to forget,", len(request.retain), "to retain")

# %% [markdown]
# ## The oracle, and the methods
#
# Unlearning is judged against the model that never saw the forget set. The attacker's scores (`MIA`) ask whether the
# forget set can be told from data that was never trained on.

# %%
oracle = uj.retrain(model, request, recipe, key=jax.random.key(2))

step = optax.sgd(0.05, momentum=0.9)
METHODS = {
  "fine_tune": uj.methods.fine_tune(tx=step, epochs=2),
  "gradient_ascent": uj.methods.gradient_ascent(tx=optax.sgd(0.01), epochs=3),
  "salun": uj.methods.salun(tx=step, epochs=2, batch_size=64, exclude_true=True),
  "ssd": uj.methods.ssd(),
}
results = {name: uj.forget(method, model, request, key=jax.random.key(1)) for name, method in METHODS.items()}
audits = {name: uj.audit(result.model, request, reference=oracle) for name, result in results.items()}

# %%
columns = ("UA", "RA", "TA", "MIA", "gap")
print(f"{'':<18}" + "".join(f"{c:>8}" for c in columns) + f"{'gradients':>12}")
for name, audit in {"retrain": uj.audit(oracle, request, reference=oracle), **audits}.items():
  cost = results[name].cost["gradient_evaluations"] if name in results else EPOCHS * len(request.retain)
  print(f"{name:<18}" + "".join(f"{audit.scores[c]:>8.1f}" for c in columns) + f"{cost:>12}")

# %% [markdown]
# `UA` is the share of the forget set that is now wrong, `RA` and `TA` are accuracies on the retain and test sets, `gap`
# is the mean distance to the oracle in points: lower is better.
#
# ## Where the confidence went
#
# A good method leaves the forget set looking like unseen data, not like data that is suspiciously wrong.

# %%
figure, axes = plt.subplots(1, len(audits), figsize=(3 * len(audits), 2.4), sharey=True)
for axis, (name, audit) in zip(axes, audits.items()):
  for part, confidence in audit.confidences.items():
    axis.hist(confidence, bins=20, range=(0, 1), density=True, histtype="step", label=part)
  axis.set(title=name, xlabel="probability of the true class")
axes[0].legend(fontsize=7)
figure.tight_layout()
plt.show()
