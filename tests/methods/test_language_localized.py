"""WAGLE and MemFlex: what may move, and that nothing else does; methods that keep other text."""

from __future__ import annotations

import functools

import jax
import numpy as np
import optax
import pytest
from toy_asked import told
from toy_trained import class_request, trained

from unlearnjax import methods, objectives, reparam
from unlearnjax.core import Method, Verbs, forget

KEY = jax.random.key(0)
DECAYED = dict(tx=optax.adamw(0.01, weight_decay=0.1), batch_size=6)


def run(method, request=None, **how):
  model, asked = told()
  return forget(method, model, request or asked, key=KEY, **how)


def moved(result, mask):
  """Entries that changed inside and outside of the mask."""
  model, _ = told()
  changed = jax.tree.map(lambda a, b: np.asarray(a) != np.asarray(b), result.model.params, model.params)
  pairs = list(zip(jax.tree.leaves(changed), map(np.asarray, jax.tree.leaves(mask)), strict=True))
  return sum(int((c & m).sum()) for c, m in pairs), sum(int((c & ~m).sum()) for c, m in pairs)


def test_what_wagle_does_not_choose_keeps_its_bits_under_decay_and_momentum():
  result = run(methods.wagle(density=0.3, epochs=2, **DECAYED))
  mask = result.refs["wagle"]
  total = sum(m.size for m in jax.tree.leaves(mask))
  assert sum(int(m.sum()) for m in jax.tree.leaves(mask)) == int(0.3 * total)
  inside, outside = moved(result, mask)
  assert outside == 0 and inside > 0.2 * total


@pytest.mark.slow
def test_everything_may_move_at_density_one():
  dense = run(methods.grad_diff(epochs=1, **DECAYED)).model.params
  same = run(methods.wagle(density=1.0, epochs=1, **DECAYED)).model.params
  jax.tree.map(np.testing.assert_array_equal, dense, same)


@pytest.mark.slow
def test_other_attributions_and_other_methods():
  masks = {}
  for rule in ("gauss_newton", "magnitude", "random"):
    result = run(methods.wagle(methods.npo, density=0.5, attribution=rule, hessian=1e-10, epochs=1, **DECAYED))
    assert moved(result, result.refs["wagle"])[1] == 0
    masks[rule] = np.concatenate([np.ravel(m) for m in jax.tree.leaves(result.refs["wagle"])])
  model, request = told()
  flat = np.concatenate([np.abs(np.ravel(p)) for p in jax.tree.leaves(model.params)])
  assert flat[masks["magnitude"]].min() >= flat[~masks["magnitude"]].max()
  assert len({m.tobytes() for m in masks.values()}) == 3
  sure = run(
    methods.wagle(methods.ceu, density=0.5, attribution="snip", epochs=1, **DECAYED), request._replace(retain=None)
  )
  assert moved(sure, sure.refs["wagle"])[1] == 0
  with pytest.raises(ValueError, match="wagle needs a retain set"):
    run(methods.wagle(methods.ceu, epochs=1, **DECAYED), request._replace(retain=None))


@pytest.mark.slow
def test_wagle_masks_methods_on_classifiers_too():
  request = class_request()
  model = trained()
  loss = functools.partial(objectives.cross_entropy, train=False)
  method = methods.wagle(
    methods.neg_grad_plus, density=0.4, loss=loss, alpha=0.7, tx=optax.adam(0.01), epochs=2, batch_size=16
  )
  result = forget(method, model, request, key=KEY)
  same = jax.tree.map(lambda a, b, m: (a == b) | m, result.model.params, model.params, result.refs["wagle"])
  assert all(bool(x.all()) for x in jax.tree.leaves(same))


def test_arguments_of_wagle_that_are_wrong():
  with pytest.raises(ValueError, match=r"density must be in \(0, 1\], got 0"):
    methods.wagle(density=0)
  with pytest.raises(ValueError, match="attribution must be one of wagle, .*, random; got 'wanda'"):
    methods.wagle(attribution="wanda")
  with pytest.raises(ValueError, match="hessian must be > 0"):
    methods.wagle(hessian=0)
  mute = lambda **settings: Method("mute", lambda fn: Verbs(None, None))
  with pytest.raises(ValueError, match="wagle needs a method that forgets, and mute does not"):
    run(methods.wagle(mute, density=0.5))


@pytest.mark.slow
def test_memflex_moves_whole_tensors_and_no_others():
  result = run(methods.memflex(cosine=0.9, magnitude=1e-4, epochs=3, **DECAYED))
  mask = result.refs["memflex"]
  kept = [bool(m.all()) for m in jax.tree.leaves(mask)]
  assert any(kept) and not all(kept) and all(bool(m.any()) == k for m, k in zip(jax.tree.leaves(mask), kept))
  inside, outside = moved(result, mask)
  assert outside == 0 and inside > 0


@pytest.mark.slow
def test_memflex_on_adapters_moves_one_factor_until_both_are_trained():
  lora = reparam.lora(rank=2, where="(body|head)/kernel")
  method = methods.through(lora, methods.memflex(cosine=1.0, magnitude=0.0, epochs=1, **DECAYED))
  fresh = run(method)
  inside = {name: {k: bool(m.all()) for k, m in leaf["kernel"].items()} for name, leaf in fresh.refs["memflex"].items()}
  assert inside == {"body": {"a": False, "b": True}, "head": {"a": False, "b": True}}
  on = run(method, start=(fresh.state, fresh.refs))  # from trained adapters
  assert all(bool(m.all()) for m in jax.tree.leaves(on.refs["memflex"]))


@pytest.mark.slow
def test_another_source_takes_the_place_of_the_retain_set():
  _, request = told()
  method = methods.kl_min(epochs=1, **DECAYED)
  half = request.retain[::2]
  want = run(method, request._replace(retain=half)).model.params
  found = run(methods.keeping(method, "general"), request._replace(extra={"general": half})).model.params
  jax.tree.map(np.testing.assert_array_equal, found, want)
  with pytest.raises(ValueError, match=r"kl_min is to keep request.extra\['general'\]; the request has \[\]"):
    run(methods.keeping(method, "general"))
