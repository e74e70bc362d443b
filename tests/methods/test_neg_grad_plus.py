"""NegGrad+ between its two ends, fine-tuning and ascent."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest
from toy_trained import accuracy, class_request, trained

from unlearnjax.core import Run, forget, zip_roles
from unlearnjax.methods.classification.fine_tune import fine_tune
from unlearnjax.methods.classification.gradient_ascent import gradient_ascent
from unlearnjax.methods.classification.neg_grad_plus import neg_grad_plus

KEY = jax.random.key(1)
SMALL = dict(tx=optax.sgd(0.1), epochs=4, batch_size=16)


def close(a, b, atol=1e-6):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol), a, b)


def test_alpha_one_is_fine_tuning():
  plus = forget(neg_grad_plus(alpha=1.0, **SMALL), trained(), class_request(), key=KEY)
  tune = forget(fine_tune(**SMALL), trained(), class_request(), key=KEY)
  close(plus.model.params, tune.model.params)


def test_alpha_zero_is_gradient_ascent():
  request = class_request()._replace(retain=class_request().retain[:32])  # as many batches as the forget set has
  settings = dict(tx=optax.sgd(0.01), epochs=2, batch_size=20)
  plus = forget(neg_grad_plus(alpha=0.0, **settings), trained(), request, key=KEY)
  ascent = forget(gradient_ascent(**settings), trained(), request, key=KEY)
  close(plus.model.params, ascent.model.params)


def test_the_class_goes_and_the_others_stay():
  request = class_request()
  result = forget(neg_grad_plus(alpha=0.7, tx=optax.sgd(0.1, momentum=0.9), batch_size=16), trained(), request, key=KEY)
  assert accuracy(result.model, request.forget) < 0.1
  assert accuracy(result.model, request.retain) > 0.9


def test_default_batches_use_every_forget_sample():
  request, run = class_request(), Run()
  forget(neg_grad_plus(epochs=2), trained(), request, key=KEY, run=run)
  plan = zip_roles(
    anchor="retain", batch_size={"retain": 32, "forget": 16}, epochs=2, retain=request.retain, forget=request.forget
  )
  rows = plan.indices(0, plan.steps, (0,), False)
  assert rows["retain"].shape == (6, 32) and rows["forget"].shape == (6, 16)
  assert set(rows["forget"][rows["forget"] >= 0]) == set(request.forget.rows)
  assert run.cost.gradient_evaluations == sum((r >= 0).sum() for r in rows.values())


def test_messages():
  with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\], got 1.5"):
    neg_grad_plus(alpha=1.5)
  with pytest.raises(ValueError, match="neg_grad_plus needs a retain set"):
    forget(neg_grad_plus(), trained(), class_request()._replace(retain=None), key=KEY)
