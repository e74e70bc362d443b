"""Boundary Expanding: the extra class comes and goes."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest
from toy_trained import accuracy, class_request, equal, trained

from unlearnjax import edits
from unlearnjax.core import Run, bound, forget, outputs
from unlearnjax.methods.classification.boundary_expanding import boundary_expanding

KEY = jax.random.key(1)
SMALL = dict(tx=optax.sgd(0.05, momentum=0.9), batch_size=16)


def test_the_class_goes_the_others_stay_and_so_does_the_head():
  request = class_request()
  result = forget(boundary_expanding(**SMALL), trained(), request, key=KEY)
  assert accuracy(result.model, request.forget) < 0.1 and accuracy(result.model, request.retain) > 0.9
  jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), result.model.params, trained().params)
  assert jax.tree.structure(result.state) == jax.tree.structure(
    bound(boundary_expanding(), trained().fn).init(trained(), KEY)[0]
  )


def test_widening_leaves_the_old_logits_and_no_training_is_the_identity():
  model, source = trained(), class_request().forget
  wide = model.replace(params=edits.widen_head(model.params, KEY))
  np.testing.assert_array_equal(outputs(wide, source)["logits"][:, :3], outputs(model, source)["logits"])
  assert equal(forget(boundary_expanding(epochs=0), model, class_request(), key=KEY).model.params, model.params)


def test_needs_no_retain_set_and_counts_its_cost():
  request, run = class_request()._replace(retain=None), Run()
  forget(boundary_expanding(**SMALL, epochs=2), trained(), request, key=KEY, run=run)
  assert run.cost.gradient_evaluations == 2 * len(request.forget)


def test_a_layer_that_is_not_there():
  with pytest.raises(ValueError, match="no sub-tree 'classifier'"):
    forget(boundary_expanding(head="classifier"), trained(), class_request(), key=KEY)
