"""Knowledge unlearning stops where its texts are no more extractable than others; false labels forget."""

from __future__ import annotations

import logging

import jax
import numpy as np
import optax
import pytest
from toy_asked import ASK, told

from unlearnjax import methods, metrics, objectives
from unlearnjax.core import History, Run, as_examples, forget
from unlearnjax.core.chunk import run_chunk
from unlearnjax.methods.language.knowledge import Thresholds, not_extractable

KEY = jax.random.key(0)
SETTINGS = dict(n=2, tx=optax.adam(2e-2), batch_size=8, prefixes=3)  # one optimizer and size: tests share a program


def scores(model, source):
  said = metrics.answer_scores(model, source)
  el = metrics.extraction_likelihoods(model, source, n=2, prefixes=3)
  return np.nanmean(el), np.mean(metrics.exact_memorization(said.correct, said.mask))


def few():
  """A model, and the request to forget every third row: 7, which are one batch and ask all three questions."""
  model, request = told()
  return model, request._replace(forget=request.forget[::3])


def run(method, request=None, out=None):
  model, asked = few()
  histories = {}
  run = Run(out=out, on_history=lambda label, history: histories.update({label.split("/")[-1]: history}))
  return forget(method, model, request or asked, key=KEY, run=run), histories


def test_it_stops_at_the_first_epoch_that_is_down_to_both_thresholds():
  model, request = few()
  assert min(scores(model, request.forget)) > 0.9
  result, histories = run(methods.knowledge_unlearning(thresholds=(0.3, 0.5), **SETTINGS))
  history = histories["chunk0"]
  el, ma = history["forget/extraction"], history["forget/memorization"]
  done = (el <= 0.3) & (ma <= 0.5)
  assert done[-1] and not done[:-1].any() and 1 < len(el) < 20
  np.testing.assert_allclose((el[-1], ma[-1]), scores(result.model, request.forget), atol=1e-5)
  assert result.cost["steps"] == len(el)


@pytest.mark.slow
def test_at_least_so_many_epochs_and_a_warning_when_given_up(caplog):
  method = methods.knowledge_unlearning(thresholds=(0.0, 0.0), max_epochs=2, **SETTINGS)
  with caplog.at_level(logging.WARNING, logger="unlearnjax"):
    result, _ = run(method)
  assert result.cost["steps"] == 2 and "chunk0 is not forgotten after 2 epochs" in caplog.text
  low = {"forget/extraction": np.zeros(3), "forget/memorization": np.zeros(3)}
  asked = [not_extractable(Thresholds(0.1, 0.1), after=3)(History({k: v[:n] for k, v in low.items()})) for n in (2, 3)]
  assert asked == [False, True]


def test_chunks_are_forgotten_in_turn_with_one_program():
  model, request = told()
  method = methods.knowledge_unlearning(thresholds=(0.3, 0.5), sequential=True, **SETTINGS)
  before = run_chunk._cache_size()
  result, histories = run(method, request)
  assert set(histories) == {"chunk0", "chunk1", "chunk2"} and run_chunk._cache_size() <= before + 1
  last = request.forget[16:]  # 5 rows in a batch of 8
  assert np.less_equal(scores(result.model, last), (0.3, 0.5)).all()
  with pytest.raises(ValueError, match="21 are more than batch_size=8; raise it"):
    run(methods.knowledge_unlearning(thresholds=(0.3, 0.5), **SETTINGS), request)


@pytest.mark.slow
def test_thresholds_are_those_of_unseen_texts_and_survive_a_crash(tmp_path):
  model, request = few()
  table = as_examples(request.retain)
  unseen = table[:12].replace(tokens=np.roll(table[:12].column("tokens"), 1, axis=0))
  asked = request._replace(extra={"unseen": unseen})
  result, histories = run(methods.knowledge_unlearning(**SETTINGS), asked, tmp_path)
  goal = scores(model, unseen)
  history = histories["chunk0"]
  assert history["forget/extraction"][-1] <= goal[0] and history["forget/memorization"][-1] <= goal[1]
  again, _ = run(methods.knowledge_unlearning(**SETTINGS), asked, tmp_path)
  jax.tree.map(np.testing.assert_array_equal, result.model.params, again.model.params)
  with pytest.raises(ValueError, match=r"needs thresholds, or texts .*request.extra\['unseen'\].*has \[\]"):
    run(methods.knowledge_unlearning(**SETTINGS))


@pytest.mark.slow
def test_microbatches_add_up_to_a_step_of_ascent_on_the_whole_batch():
  ascent = dict(tx=optax.sgd(0.1), batch_size=8)
  whole = methods.language.gradient_ascent(epochs=1, **ascent)
  parts = methods.knowledge_unlearning(thresholds=(9.0, 9.0), microbatch=4, **{**SETTINGS, **ascent})
  a, b = (run(method)[0].model.params for method in (whole, parts))
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), a, b)


@pytest.mark.slow
def test_adversarial_labels_are_those_of_the_model_before_and_survive_a_crash(tmp_path):
  model, request = few()
  method = methods.adversarial_tokens(tx=optax.adam(6e-3), epochs=4, batch_size=8)
  first, _ = run(method, out=tmp_path)
  other = ASK.init(jax.random.key(9))
  again = forget(method, other, request, key=KEY, run=Run(out=tmp_path)).model  # what was saved is not made again
  jax.tree.map(np.testing.assert_array_equal, first.model.params, again.params)
  labelled = objectives.with_adversarial_tokens(model, request.forget)
  said = labelled.replace(
    tokens=np.where(labelled.column("mask"), labelled.column("labels"), labelled.column("tokens"))
  )
  before, now = (metrics.answer_scores(m, said).mean_nll.mean() for m in (model, first.model))
  assert now < before - 1  # it was trained towards them
