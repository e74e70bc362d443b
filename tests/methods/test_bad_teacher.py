"""Bad teacher: whom each row follows, and how much of the retain set is used."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import TOY
from toy_trained import accuracy, class_request, equal, random_request, trained

from unlearnjax import objectives
from unlearnjax.core import Run, View, bound, forget, role_batch
from unlearnjax.methods.classification.bad_teacher import bad_teacher
from unlearnjax.methods.parts import teacher

KEY = jax.random.key(1)
FOLLOW = objectives.bad_teacher(TOY)
MIXTURE = objectives.marked(FOLLOW["forget"], FOLLOW["retain"])


def marked(gone, kept):
  union = gone + kept
  return role_batch(union.replace(forget=np.isin(union.ids, gone.ids)))


def test_retain_rows_at_the_original_weights_have_no_loss_and_no_gradient():
  refs = {"teacher": teacher(trained()), "bad_teacher": teacher(TOY.init(KEY))}
  batch = {**role_batch(class_request().retain), "forget": jnp.zeros(80, bool)}
  loss = lambda p: MIXTURE(p, batch, View(0, KEY, refs, {}, ()))[0]
  value, grads = jax.jit(jax.value_and_grad(loss))(trained().params)
  assert abs(float(value)) < 1e-6
  assert all(np.abs(g).max() < 1e-6 for g in jax.tree.leaves(grads))


def test_one_step_is_the_formula():
  request = random_request()
  verbs = bound(method := bad_teacher(retain_fraction=1.0, tx=optax.sgd(0.5), batch_size=120), TOY)
  _, refs = verbs.init(trained(), KEY)
  result = forget(method, trained(), request, key=KEY)
  batch = marked(request.forget, request.retain)

  def loss(p):
    student = jax.nn.log_softmax(TOY(p, batch["inputs"]).logits)
    good, bad = (jax.nn.softmax(TOY(refs[n]["params"], batch["inputs"]).logits) for n in ("teacher", "bad_teacher"))
    target = jnp.where(batch["forget"][:, None], bad, good)
    return jnp.mean(jnp.sum(target * (jnp.log(target) - student), -1))

  expected = jax.tree.map(lambda p, g: p - 0.5 * g, trained().params, jax.jit(jax.grad(loss))(trained().params))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), result.model.params, expected)


def test_a_third_of_the_retain_set_is_used():
  run = Run()
  forget(bad_teacher(epochs=2), trained(), class_request(), key=KEY, run=run)
  assert run.cost.gradient_evaluations == 2 * (40 + 24)


def test_the_bad_teacher_comes_from_the_key():
  verbs = bound(bad_teacher(), TOY)
  one, two, other = (verbs.init(trained(), k)[1]["bad_teacher"] for k in (KEY, KEY, jax.random.key(2)))
  assert equal(one, two) and not equal(one, other) and not equal(one["params"], trained().params)


def test_the_class_goes_and_the_others_stay():
  request = class_request()
  method = bad_teacher(tx=optax.adam(0.02), epochs=10, batch_size=16)
  result = forget(method, trained(), request, key=KEY)
  assert accuracy(result.model, request.forget) < 0.3 and accuracy(result.model, request.retain) > 0.9


def test_messages():
  with pytest.raises(ValueError, match=r"retain_fraction must be in \(0, 1\], got 0"):
    bad_teacher(retain_fraction=0)
  with pytest.raises(ValueError, match="temperature must be > 0, got -1"):
    bad_teacher(temperature=-1)
  with pytest.raises(ValueError, match="bad_teacher needs a retain set"):
    forget(bad_teacher(), trained(), class_request()._replace(retain=None), key=KEY)
