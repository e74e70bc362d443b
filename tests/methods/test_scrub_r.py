"""SCRUB+R: the trajectory of SCRUB, and the epoch that is chosen on it."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest
from toy import TOY
from toy_trained import FORGOTTEN, accuracy, class_request, data, equal, trained

from unlearnjax.core import Model, Run, forget, outputs
from unlearnjax.methods.classification.scrub import rounds, scrub
from unlearnjax.methods.classification.scrub_r import epoch_ends, scrub_r

KEY = jax.random.key(1)
SMALL = dict(tx=optax.adam(0.03), epochs=6, max_epochs=3, perturb=0.1, batch_size=16)


def request_with(held_out):
  return class_request()._replace(extra={"validation": held_out})


def unseen():
  rows = data(60, seed=1)
  return rows.where(rows.column("y") == FORGOTTEN)


def kept_models(result):
  take = lambda e: jax.tree.map(lambda x: x[e], result.state.slots["epochs"])
  return [Model(take(e)["params"], (), {}, TOY) for e in range(6)]


def test_the_last_epoch_is_that_of_scrub_bit_for_bit():
  request = request_with(unseen())
  rewound = forget(scrub_r(**SMALL), trained(), request, key=KEY)
  plain = forget(scrub(**SMALL), trained(), request, key=KEY)
  assert equal(kept_models(rewound)[-1].params, plain.model.params)
  assert int(rewound.state.step) == int(plain.state.step)


def test_every_epoch_is_kept():
  method = scrub_r(**{**SMALL, "epochs": 2, "max_epochs": 1})
  longer = forget(method, trained(), request_with(unseen()), key=KEY)
  first = jax.tree.map(lambda x: x[0], longer.state.slots["epochs"]["params"])
  once = forget(scrub(**{**SMALL, "epochs": 1, "max_epochs": 1}), trained(), class_request(), key=KEY)
  assert equal(first, once.model.params)


def test_ends_are_the_last_steps_of_the_retain_passes():
  request = class_request()  # 3 forget batches, 5 retain batches
  plan = rounds(request.forget, request.retain, 2, 4, 16)
  assert epoch_ends(plan, 4).tolist() == [8, 16, 21, 26]


@pytest.mark.parametrize("wrong", [0.0, 0.5, 1.0])
def test_the_epoch_nearest_to_the_reference_error_is_chosen(wrong):
  """Held-out labels are changed so that the last model is wrong on a known fraction of them."""
  last = forget(scrub(**SMALL), trained(), class_request(), key=KEY).model
  said = outputs(last, unseen())["logits"].argmax(-1)
  labels = np.where(np.arange(len(said)) < wrong * len(said), (said + 1) % 3, said)
  result = forget(scrub_r(**SMALL), trained(), request_with(unseen().replace(y=labels)), key=KEY)
  errors = np.array([1 - accuracy(m, class_request().forget) for m in kept_models(result)])
  gaps = np.abs(errors - wrong)
  best = max(np.flatnonzero(gaps == gaps.min()))
  assert equal(result.model.params, kept_models(result)[best].params)


def test_a_later_request_keeps_its_own_epochs():
  method, request = scrub_r(**SMALL), request_with(unseen())
  first = forget(method, trained(), request, key=KEY)
  second = forget(method, trained(), request, key=KEY, start=(first.state, first.refs))
  assert not equal(second.state.slots["epochs"], first.state.slots["epochs"])
  assert any(equal(second.model.params, m.params) for m in kept_models(second))


def test_cost_of_choosing_is_forward_passes():
  run = Run()
  forget(scrub_r(**SMALL), trained(), request_with(unseen()), key=KEY, run=run)
  assert run.cost.forward_evaluations == len(unseen()) + 6 * len(class_request().forget)


def test_a_budget_that_ends_the_run_leaves_a_choice_among_what_was_reached():
  one_epoch = len(class_request().forget) + len(class_request().retain)
  run = Run(budget=2 * one_epoch)
  result = forget(scrub_r(**SMALL), trained(), request_with(unseen()), key=KEY, run=run)
  assert int(result.state.step) == 2 * 8
  assert any(equal(result.model.params, m.params) for m in kept_models(result)[:2])
  assert run.cost.forward_evaluations == len(unseen()) + 2 * len(class_request().forget)


def test_messages():
  with pytest.raises(ValueError, match="needs held-out examples distributed like the forget set .* found .'surrogate'"):
    forget(scrub_r(), trained(), class_request(), key=KEY)
  with pytest.raises(ValueError, match="max_epochs must be from 0 to epochs = 1, got 3"):
    scrub_r(epochs=1)
  with pytest.raises(ValueError, match="scrub_r needs a retain set"):
    forget(scrub_r(), trained(), request_with(unseen())._replace(retain=None), key=KEY)
