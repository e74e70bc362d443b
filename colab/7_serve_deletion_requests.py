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
# # Serve deletion requests, with receipts
#
# **What it shows**: one stream of learn and forget requests against one state, a receipt for each in a hash-chained
# ledger, and what happens when somebody edits it. **Run time**: a minute on two CPU cores. **What to change**: the
# method (`sisa` is exact; `with_learning(salun(...))` is empirical), the stream, the predicate.

# %%
import json
import os
import pathlib
import tempfile

import jax
import numpy as np
import optax

import unlearnjax as uj
from unlearnjax import serving

FAST = bool(os.environ.get("UNLEARNJAX_FAST"))
data = uj.data.load("digits")
fn = uj.models.make("mlp", input_shape=data.input_shape, num_outputs=data.num_classes)
recipe = uj.Recipe(optax.sgd(0.1, momentum=0.9), epochs=2 if FAST else 15, batch_size=64)
method = uj.methods.sisa(shards=3, slices=2, recipe=recipe)

# %% [markdown]
# ## The stream
#
# Requests name examples by id, or by a predicate over what is known when the request arrives.

# %%
stream = [
  uj.Learn(uj.Task("all of it", 0, data.train), name="first"),
  uj.Forget([3, 4, 5], reason="user 17 asked", name="user-17"),
  uj.Forget(where=lambda rows: rows.column("y") == 8, reason="the class is withdrawn", name="no-eights"),
  uj.Forget([4], reason="user 17 asked again", name="user-17-again"),
]
out = pathlib.Path(tempfile.mkdtemp())
model = fn.init(jax.random.key(0))
service = uj.serve(method, model, stream, uj.Run(out=out), key=jax.random.key(1))
with service:
  for receipt in service:
    kind = receipt.guarantee["kind"] if receipt.guarantee else "-"
    print(f"{receipt.request:<14} {receipt.outcome:<18} {receipt.affected:>5} examples   guarantee: {kind}")

# %% [markdown]
# ## What a receipt holds

# %%
print(
  json.dumps({k: receipt._asdict()[k] for k in ("seq", "request", "reason", "outcome", "detail", "ids_hash")}, indent=1)
)

# %% [markdown]
# ## Running it again changes nothing
#
# The same stream after a crash, or by mistake: what was answered gets the same receipt, what was accepted and not done
# is done first.

# %%
before = (out / "ledger.jsonl").read_bytes()
with uj.serve(method, model, stream, uj.Run(out=out), key=jax.random.key(1)) as service:
  again = list(service)
assert (out / "ledger.jsonl").read_bytes() == before
print(len(again), "receipts, the ledger is the same to the byte")

# %% [markdown]
# ## The proof of exactness
#
# SISA's guarantee is that its members are those that training without the data gives, bit by bit.

# %%
gone = np.isin(data.train.ids, [3, 4, 5]) | (data.train.column("y") == 8)
kept = uj.Task("all of it", 0, data.train.where(~gone))
*_, without = uj.learn(method, model, [kept], key=jax.random.key(1))
same = [
  bool((a == b).all()) for a, b in zip(jax.tree.leaves(service.model.params), jax.tree.leaves(without.model.params))
]
print("bit-equal to learning without the data:", all(same))
assert all(same)

# %% [markdown]
# ## Tampering is found
#
# Each line holds the hash of the one before it. On the command line: `python -m unlearnjax ledger verify DIR`.

# %%
lines = (out / "ledger.jsonl").read_text().splitlines()
forged = [lines[0], lines[1].replace("user 17 asked", "user 18 asked"), *lines[2:]]
(out / "ledger.jsonl").write_text("\n".join(forged) + "\n")
try:
  serving.verify_directory(out)
except serving.LedgerError as error:
  print("found:", error)
(out / "ledger.jsonl").write_bytes(before)
