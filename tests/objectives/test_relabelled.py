"""False labels and replaced tokens."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_lm import VOCABULARY, bigram, bigram_model, bigram_params, sentences, view

from unlearnjax import losses, objectives
from unlearnjax.core import role_batch
from unlearnjax.objectives.relabelled import replaced

DATA = sentences(9, alternatives=False)
MODEL = bigram_model()


def test_the_true_tokens_as_labels_are_the_plain_loss_of_answers():
  same = role_batch(DATA.replace(labels=DATA.column("tokens")))
  value, aux = objectives.false_nll(bigram)(MODEL.params, same, view())
  want, _ = objectives.signed_nll(bigram, factor=1.0)(MODEL.params, same, view())
  np.testing.assert_allclose(value, want, rtol=1e-6)
  assert float(aux["weight"]) == 9


def test_a_number_as_factor_is_a_column_of_it():
  batch = role_batch(DATA.replace(factor=np.full(9, -1.0, np.float32)))
  column, number = (objectives.signed_nll(bigram, factor=f)(MODEL.params, batch, view())[0] for f in ("factor", -1.0))
  assert float(column) == float(number) < 0


def test_adversarial_tokens_are_the_likeliest_but_never_the_true_ones():
  labels = objectives.with_adversarial_tokens(MODEL, DATA).column("labels")
  tokens = DATA.column("tokens")
  assert (labels[:, 1:] != tokens[:, 1:]).all()
  logits = np.array(MODEL({"tokens": jnp.asarray(tokens)}).logits[:, :-1])
  np.put_along_axis(logits, tokens[:, 1:, None], -np.inf, axis=-1)
  np.testing.assert_array_equal(labels[:, 1:], logits.argmax(-1))


def test_random_tokens_are_drawn_once_from_the_whole_vocabulary():
  draw = lambda seed: objectives.with_random_tokens(MODEL, DATA, key=jax.random.key(seed)).column("labels")
  np.testing.assert_array_equal(draw(0), draw(0))
  assert (draw(0) != draw(1)).any() and set(draw(0).ravel().tolist()) == set(range(VOCABULARY))


def test_half_of_the_answer_is_replaced_and_nothing_else():
  batch = role_batch(sentences(40, length=12, seed=3, alternatives=False))
  tokens, inner = batch["inputs"]["tokens"], losses.drop_last(batch["mask"])
  found = replaced(batch, 1000, 0.5, jax.random.key(0))
  changed = np.asarray(found != tokens)
  assert not (changed & ~np.asarray(inner)).any()
  count = np.asarray(inner.sum(-1)) // 2
  assert (changed.sum(-1) <= count).all() and changed.sum() > 0.9 * count.sum()  # a draw may be the same token
  assert (np.asarray(found)[changed] < 1000).all()


def test_the_noisy_loss_is_the_mean_over_its_copies_and_exact_in_parts():
  batch, params = role_batch(DATA), bigram_params()
  noisy = objectives.noisy_nll(bigram, copies=2)
  value, aux = noisy(params, batch, view())
  again, other = noisy(params, batch, view())[0], noisy(params, batch, view(seed=1))[0]
  assert float(value) == float(again) != float(other) and float(aux["weight"]) == 9
  plain = objectives.signed_nll(bigram, factor=1.0)(params, batch, view())[0]
  whole = objectives.noisy_nll(bigram, fraction=1e-6, copies=1)(params, batch, view())[0]  # floor(1e-6 n) is 0
  np.testing.assert_allclose(whole, plain, rtol=1e-6)
  with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\], got 0"):
    objectives.noisy_nll(bigram, fraction=0)
