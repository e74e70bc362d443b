from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_net import mlp, mlp_params, random_role, view

from unlearnjax import losses, objectives
from unlearnjax.core.types import Outputs

PARAMS, TEACHER, BAD = mlp_params(0), mlp_params(1), mlp_params(2)
BATCH = random_role()
REFS = {"teacher": {"params": TEACHER, "state": ()}, "bad_teacher": {"params": BAD}}


def _grad(objective, params=PARAMS, batch=BATCH, refs=REFS):
  return jax.grad(objective, has_aux=True)(params, batch, view(refs=refs))[0]


def _norm(tree):
  return float(sum(jnp.sum(jnp.abs(g)) for g in jax.tree.leaves(tree)))


def test_it_is_the_loss_at_both_outputs_in_either_direction():
  student, teacher = (mlp(p, BATCH["inputs"]).logits for p in (PARAMS, TEACHER))
  for direction, loss in (("forward", losses.distill_kl), ("reverse", losses.reverse_distill_kl)):
    value, aux = objectives.distill(mlp, temperature=2.0, direction=direction)(PARAMS, BATCH, view(refs=REFS))
    np.testing.assert_allclose(value, loss(student, teacher, 2.0).mean(), rtol=1e-5)
    assert aux["weight"] == 12


def test_the_first_ascent_step_stands_still_where_student_equals_teacher():
  ascent = objectives.negated(objectives.distill(mlp, temperature=4.0))
  assert _norm(_grad(ascent, TEACHER)) < 1e-5
  assert _norm(_grad(ascent)) > 0.1


def test_cached_logits_stand_in_for_the_teacher():
  batch = {**BATCH, "z": mlp(TEACHER, BATCH["inputs"]).logits}
  cached = _grad(objectives.distill(mlp, cached="z"), batch=batch, refs={})
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), cached, _grad(objectives.distill(mlp)))


def test_the_teacher_runs_in_eval_mode_and_the_students_state_is_kept():
  refs = {"teacher": {"params": TEACHER, "state": {"count": jnp.array(100)}}}
  _, aux = objectives.distill(mlp)(PARAMS, BATCH, view(refs=refs, state={"count": jnp.array(1)}))
  assert aux["state"]["count"] == 2


def test_a_missing_teacher_is_named():
  with pytest.raises(ValueError, match="refs has no 'teacher'; found \\['other'\\]"):
    objectives.distill(mlp)(PARAMS, BATCH, view(refs={"other": {}}))
  with pytest.raises(ValueError, match="direction must be one of forward, reverse; got 'back'"):
    objectives.distill(mlp, direction="back")


@pytest.mark.parametrize("compat, factor", [(None, 1.0), ("element_mean", 0.25)])
def test_bad_teacher_over_roles_is_the_mixture_of_the_paper(compat, factor):
  u = jnp.arange(12) < 5
  pair = objectives.bad_teacher(mlp, temperature=1.5, compat=compat)
  sides = {"forget": {**BATCH, "valid": u}, "retain": {**BATCH, "valid": ~u}}
  values = {r: pair[r](PARAMS, sides[r], view(refs=REFS))[0] for r in pair}
  logits = [mlp(p, BATCH["inputs"]).logits for p in (PARAMS, TEACHER, BAD)]
  mixture = losses.bad_teacher_kl(*logits, u, 1.5).mean()
  np.testing.assert_allclose(5 / 12 * values["forget"] + 7 / 12 * values["retain"], factor * mixture, rtol=1e-5)


def _conv(params, inputs, *, capture=(), **_):
  maps = inputs["x"][:, :, None] * params["w"]  # [B, positions, channels]
  return Outputs(maps.sum((1, 2))[:, None], {"maps": maps} if capture else {})


def test_blindspot_over_roles_is_the_mixture_of_the_paper():
  params, proxy = {"w": jnp.array([1.0, -2.0])}, {"w": jnp.array([0.5, 1.0])}
  y, u = jnp.arange(12.0), jnp.arange(12) < 4
  refs = {"proxy": {"params": proxy}}
  forget = objectives.attention_distill(_conv, sites=("maps",), beta=50.0)
  retain = objectives.supervised(_conv, losses.absolute_error)
  batch = {**BATCH, "y": y}
  f = forget(params, {**batch, "valid": u}, view(refs=refs))[0]
  r = retain(params, {**batch, "valid": ~u}, view(refs=refs))[0]
  out, other = _conv(params, BATCH["inputs"], capture=("maps",)), _conv(proxy, BATCH["inputs"], capture=("maps",))
  transfer = losses.attention_transfer(out.hidden["maps"], other.hidden["maps"])
  near = jnp.abs(out.logits - other.logits)[:, 0] + 50 * transfer
  want = jnp.where(u, near, jnp.abs(out.logits[:, 0] - y)).mean()
  np.testing.assert_allclose(4 / 12 * f + 8 / 12 * r, want, rtol=1e-5)


def test_beta_zero_needs_no_sites_and_drops_the_attention_term():
  refs = {"proxy": {"params": TEACHER}}
  plain = objectives.teacher_loss(mlp, losses.absolute_error, reference="proxy")(PARAMS, BATCH, view(refs=refs))[0]
  found = objectives.attention_distill(mlp, sites=("head:in",), beta=0.0)(PARAMS, BATCH, view(refs=refs))[0]
  assert plain == found
