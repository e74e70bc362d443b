from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_net import mlp, mlp_params, random_role, view

from unlearnjax import losses, objectives, updates

PARAMS = mlp_params()
BATCH = random_role()
XENT = objectives.cross_entropy(mlp)


def _grad(objective, batch=BATCH, v=None):
  return jax.grad(objective, has_aux=True)(PARAMS, batch, v or view())[0]


def _close(a, b, rtol=1e-5):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-7), a, b)


def test_negated_ascends():
  _close(_grad(objectives.negated(XENT)), jax.tree.map(jnp.negative, _grad(XENT)))


def test_scaled_follows_a_schedule_of_progress():
  objective = objectives.scaled(objectives.penalty(losses.l1_norm), updates.linear_decay(0.5))
  size = float(losses.l1_norm(PARAMS))
  found = [float(objective(PARAMS, None, view(progress=p))[0]) / size for p in (0.0, 0.25, 0.5, 0.9)]
  np.testing.assert_allclose(found, [1, 0.5, 0, 0], atol=1e-6)


def test_an_added_penalty_of_coefficient_zero_is_bit_equal_to_none():
  plain = _grad(XENT)
  both = _grad(objectives.added(XENT, objectives.scaled(objectives.penalty(losses.l1_norm), 0.0)))
  jax.tree.map(np.testing.assert_array_equal, plain, both)


def test_added_sums_values_and_keeps_the_weight_only_if_all_have_one():
  value, aux = objectives.added(objectives.scaled(XENT, 0.25), objectives.scaled(XENT, 0.75))(PARAMS, BATCH, view())
  np.testing.assert_allclose(value, XENT(PARAMS, BATCH, view())[0], rtol=1e-6)
  assert aux["weight"] == 12
  _, aux = objectives.added(XENT, objectives.penalty(losses.l1_norm))(PARAMS, BATCH, view())
  assert "weight" not in aux and "accuracy" in aux


def test_penalty_reads_its_reference_from_refs():
  moved = jax.tree.map(lambda p: p + 1, PARAMS)
  objective = objectives.penalty(losses.squared_distance, reference="origin")
  value, _ = objective(moved, None, view(refs={"origin": {"params": PARAMS}}))
  np.testing.assert_allclose(value, sum(p.size for p in jax.tree.leaves(PARAMS)), rtol=1e-4)
  with pytest.raises(ValueError, match="refs has no 'origin'; found"):
    objective(moved, None, view())


def _tasks(valid):
  stack = [random_role(seed) for seed in range(len(valid))]
  batch = jax.tree.map(lambda *x: jnp.stack(x), *stack)
  return stack, {**batch, "valid": jnp.asarray(valid)}


def test_per_task_equals_a_loop_and_marks_empty_tasks():
  stack, batch = _tasks([[True] * 12, [False] * 12, [True] * 5 + [False] * 7])
  values, aux = jax.jit(objectives.per_task(XENT))(PARAMS, batch, view())
  want = [XENT(PARAMS, {**part, "valid": v}, view())[0] for part, v in zip(stack, batch["valid"])]
  np.testing.assert_allclose(values, want, rtol=1e-6)
  assert aux["valid"].tolist() == [True, False, True] and "weight" not in aux


def test_the_rows_of_per_task_are_the_gradients_of_the_tasks():
  stack, batch = _tasks([[True] * 12, [False] * 12, [True] * 5 + [False] * 7])
  values, aux, rows = jax.jit(lambda p, b: objectives.per_task(XENT).rows(p, b, view()))(PARAMS, batch)
  alone = lambda part, v: jax.grad(lambda p: XENT(p, {**part, "valid": v}, view())[0])(PARAMS)
  want = jax.tree.map(lambda *x: jnp.stack(x), *map(alone, stack, batch["valid"]))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), rows, want)
  assert values[1] == 0 and aux["valid"].tolist() == [True, False, True]


def test_per_task_draws_apart_for_each_task():
  stack, _ = _tasks([[True] * 12])
  batch = jax.tree.map(lambda x: jnp.stack([x, x]), stack[0])
  values, _ = objectives.per_task(objectives.random_label(mlp))(PARAMS, batch, view())
  assert values[0] != values[1]


def test_per_task_refuses_a_model_state_and_a_single_task():
  _, batch = _tasks([[True] * 12])
  with pytest.raises(ValueError, match="must not return a model state"):
    objectives.per_task(XENT)(PARAMS, batch, view(state={"count": jnp.array(0)}))
  with pytest.raises(ValueError, match=r"needs valid as bool\[T, B\]"):
    objectives.per_task(XENT)(PARAMS, BATCH, view())


def test_added_objectives_of_one_model_share_the_forward_pass():
  calls = []

  def counted(params, inputs, **kwargs):
    calls.append(kwargs["train"])
    return mlp(params, inputs, **kwargs)

  xent = objectives.cross_entropy(counted)
  same = objectives.added(xent, objectives.scaled(xent, 0.5), objectives.added(xent, xent))
  other = objectives.added(xent, objectives.cross_entropy(counted, train=False))
  same(PARAMS, BATCH, view())
  assert calls == [True]
  other(PARAMS, BATCH, view())
  assert calls == [True, True, False]
  xent(PARAMS, BATCH, view())  # nothing is kept
  assert len(calls) == 4
  _close(_grad(same), _grad(objectives.scaled(XENT, 3.5)))


def test_a_forward_pass_of_an_inner_trace_is_not_shared():
  inner = lambda params, batch, view: (jax.lax.cond(True, lambda: XENT(params, batch, view)[0], lambda: 0.0), {})
  value, _ = jax.jit(objectives.added(inner, XENT))(PARAMS, BATCH, view())
  np.testing.assert_allclose(value, 2 * XENT(PARAMS, BATCH, view())[0], rtol=1e-6)
