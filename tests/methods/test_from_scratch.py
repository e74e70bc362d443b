"""Training from scratch at every request: what came and went leaves no trace."""

from __future__ import annotations

import jax
import numpy as np
import optax
from toy import TOY
from toy_trained import data, equal, trained

from unlearnjax.core import Run
from unlearnjax.core.types import Task
from unlearnjax.methods import from_scratch
from unlearnjax.serving import Forget, Learn, serve
from unlearnjax.training import Recipe, train

KEY, RECIPE = jax.random.key(2), Recipe(optax.adam(0.03), epochs=2, batch_size=16)
METHOD = from_scratch(recipe=RECIPE)


def test_the_weights_are_those_of_training_on_the_rest_whatever_came_before(tmp_path):
  order = np.random.default_rng(0).permutation(len(data()))
  stream = [
    Learn(Task("a", 0, data()[order[:50]])),
    Forget(data().ids[order[:10]]),
    Learn(Task("b", 1, data()[order[50:]])),
    Forget(data().ids[order[40:60]]),
    Learn(Task("c", 2, data()[order[5:10]])),
  ]
  with serve(METHOD, trained(), stream, Run(out=tmp_path), key=KEY) as running:
    receipts = list(running)
  left = np.setdiff1d(data().ids, data().ids[np.r_[order[:5], order[40:60]]])
  oracle = train(TOY, data().select(left), RECIPE, key=KEY)
  assert equal(running.model.params, oracle.params)
  assert [r.cost["gradient_evaluations"] for r in receipts] == [100, 80, 220, 180, 190]
