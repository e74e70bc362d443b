"""What the methods on language share, and where they meet; that each forgets is in tests/common."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_asked import ASK, told

from unlearnjax import methods, objectives
from unlearnjax.core import Run, forget
from unlearnjax.metrics import answer_scores

KEY = jax.random.key(0)
SGD = dict(tx=optax.sgd(0.05), epochs=1, batch_size=6)


def after(method, request=None):
  model, asked = told()
  return forget(method, model, request or asked, key=KEY).model


def near(a, b, **kw):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **kw), a.params, b.params)


def test_names_of_the_language_group_and_the_one_that_is_shared():
  assert methods.npo is methods.language.npo
  assert methods.gradient_ascent is not methods.language.gradient_ascent
  assert set(dir(methods.language)) >= {"npo", "rmu", "gradient_ascent"}
  for name in methods.language.MODULES:
    factory = getattr(methods.language, name)
    assert factory.__name__ == name and (name in methods.names())
  with pytest.raises(AttributeError, match="has no attribute 'nope'; the methods are adversarial_tokens, ceu, "):
    methods.language.nope  # noqa: B018


@pytest.mark.slow
def test_methods_that_coincide_at_the_ends_of_their_parameters():
  ascent = after(methods.language.gradient_ascent(**SGD))
  near(after(methods.grad_diff(alpha=0.0, **SGD)), ascent, rtol=1e-5, atol=1e-6)
  near(after(methods.kl_min(alpha=0.0, **SGD)), ascent, rtol=1e-5, atol=1e-6)
  descent_too = after(methods.grad_diff(**SGD))
  near(after(methods.wga(beta=0.0, **SGD)), descent_too, rtol=1e-5, atol=1e-6)
  near(after(methods.satimp(beta1=0.0, beta2=0.0, alpha=1.0, **SGD)), descent_too, rtol=1e-5, atol=1e-6)
  assert not np.allclose(descent_too.params["head"]["kernel"], ascent.params["head"]["kernel"], atol=1e-5)


def test_gradient_ascent_forgets_and_needs_no_retain_set():
  model, request = told()
  gone = forget(
    methods.language.gradient_ascent(tx=optax.adam(6e-3), batch_size=6), model, request._replace(retain=None), key=KEY
  )
  before, now = (answer_scores(m, request.forget).mean_nll.mean() for m in (model, gone.model))
  assert now > before + 1


def test_others_say_that_they_need_one():
  _, request = told()
  for method in (methods.grad_diff(**SGD), methods.idk(**SGD), methods.llmu(**SGD)):
    with pytest.raises(ValueError, match=f"{method.name} needs a retain set"):
      after(method, request._replace(retain=None))


def test_an_answer_without_a_scored_token_is_refused():
  _, request = told()
  for role, rows in (("forget", request.forget), ("retain", request.retain)):
    mask = rows.column("mask").copy()
    mask[2] = False
    bad = request._replace(**{role: rows.replace(mask=mask)})
    with pytest.raises(
      ValueError, match=rf"the {role} set must have a scored token .*'mask'.* 1 of {len(rows)}, row 2"
    ):
      after(methods.npo(**SGD), bad)


def test_npo_reads_the_likelihoods_of_the_model_before_the_first_step():
  """With a second forward pass of the reference in the place of the column, every bit of the path is the same."""
  from unlearnjax.methods.language.recipe import unlearner

  passes = unlearner("twice", lambda fn: objectives.npo(fn, 0.1), "nll", reference=True, **SGD)
  near(after(methods.npo(**SGD)), after(passes), rtol=1e-5, atol=1e-6)


def test_the_pooled_batch_of_idk_weighs_rows_by_their_tokens():
  from unlearnjax.core import Transform, role_batch
  from unlearnjax.methods.language.replacement import pooled

  model, request = told()
  seen = {}

  def update(state, batch, refs):
    seen.update(batch)
    return state, {}

  batch = {"forget": role_batch(request.forget[:4]), "retain": role_batch(request.retain[:6]), "progress": 0.5}
  pooled(Transform(lambda s: s, update), "alt").update((), batch, {})
  assert set(seen) == {"both", "progress"} and seen["both"]["valid"].shape == (10,)
  np.testing.assert_array_equal(seen["both"]["inputs"]["tokens"][:4], request.forget[:4].column("alt_tokens"))
  np.testing.assert_array_equal(seen["both"]["mask"][4:], request.retain[:6].column("mask"))


def test_rmu_moves_only_what_it_may_and_steers_to_its_vector():
  model, request = told()
  method = methods.rmu(
    "body",
    width=16,
    where="body/.*",
    steering=5.0,
    alpha=1.0,
    tx=optax.adamw(0.03, weight_decay=0.1),
    epochs=10,
    batch_size=6,
  )
  result = forget(method, model, request, key=KEY)
  for name in ("asked", "last", "place", "head"):
    jax.tree.map(np.testing.assert_array_equal, result.model.params[name], model.params[name])
  control = result.refs["control"]
  np.testing.assert_allclose(np.linalg.norm(control), 5.0, rtol=1e-5)

  def cosine(m, source):
    h = m({"tokens": jnp.asarray(source.column("tokens"))}, capture=("body",)).hidden["body"][:, 0]
    return float(jnp.mean(h @ control / jnp.linalg.norm(h, axis=-1) / 5))

  assert cosine(result.model, request.forget) > cosine(model, request.forget) + 0.1
  with pytest.raises(ValueError, match="where='mlp' matches no parameter; there are asked/embedding, body/kernel"):
    forget(methods.rmu("body", width=16, where="mlp"), model, request, key=KEY)


@pytest.mark.slow
def test_the_dual_of_pdu_keeps_the_retained_answers():
  free = after(methods.pdu(dual_start=0.0, dual_rate=1e-6, warmup=0.9, tx=optax.adam(6e-3), batch_size=6))
  held = after(methods.pdu(dual_start=10.0, dual_rate=1.0, tx=optax.adam(6e-3), batch_size=6))
  _, request = told()
  loss = lambda model: answer_scores(model, request.retain).mean_nll.mean()
  assert loss(held) < 0.5 * loss(free)


def test_the_default_optimizer_warms_up_and_ends_at_zero():
  from unlearnjax.core import View
  from unlearnjax.methods.language.recipe import adamw

  tx = adamw(5, 1.0, 0.0)
  size = lambda p: float(
    -tx.update(
      {"w": jnp.ones(())}, tx.init({"w": jnp.ones(())}), {"w": jnp.ones(())}, view=View(0, None, {}, {}, (), progress=p)
    )[0]["w"]
  )
  np.testing.assert_allclose([size(p) for p in (0.0, 0.1, 0.2, 0.6, 1.0)], [0, 0.5, 1, 0.5, 0], atol=1e-4)


def test_likelihoods_survive_a_crash(tmp_path):
  from unlearnjax.methods.language.recipe import with_likelihoods

  model, request = told()
  first = with_likelihoods(model, request.forget, Run(out=tmp_path).scope("x"), ("", "alt"))
  other = ASK.init(jax.random.key(9))  # what is read back is what was saved, whatever the model is now
  again = with_likelihoods(other, request.forget, Run(out=tmp_path).scope("x"), ("", "alt"))
  for column in ("ref_logp", "alt_ref_logp"):
    np.testing.assert_array_equal(first.column(column), again.column(column))
  assert (first.column("alt_ref_logp") < first.column("ref_logp")).all()


@pytest.mark.slow
def test_a_transformer_is_served_and_rmu_moves_its_layers_only():
  from unlearnjax import models

  _, request = told()
  fn = models.transformer("llama", vocab_size=32, dim=8, depth=3, heads=2)
  model = fn.init(KEY)
  again = forget(methods.npo(tx=optax.adam(1e-2), batch_size=32, epochs=2), model, request, key=KEY)
  assert (
    answer_scores(again.model, request.forget).mean_nll.mean() > answer_scores(model, request.forget).mean_nll.mean()
  )
  steered = methods.rmu("blocks/1", width=8, where="blocks/mlp/down/kernel", layers=(0, 1), tx=optax.adam(1e-2))
  result = forget(steered, model, request, key=KEY).model.params
  moved = lambda a, b: np.asarray(jnp.any(a != b, axis=tuple(range(1, a.ndim)))).tolist()
  changed = jax.tree.map(moved, result["blocks"], model.params["blocks"])
  assert changed["mlp"]["down"]["kernel"] == [True, True, False]
  changed["mlp"]["down"]["kernel"] = [False]
  assert not any(jax.tree.leaves(changed))
