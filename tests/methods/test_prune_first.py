"""Prune first: zeros that stay zero, whatever method follows."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import TOY
from toy_norm import NORM
from toy_trained import accuracy, class_request, equal, random_request, trained

from unlearnjax import edits
from unlearnjax.core import Method, Run, Verbs, forget
from unlearnjax.methods.classification.cf_k import cf_k
from unlearnjax.methods.classification.fine_tune import fine_tune
from unlearnjax.methods.classification.prune_first import Masked, mask_of, prune_first
from unlearnjax.methods.classification.random_label import random_label
from unlearnjax.methods.classification.scrub import scrub

KEY = jax.random.key(1)
SMALL = dict(epochs=3, batch_size=16)
SGD = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.9))
INNER = {
  "sgd": fine_tune(tx=SGD, **SMALL),
  "adamw": random_label(tx=optax.adamw(0.05, weight_decay=0.5), **SMALL),
  "scrub": scrub(tx=optax.adam(0.01), perturb=0.1, epochs=2, max_epochs=1),
}


def kernels(params):
  return np.concatenate([np.asarray(params[n]["kernel"]).ravel() for n in ("body", "head")])


@pytest.mark.parametrize("score", ["magnitude", "synflow"])
@pytest.mark.parametrize("inner", INNER)
def test_removed_weights_are_exactly_zero_and_counted(inner, score):
  result = forget(prune_first(INNER[inner], sparsity=0.8, score=score), trained(), class_request(), key=KEY)
  mask = mask_of(TOY, trained().params, (), class_request().forget, 0.8, score, None)
  weights = kernels(result.model.params)
  np.testing.assert_array_equal(weights != 0, kernels(mask))
  assert (weights != 0).sum() == math.ceil(0.2 * len(weights))
  assert result.model.fn is TOY and result.model.state == ()


def test_magnitude_keeps_the_largest_weights():
  mask = kernels(mask_of(TOY, trained().params, (), class_request().forget, 0.7, "magnitude", None))
  size = np.abs(kernels(trained().params))
  assert size[mask].min() > size[~mask].max()


def test_convolutions_alone_are_pruned_where_there_are_any():
  params = {"conv": {"kernel": jnp.ones((3, 3, 2, 2))}, "fc": {"kernel": jnp.ones((4, 2))}}
  mask = mask_of(None, params, (), None, 0.5, "magnitude", None)
  assert int(mask["conv"]["kernel"].sum()) == 18 and bool(mask["fc"]["kernel"].all())
  chosen = mask_of(None, params, (), None, 0.5, "magnitude", lambda path, leaf: path.startswith("fc"))
  assert bool(chosen["conv"]["kernel"].all()) and int(chosen["fc"]["kernel"].sum()) == 4


def test_without_pruning_it_is_the_method():
  dense = forget(prune_first(INNER["sgd"], sparsity=0.0), trained(), random_request(), key=KEY)
  alone = forget(INNER["sgd"], trained(), random_request(), key=KEY)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), dense.model.params, alone.model.params)


def test_the_method_starts_from_pruned_weights_and_so_do_its_teachers():
  still = scrub(tx=optax.sgd(0.0), perturb=0.0, epochs=1, max_epochs=1)
  result = forget(prune_first(still, sparsity=0.6), trained(), class_request(), key=KEY)
  mask = mask_of(TOY, trained().params, (), class_request().forget, 0.6, "magnitude", None)
  expected = edits.apply_mask(trained().params, mask)
  assert equal(result.model.params, expected) and equal(result.refs["teacher"]["params"], expected)


def test_models_with_batch_statistics_and_observed_order():
  model = NORM.init(KEY)
  result = forget(prune_first(cf_k(k=2, epochs=2, batch_size=16), sparsity=0.5), model, class_request(), key=KEY)
  assert jax.tree.structure(result.model.state) == jax.tree.structure(model.state)
  assert equal(result.model.state["norm1"], model.state["norm1"])
  assert not equal(result.model.state["norm2"], model.state["norm2"])
  assert set(Masked(NORM).sites) == set(NORM.sites)


def test_a_second_request_keeps_the_zeros_and_draws_anew():
  method = prune_first(INNER["sgd"], sparsity=0.8)
  first = forget(method, trained(), class_request(), key=KEY)
  second = forget(method, trained(), random_request(), key=KEY, start=(first.state, first.refs))
  np.testing.assert_array_equal(kernels(second.model.params) != 0, kernels(first.model.params) != 0)
  assert int(second.state.step) == int(first.state.step) + 3 * 7


def test_the_class_goes_and_the_others_stay():
  request = class_request()
  method = prune_first(fine_tune(tx=optax.sgd(0.1, momentum=0.9), batch_size=16), sparsity=0.8)
  result = forget(method, trained(), request, key=KEY)
  assert accuracy(result.model, request.forget) < 0.2 and accuracy(result.model, request.retain) > 0.9


def test_the_mask_survives_a_crash(tmp_path):
  request, method = class_request(), prune_first(INNER["sgd"], sparsity=0.8)
  whole = forget(method, trained(), request, key=KEY)

  def bomb(label, step, scalars):
    if step >= 7:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    forget(method, trained(), request, key=KEY, run=Run(out=tmp_path, checkpoint_every=3, writer=bomb))
  resumed = forget(method, trained(), request, key=KEY, run=Run(out=tmp_path))
  assert equal(whole.model.params, resumed.model.params)


def test_messages():
  with pytest.raises(ValueError, match=r"sparsity must be in \[0, 1\), got 1"):
    prune_first(sparsity=1)
  with pytest.raises(ValueError, match="score must be one of magnitude, synflow; got 'random'"):
    prune_first(score="random")
  with pytest.raises(ValueError, match="fine_tune needs a retain set"):
    forget(prune_first(), trained(), class_request()._replace(retain=None), key=KEY)
  idle = Method("idle", lambda fn: Verbs(None, None))
  with pytest.raises(ValueError, match="needs a method that forgets, and idle does not"):
    forget(prune_first(idle), trained(), class_request(), key=KEY)
