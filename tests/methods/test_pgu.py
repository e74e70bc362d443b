"""PGU: only directions that the retain set does not use."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import TOY
from toy_trained import accuracy, class_request, equal, trained

from unlearnjax.core import Run, bound, forget, outputs
from unlearnjax.methods.classification.pgu import layer_inputs, pgu
from unlearnjax.models import make

KEY = jax.random.key(1)
HEAD = {"head/kernel": "head:in"}
NET = make("mlp", input_shape=(4,), num_outputs=3, widths=(16,))
SMALL = dict(tx=optax.sgd(0.3), epochs=20, batch_size=16)


def test_the_class_goes_and_the_others_stay():
  request, run = class_request(), Run()
  result = forget(pgu(energy=0.9, **SMALL), trained(NET), request, key=KEY, run=run)
  assert accuracy(trained(NET), request.forget) > 0.9
  assert accuracy(result.model, request.forget) < 0.1 and accuracy(result.model, request.retain) > 0.95
  assert run.cost.gradient_evaluations == 20 * len(request.forget)


def test_what_moves_is_orthogonal_to_the_leading_inputs_and_the_rest_stays():
  request = class_request()
  result = forget(pgu(energy=0.9, sites=HEAD, **SMALL), trained(), request, key=KEY)
  before, after = trained().params, result.model.params
  assert equal(before["body"], after["body"]) and equal(before["head"]["bias"], after["head"]["bias"])
  moved = np.asarray(after["head"]["kernel"] - before["head"]["kernel"], np.float64)
  features = outputs(trained(), request.retain, capture=("head:in",))["head:in"].astype(np.float64)
  values, vectors = np.linalg.eigh(features.T @ features)
  share = np.cumsum(values[::-1]) / values.sum()
  used = vectors[:, ::-1][:, : int(np.searchsorted(share, 0.9)) + 1]
  assert np.abs(moved).max() > 1e-3 and np.abs(used.T @ moved).max() < 1e-5


def test_with_all_of_the_energy_retained_outputs_stay():
  """Inputs in a plane: all of it is protected, and the network changes only outside of it."""
  request = class_request()
  flat = lambda s: s.column("x") * np.array([1, 1, 0, 0], np.float32)
  request = request._replace(retain=request.retain.replace(x=flat(request.retain)))
  method = pgu(energy=1.0, sites={"body/kernel": "body:in"}, **SMALL)

  def fn(params, inputs, *, capture=(), **kwargs):
    out = TOY(params, inputs, **kwargs)
    return out.replace(hidden={"body:in": inputs["x"]} if capture else {})

  model = trained().replace(fn=fn)
  result = forget(method, model, request, key=KEY)
  one, two = (outputs(m, request.retain)["logits"] for m in (model, result.model))
  np.testing.assert_allclose(one, two, atol=1e-4)
  assert np.abs(outputs(model, request.forget)["logits"] - outputs(result.model, request.forget)["logits"]).max() > 0.1


def test_all_kernels_of_a_model_with_sites():
  assert layer_inputs(NET) == {"blocks/0/linear/kernel": "blocks/0/linear:in", "head/kernel": "head:in"}
  conv = make("convnet", input_shape=(8, 8, 1), num_outputs=3, widths=(4,), dense=8)
  assert "blocks/0/conv/kernel" in layer_inputs(conv)
  _, refs = bound(pgu(), conv).init(conv.init(KEY), KEY)
  assert refs["retain_basis"]["blocks/0/conv/kernel"].shape == (9, 9)


def test_refs_keep_their_shapes():
  request = class_request()
  result = forget(pgu(energy=0.75, sites=HEAD, **SMALL), trained(), request, key=KEY)
  basis = result.refs["retain_basis"]["head/kernel"]
  rank = int((jnp.abs(basis).sum(0) > 0).sum())
  assert basis.shape == (8, 8) and 0 < rank < 8
  np.testing.assert_allclose((basis.T @ basis)[:rank, :rank], np.eye(rank), atol=1e-5)


def test_messages():
  for options, message in (
    (dict(energy=0.0), r"energy must be in \(0, 1\]"),
    (dict(offset=0.0), "offset must be > 0"),
    (dict(entropy_weight=-1.0), "entropy_weight must be >= 0"),
  ):
    with pytest.raises(ValueError, match=message):
      pgu(**options)
  with pytest.raises(ValueError, match="the layers' inputs of a ToyFn are not known: give sites="):
    forget(pgu(), trained(), class_request(), key=KEY)
  with pytest.raises(ValueError, match="pgu needs a retain set"):
    forget(pgu(sites=HEAD), trained(), class_request()._replace(retain=None), key=KEY)
