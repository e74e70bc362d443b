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
# # Forget from a language model
#
# **What it shows**: a small Transformer learns facts about people who do not exist, and must forget some of them:
# gradient ascent, NPO, and NPO through LoRA against the model that was trained again, with TOFU's measures and under
# two attacks. **Run time**: about two minutes on two CPU cores. **What to change**: `METHODS`, their learning rates,
# the number of authors; the last section has the same with TOFU's files and a checkpoint from Hugging Face.
#
# On a fresh machine: `pip install "unlearnjax[lm]"`, or `pip install -e ".[lm]"` in a checkout.

# %%
import os

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax

import unlearnjax as uj
from unlearnjax import attacks, losses, metrics, models, objectives, reparam, updates

FAST = bool(os.environ.get("UNLEARNJAX_FAST"))  # the tests run this notebook with little training
AUTHORS, FORGOTTEN, WRONG = (10, 2, 1) if FAST else (40, 8, 3)
EPOCHS = 4 if FAST else 30

# %% [markdown]
# ## Questions
#
# Ten facts about each author, drawn independently: what is known of one author tells nothing of another. Each question
# comes with its answer, the same answer in other words, and wrong answers: that is what the truth ratio needs.

# %%
rows = uj.data.fictitious_authors(AUTHORS, seed=0, wrong=WRONG)
for row in rows[:2]:
  print(f"{row.question}\n  answer      {row.answer}\n  paraphrase  {row.paraphrase}\n  wrong       {row.wrong[0]}")

tokenizer = models.train_words(uj.data.texts_of(rows), 4096)
table = uj.data.answers_table(rows, tokenizer)
gone = table.column("subject") >= AUTHORS - FORGOTTEN
forget, retain = table.where(gone), table.where(~gone)
request = uj.ForgetRequest(forget, retain, reason="these authors asked to be forgotten")
print(len(forget), "questions to forget,", len(retain), "to retain,", tokenizer.vocab_size, "tokens")

# %% [markdown]
# ## The model and its oracle
#
# `objectives.nll` is the negative log-likelihood of the answer's tokens. The oracle has never seen the forgotten
# authors.

# %%
shape = dict(dim=32, depth=1, heads=2) if FAST else dict(dim=64, depth=2, heads=4)
fn = models.transformer("llama", vocab_size=tokenizer.vocab_size, **shape)
tx = optax.chain(
  optax.clip_by_global_norm(1.0), optax.adamw(5e-3, weight_decay=0.01), updates.by_progress(updates.cosine())
)
recipe = uj.Recipe(tx, epochs=EPOCHS, batch_size=32, objective=objectives.nll)
original = uj.train(fn, table, recipe, key=jax.random.key(0))
oracle = uj.retrain(original, request, recipe, key=jax.random.key(1))

# %% [markdown]
# ## Three methods
#
# Gradient ascent is unbounded: it destroys the model if nothing stops it. NPO's push fades as an answer becomes less
# likely than it was, and a retain term holds the rest in place. `methods.through` runs a method, any method, on another
# parameterization: here only low-rank factors are trained, and merged in the end.

# %%
passes = dict(epochs=2 if FAST else 8, batch_size=16)
step = lambda rate: optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=0.0))
npo = uj.methods.language.npo
METHODS = {
  "gradient_ascent": uj.methods.language.gradient_ascent(tx=step(1e-3), **passes),
  "npo": npo(tx=step(1e-3), retain="nll", **passes),
  "npo_lora": uj.methods.through(
    reparam.lora(rank=4, where=r"blocks/.*kernel"), npo(tx=step(2e-3), retain="nll", **passes)
  ),
}
results = {name: uj.forget(method, original, request, key=jax.random.key(2)) for name, method in METHODS.items()}
MODELS = {"original": original, "retrain": oracle, **{name: result.model for name, result in results.items()}}

# %% [markdown]
# ## TOFU's measures
#
# * `P`: probability of the answer, its length taken out, on the forget and the retain set.
# * `TR`: the truth ratio, how much wrong answers are preferred to a right one; 1 for a model that cannot tell.
# * `log10 p`: forget quality, whether the truth ratios can be told from the oracle's; 0 is best, -1.3 is p = .05.
# * `ES`: extraction strength, the part of the answer that comes by itself once the rest is given.


# %%
def probabilities(model):
  """In percent, of every answer of the table."""
  return 100 * np.asarray(metrics.answer_probability(metrics.answer_scores(model, table).mean_nll))


def truth_ratios(model):
  right = metrics.answer_scores(model, forget, answers="paraphrase").mean_nll
  wrong = [metrics.answer_scores(model, forget, answers=f"wrong{j}").mean_nll for j in range(WRONG)]
  return np.asarray(metrics.truth_ratio(right, np.stack(wrong, axis=-1)))


def extraction(model):
  said = metrics.answer_scores(model, table)
  inner = losses.drop_last(said.mask)  # the end of an answer is always easy
  return 100 * np.asarray(metrics.extraction_strength(said.correct, inner))


ratios = {name: truth_ratios(model) for name, model in MODELS.items()}
known = {name: probabilities(model) for name, model in MODELS.items()}
print(f"{'':<16}{'P forget':>10}{'P retain':>10}{'TR':>8}{'log10 p':>9}{'ES':>8}")
for name, model in MODELS.items():
  quality = metrics.forget_quality(ratios[name], ratios["retrain"])
  print(
    f"{name:<16}{known[name][gone].mean():>10.1f}{known[name][~gone].mean():>10.1f}"
    f"{np.median(ratios[name]):>8.2f}{quality.log10_p:>9.1f}{extraction(model)[gone].mean():>8.1f}"
  )

# %% [markdown]
# ## Two attacks
#
# Was it forgotten, or only hidden? *Relearning* trains for a few steps on one half of the forgotten questions and asks
# for the other half; the oracle shows what training on the first half teaches anyway. *Rounding* the weights to 4 bits
# undoes small changes; the retain set tells whether the rounded model still works at all.

# %%
relearner = uj.descend({"train": objectives.nll(fn)}, optax.adam(1e-3))


def relearned(model):
  state = relearner.init(uj.UnlearnState.create(model.params, rng=jax.random.key(4)))
  state, _ = uj.fit(relearner, state, uj.zip_roles(train=forget[::2], batch_size=16, epochs=4))
  return model.replace(params=state.params)


def rounded(model):
  return model.replace(params=attacks.quantize(model.params, 4, where=r"blocks/.*kernel", input_axes=1))


other = np.flatnonzero(gone)[1::2]
attacked = {}
print(f"{'':<16}{'other half':>12}{'relearned':>11}{'4 bits':>9}{'4 bits, retain':>16}")
for name, model in MODELS.items():
  again, small = probabilities(relearned(model)), probabilities(rounded(model))
  attacked[name] = known[name][other].mean(), again[other].mean(), small[gone].mean()
  print(f"{name:<16}" + "{:>12.1f}{:>11.1f}{:>9.1f}".format(*attacked[name]) + f"{small[~gone].mean():>16.1f}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
for name, ratio in ratios.items():
  left.plot(np.sort(np.log10(ratio)), np.linspace(0, 1, len(ratio)), label=name)
left.set(title="truth ratios on the forget set", xlabel="log10 of the ratio", ylabel="share of questions below")
left.legend(fontsize=7)
places = np.arange(len(attacked))
for i, label in enumerate(("as it is", "relearned", "4 bits")):
  right.bar(places + 0.25 * (i - 1), [values[i] for values in attacked.values()], width=0.25, label=label)
right.set_xticks(places, list(attacked), rotation=20, fontsize=7)
right.set_title("P of forgotten answers, %")
right.legend(fontsize=7)
figure.tight_layout()
plt.show()

# %% [markdown]
# ## The same with TOFU and a checkpoint
#
# With TOFU's files in `$UNLEARNJAX_DATA/tofu` and a model in a directory as Hugging Face lays it out (`config.json`,
# `*.safetensors`, `tokenizer.json`), the first cells become
#
# ```python
# tofu = uj.data.load_tofu("forget10")
# tokenizer = models.load_tokenizer("path/to/checkpoint")
# original = models.load_hf("path/to/checkpoint", dtype="bfloat16", remat=True)
# rows = [*tofu.forget, *tofu.retain]
# table = uj.data.answers_table(rows, tokenizer, refusals=tofu.refusals)
# request = uj.ForgetRequest(table[: len(tofu.forget)], table[len(tofu.forget) :])
# lora = reparam.lora(rank=8, where=r"blocks/attn/(q|v)/kernel")
# method = uj.methods.through(lora, npo(tx=optax.adamw(1e-4), epochs=5))
# result = uj.forget(method, original, request, key=jax.random.key(0), run=uj.Run(out="runs/tofu", progress=True))
# models.save_hf(result.model, "path/to/unlearned", like="path/to/checkpoint")
# ```
#
# and everything above stays as it is, with `WRONG = 5`, as TOFU has five wrong answers for each question. `load_hf(...,
# mesh=...)` and `Run(mesh=...)` spread a model over devices: see [6_sharding](6_sharding.ipynb). The whole benchmark is
# `python -m experiments.language.run --config=tofu` in a checkout.
