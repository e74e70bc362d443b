from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common_paths import golden
from toy_lm import bigram, bigram_model, bigram_params, sentences

from unlearnjax import attacks, losses, metrics
from unlearnjax.core import Examples, Model, Outputs


@pytest.fixture(scope="module")
def figures():
  return golden("open_unlearning_metrics")


def shifted(params, inputs, **_):
  """The golden model: rows of W, and logits that do not depend on it."""
  return Outputs(params["W"][inputs["tokens"]] + inputs["cond"])


def texts(z, role):
  """The reference's tokenizer wrote token 7 as w7."""
  rows = zip(z[f"in_{role}_ids"], z[f"in_{role}_labels"] != -100)
  return [" ".join(f"w{t}" for t in ids[keep]) for ids, keep in rows]


@pytest.mark.golden
def test_membership_scores_of_the_reference_implementation(figures):
  z, found = figures, {}
  for role in ("forget", "holdout"):
    ids, labels = z[f"in_{role}_ids"], z[f"in_{role}_labels"]
    logits, targets, mask = losses.next_tokens(*(jnp.asarray(x) for x in (z[f"in_{role}_logits"], ids, labels != -100)))
    nll = losses.token_nll(logits, targets, mask)
    mean_nll, scored = losses.reduce_seq_mean(nll, mask), losses.drop_last(mask)
    ref_logits = losses.next_tokens(jnp.asarray(z[f"in_{role}_ref_logits"]), jnp.asarray(ids)).logits
    ref = losses.reduce_seq_mean(losses.token_nll(ref_logits, targets, mask), mask)
    table = Examples({"tokens": ids, "mask": labels != -100, "cond": z[f"in_{role}_logits"] - z["in_W"][ids]})
    found[role] = {
      "loss": mean_nll,
      "zlib": attacks.zlib_score(mean_nll, texts(z, role)),
      "min_k": attacks.min_k(-nll, scored, 0.4),
      "min_k_plus_plus": attacks.min_k_plus_plus(logits, targets, scored, 0.4),
      "reference": attacks.reference_score(mean_nll, ref),
      "gradnorm": attacks.gradient_norm(Model({"W": jnp.asarray(z["in_W"])}, fn=shifted), table),
    }
    for name, score in found[role].items():
      np.testing.assert_allclose(score, z[f"out_mia_{name}_{role}"], rtol=3e-4, atol=3e-4, err_msg=name)
  for name in found["forget"]:
    auc = attacks.membership_auc(found["forget"][name], found["holdout"][name])
    np.testing.assert_allclose(auc, z[f"out_mia_{name}_auc"], atol=1e-9, err_msg=name)
    swapped = attacks.membership_auc(found["holdout"][name], found["forget"][name])
    np.testing.assert_allclose(swapped, 1 - auc, atol=1e-9)


def test_min_k_limits():
  logp = jnp.array([[-0.1, -0.2, -3.0, -0.5, -1.0, 9.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
  mask = jnp.array([[True] * 5 + [False], [False] * 6])
  for fraction, want in ((0.4, 2.0), (0.2, 3.0), (0.1, 3.0), (1.0, 0.96)):
    np.testing.assert_allclose(attacks.min_k(logp, mask, fraction), [want, 0.0], rtol=1e-6)
  ones = jnp.ones((1, 100), bool)
  found = attacks.min_k(-jnp.arange(100.0)[None], ones, 0.29)[0]
  assert float(found) == np.mean(np.arange(100)[-28:])  # int(0.29 * 100) is 28
  with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\]"):
    attacks.min_k(logp, mask, 40)


def test_min_k_plus_plus_of_a_uniform_prediction_is_finite_and_equals_that_of_the_pass():
  uniform = attacks.min_k_plus_plus(jnp.zeros((1, 3, 5)), jnp.zeros((1, 3), int), jnp.ones((1, 3), bool))
  np.testing.assert_allclose(uniform, 0, atol=1e-3)
  table = sentences(6)
  scores = metrics.answer_scores(bigram_model(), table)
  logits = bigram(bigram_params(), {"tokens": table.column("tokens")}).logits
  parts = losses.next_tokens(logits, table.column("tokens"), table.column("mask"))
  np.testing.assert_allclose(attacks.min_k(scores.normalized, scores.mask), attacks.min_k_plus_plus(*parts), rtol=1e-4)


def test_a_model_trained_on_a_text_gives_it_away_and_a_retrained_one_does_not():
  rng = np.random.default_rng(0)
  members, others = rng.integers(0, 9, (2, 40, 6))
  fit = np.zeros((9, 9))
  np.add.at(fit, (members[:3, :-1].ravel(), members[:3, 1:].ravel()), 3.0)  # it learned three texts by heart
  table = lambda tokens: Examples({"tokens": tokens.astype(np.int32), "mask": np.ones(tokens.shape, bool)})
  fn = lambda params, inputs, **_: Outputs(params[inputs["tokens"]])
  auc = lambda params: attacks.membership_auc(
    *(metrics.answer_scores(Model(jnp.asarray(params), fn=fn), table(t)).mean_nll for t in (members[:3], others))
  )
  assert auc(fit) > 0.95
  assert auc(np.zeros((9, 9))) == 0.5
  assert metrics.priv_leak(auc(fit), auc(np.zeros((9, 9)))) < -90


@pytest.mark.parametrize("fmt", ["absmax", "nf4"])
@pytest.mark.parametrize("block", [None, 8])
def test_quantisation_is_idempotent_and_bounded(fmt, block):
  params = {"a": {"kernel": jax.random.normal(jax.random.key(0), (6, 10))}, "b": {"bias": jnp.array([0.3])}}
  once = attacks.quantize(params, 4, block=block, fmt=fmt)
  twice = attacks.quantize(once, 4, block=block, fmt=fmt)
  np.testing.assert_allclose(once["a"]["kernel"], twice["a"]["kernel"], rtol=1e-6)
  assert attacks.code_agreement(once, twice, block=block, fmt=fmt) == 1.0
  assert once["b"]["bias"] == params["b"]["bias"]
  w = np.asarray(params["a"]["kernel"])
  top = np.abs(w).max(0) if block is None else np.abs(w).max()
  step = top / 7 if fmt == "absmax" else 0.31 * top  # the widest gap of nf4's levels is 0.304
  assert (np.abs(w - once["a"]["kernel"]) <= step / 2 + 1e-6).all()
  if block is None:  # the largest weight of a channel is represented exactly
    error = w - np.asarray(once["a"]["kernel"])
    np.testing.assert_array_equal(np.take_along_axis(error, np.abs(w).argmax(0)[None], 0), 0)


def test_more_bits_are_nearer_and_zero_channels_survive():
  w = {"kernel": jax.random.normal(jax.random.key(1), (50, 4)).at[:, 0].set(0.0)}
  errors = [float(jnp.abs(attacks.quantize(w, bits)["kernel"] - w["kernel"]).max()) for bits in (3, 4, 8, 16)]
  assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-4
  assert not np.any(attacks.quantize(w, 4)["kernel"][:, 0])
  half = attacks.quantize({"kernel": w["kernel"].astype(jnp.bfloat16)}, 4)["kernel"]
  assert half.dtype == jnp.bfloat16


def test_small_changes_vanish_in_the_rounding_and_large_ones_do_not():
  original = {"kernel": jax.random.normal(jax.random.key(0), (200, 20))}
  noise = jax.random.normal(jax.random.key(1), (200, 20))
  moved = lambda size: {"kernel": original["kernel"] + size * noise}
  agreement = [attacks.code_agreement(moved(size), original) for size in (0.0, 1e-3, 0.3)]
  assert agreement[0] == 1.0 and agreement[1] > 0.95 and agreement[2] < 0.7


def test_layers_of_a_stack_are_rounded_each_by_itself():
  stack = jax.random.normal(jax.random.key(0), (3, 6, 4)) * jnp.array([1.0, 10.0, 100.0])[:, None, None]
  together = attacks.quantize({"kernel": stack}, 4, input_axes=1)["kernel"]
  for layer in range(3):
    np.testing.assert_array_equal(together[layer], attacks.quantize({"kernel": stack[layer]}, 4)["kernel"])
  assert not np.any(attacks.quantize({"kernel": stack}, 4)["kernel"][0])  # one scale for all drowns the first


def test_quantisation_errors():
  with pytest.raises(ValueError, match="where='q' matches no leaf of two axes or more; the leaves are kernel"):
    attacks.quantize({"kernel": jnp.eye(2)}, where="q")
  with pytest.raises(ValueError, match=r"bits must be in \[2, 16\], and 4 for nf4; got 8"):
    attacks.quantize({"kernel": jnp.eye(2)}, 8, fmt="nf4")
  with pytest.raises(ValueError, match=r"input_axes must be in \[1, 1\]"):
    attacks.quantize({"kernel": jnp.eye(2)}, input_axes=2)


def test_the_lens_of_the_last_layer_is_the_model():
  params = bigram_params()
  tokens = jnp.array([[1, 2, 3]])
  out = bigram(params, {"tokens": tokens}, capture=("embed",))
  np.testing.assert_allclose(attacks.logit_lens(out.hidden["embed"], params["head"]), out.logits, rtol=1e-6)
  ranks = attacks.answer_rank(out.logits, jnp.argmax(out.logits, -1))
  assert ranks.shape == (1, 3) and not np.any(ranks)
  with pytest.raises(ValueError, match=r"unembed must be \[d, V\] with d = 4"):
    attacks.logit_lens(out.hidden["embed"], params["head"].T)


def test_probes_find_what_is_there_and_nothing_where_nothing_is():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 2, 300)
  known, unknown = rng.normal(size=(2, 300, 5))
  known[:, 2] += 4 * labels
  halves = lambda x: ((x[:150], labels[:150]), (x[150:], labels[150:]))
  assert attacks.linear_probe(*halves(known)).accuracy > 0.95
  assert abs(attacks.linear_probe(*halves(known)).control - 0.5) < 0.2
  assert abs(attacks.linear_probe(*halves(unknown)).accuracy - 0.5) < 0.15
  with pytest.raises(ValueError, match="train must hold at least two classes"):
    attacks.linear_probe((known, np.zeros(300)), (known, labels))


def test_removing_the_direction_of_suppression_brings_the_activations_back():
  rng = np.random.default_rng(0)
  before = jnp.asarray(rng.normal(size=(20, 6)), jnp.float32)
  push = jnp.zeros(6).at[2].set(50.0)
  r = attacks.suppression_direction(before + push, before)
  np.testing.assert_allclose(r, push / 50, atol=1e-5)
  remove = attacks.without_direction(r)
  np.testing.assert_allclose(remove(before + push) @ r, 0, atol=1e-4)
  np.testing.assert_allclose(remove(remove(before)), remove(before), atol=1e-6)
  np.testing.assert_allclose(remove(before + push), remove(before), atol=1e-4)
  assert not np.any(attacks.suppression_direction(before, before))
