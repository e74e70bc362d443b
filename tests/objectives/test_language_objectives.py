from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_lm import bigram, bigram_model, bigram_params, sentences, view

from unlearnjax import objectives
from unlearnjax.core import Model, UnlearnState, descend, fold, role_batch

PARAMS = bigram_params(0)
REFS = {"reference": {"params": bigram_params(1)}, "control": jnp.arange(4.0)}
RMU = objectives.rmu(bigram, "embed")
ALL = {
  "nll": objectives.nll(bigram),
  "idk": objectives.nll(bigram, answers="alt"),
  "signed_nll": objectives.signed_nll(bigram),
  "wga": objectives.wga(bigram),
  "satimp": objectives.satimp(bigram),
  "ceu": objectives.ceu(bigram),
  "undial": objectives.undial(bigram),
  "kl_min": objectives.kl_min(bigram),
  "logit_margin": objectives.logit_margin(bigram),
  "rmu_forget": RMU["forget"],
  "rmu_retain": RMU["retain"],
  "npo": objectives.npo(bigram),
  "simnpo": objectives.simnpo(bigram),
  "idk_dpo": objectives.idk_dpo(bigram),
  "flat": objectives.flat(bigram),
}


FAST = ("nll", "npo", "rmu_forget", "flat")
EACH = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in ALL]


def batch_of(count=8, seed=0):
  source = sentences(count, seed=seed)
  return role_batch(source.replace(factor=np.where(np.arange(count) % 2, 1.0, -1.0).astype(np.float32)))


def padded(batch, columns=2, rows=2):
  """The batch with columns and rows of junk that nothing may read."""

  def wide(path, x):
    name = path[-1].key
    fill = {"mask": False, "alt_mask": False, "valid": False, "id": -1}.get(name, 3)
    x = jnp.concatenate([x, jnp.full((rows, *x.shape[1:]), True if name.endswith("mask") else fill, x.dtype)])
    return x if x.ndim == 1 else jnp.concatenate([x, jnp.full((x.shape[0], columns), fill, x.dtype)], 1)

  return jax.tree_util.tree_map_with_path(wide, batch)


@pytest.mark.parametrize("name", EACH)
def test_padding_of_rows_and_columns_changes_neither_value_nor_gradient(name):
  f = jax.value_and_grad(ALL[name], has_aux=True)
  (value, aux), slope = f(PARAMS, batch_of(), view(REFS))
  (other, other_aux), other_slope = f(PARAMS, padded(batch_of()), view(REFS))
  np.testing.assert_allclose(other, value, rtol=1e-5)
  assert other_aux["weight"] == aux["weight"] > 0
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), slope, other_slope)
  assert any(np.any(x) for x in jax.tree.leaves(slope)), "an objective without a gradient"


@pytest.mark.parametrize("name", EACH)
def test_microbatches_of_unequal_token_counts_add_up_to_the_whole(name):
  after = {}
  for parts in (None, 4):
    step = descend({"r": ALL[name]}, optax.sgd(0.1), microbatch=parts)
    state = step.init(UnlearnState.create(PARAMS, rng=jax.random.key(0)))
    state, info = step.update(state, {"r": batch_of()}, REFS)
    after[parts] = state.params, info["r/loss"]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), *after.values())


def test_the_likelihood_is_that_of_a_loop_over_tokens():
  batch = batch_of(4)
  logp = np.log(np.asarray(jax.nn.softmax(PARAMS["embed"] @ PARAMS["head"])))
  tokens, mask = np.asarray(batch["inputs"]["tokens"]), np.asarray(batch["mask"])
  rows = [sum(logp[t[i - 1], t[i]] for i in range(1, len(t)) if m[i]) for t, m in zip(tokens, mask)]
  value, aux = ALL["nll"](PARAMS, batch, view())
  np.testing.assert_allclose(value, -sum(rows) / mask.sum(), rtol=1e-5)
  assert aux["weight"] == mask.sum()
  aligned, _ = objectives.answer(bigram, PARAMS, batch, view(), train=False)
  np.testing.assert_allclose(objectives.row_logp(aligned), rows, rtol=1e-5)


def test_the_first_token_is_never_predicted():
  batch = batch_of(3)
  first = {**batch, "mask": batch["mask"].at[:, 0].set(True)}
  np.testing.assert_allclose(ALL["nll"](PARAMS, first, view())[0], ALL["nll"](PARAMS, batch, view())[0])


def test_a_cached_column_gives_what_the_reference_gives():
  reference = Model(REFS["reference"]["params"], fn=bigram)
  source = objectives.with_reference(reference, sentences(8))
  source = objectives.with_reference(reference, source, answers="alt")
  cached = role_batch(source)
  for name in ("npo", "idk_dpo"):
    with_refs = jax.value_and_grad(ALL[name], has_aux=True)(PARAMS, role_batch(sentences(8)), view(REFS))
    with_column = jax.value_and_grad(ALL[name], has_aux=True)(PARAMS, cached, view())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), with_refs, with_column)


def test_the_cached_column_follows_selections_and_batches_of_any_size():
  table = sentences(11)
  chosen = table[np.array([7, 2, 9, 4, 1])]
  whole = objectives.with_reference(bigram_model(), table).column("ref_logp")
  part = objectives.with_reference(bigram_model(), chosen).column("ref_logp")
  np.testing.assert_allclose(part, whole[[7, 2, 9, 4, 1]], rtol=1e-6)


def test_per_row_keeps_trees_in_order():
  score = lambda model, batch: {"id": batch["id"], "twice": 2.0 * batch["inputs"]["tokens"]}
  like = {"id": jax.ShapeDtypeStruct((), jnp.int32), "twice": jax.ShapeDtypeStruct((7,), jnp.float32)}
  found = fold(objectives.per_row(score, like, 5), bigram_model(), sentences(5), batch_size=3)
  assert found["id"].tolist() == [0, 1, 2, 3, 4]
  np.testing.assert_array_equal(found["twice"], 2 * sentences(5).column("tokens"))


def test_npo_and_dpo_start_at_their_closed_values():
  same = {"reference": {"params": PARAMS}}
  for name in ("npo", "idk_dpo"):
    np.testing.assert_allclose(ALL[name](PARAMS, batch_of(), view(same))[0], 20 * np.log(2), rtol=1e-6)
  step = jax.grad(ALL["npo"], has_aux=True)(PARAMS, batch_of(), view(same))[0]
  ascent = jax.grad(
    lambda p: jnp.mean(objectives.row_logp(objectives.answer(bigram, p, batch_of(), view(), train=False)[0]))
  )
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), step, ascent(PARAMS))


def test_signed_rows_train_and_ascend():
  batch = batch_of()
  ones = {**batch, "factor": jnp.ones(8)}
  minus = {**batch, "factor": -jnp.ones(8)}
  up, down = (ALL["signed_nll"](PARAMS, b, view())[0] for b in (ones, minus))
  assert up == -down > 0


def test_the_divergence_vanishes_at_the_reference():
  same = {"reference": {"params": PARAMS}, "control": REFS["control"]}
  for name in ("kl_min", "rmu_retain"):
    value, slope = jax.value_and_grad(lambda p, n=name: ALL[n](p, batch_of(), view(same))[0])(PARAMS)
    np.testing.assert_allclose(value, 0, atol=1e-6)
    jax.tree.map(lambda g: np.testing.assert_allclose(g, 0, atol=1e-6), slope)


def test_random_tokens_are_drawn_anew_and_uniformly():
  objective = objectives.random_tokens(bigram)
  values = [float(objective(PARAMS, batch_of(64), view(seed=s))[0]) for s in (0, 0, 1)]
  assert values[0] == values[1] != values[2]
  logp = jax.nn.log_softmax(PARAMS["embed"] @ PARAMS["head"])
  batch = batch_of(64)
  want = -np.asarray(logp)[np.asarray(batch["inputs"]["tokens"])[:, :-1]].mean(-1)[np.asarray(batch["mask"])[:, 1:]]
  np.testing.assert_allclose(np.mean(values[1:]), want.mean(), rtol=0.15)


def test_alternative_answers_are_read_from_their_columns():
  batch = batch_of()
  swapped = {**batch, "inputs": {"tokens": batch["alt_tokens"]}, "mask": batch["alt_mask"]}
  np.testing.assert_allclose(ALL["idk"](PARAMS, batch, view())[0], ALL["nll"](PARAMS, swapped, view())[0], rtol=1e-6)


def test_errors_name_what_is_missing():
  batch = batch_of()
  with pytest.raises(ValueError, match="the role batch has no column 'ref_logp' .* and refs no 'reference'"):
    ALL["npo"](PARAMS, batch, view())
  with pytest.raises(ValueError, match="no column 'mask'"):
    ALL["nll"](PARAMS, {k: v for k, v in batch.items() if k != "mask"}, view())
  with pytest.raises(ValueError, match="no column 'idk_tokens'"):
    objectives.nll(bigram, answers="idk")(PARAMS, batch, view())
  with pytest.raises(ValueError, match="compat must be one of None, open_unlearning; got 'muse'"):
    objectives.kl_min(bigram, compat="muse")
  with pytest.raises(ValueError, match="beta must be > 0"):
    objectives.npo(bigram, 0.0)
  with pytest.raises(ValueError, match="refs has no 'reference'"):
    ALL["undial"](PARAMS, batch, view())
