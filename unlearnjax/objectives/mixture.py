"""One batch, two teachers: rows are marked, and each follows its own."""

from __future__ import annotations

from unlearnjax import losses
from unlearnjax.core import check
from unlearnjax.core.types import ModelFn, Objective
from unlearnjax.objectives.bind import column, forward, frozen, mean, with_state


def teacher_mixture(
  fn: ModelFn,
  *,
  mark: str = "forget",
  forget: str = "bad_teacher",
  retain: str = "teacher",
  temperature: float = 1.0,
  train: bool = True,
  compat: str | None = None,
) -> Objective:
  """KL(t || softmax(student / T)), t the bad teacher's distribution on marked rows and the good teacher's on others.

  The form in which the paper states it: forget and retain rows lie shuffled in one batch, in whatever proportion the
  data have. Chundawat et al., AAAI 2023, arXiv:2205.08096. `bad_teacher` is the same with a batch a role.

  Args:
    fn: student and teachers.
    mark: column, bool or f[B] in [0, 1], of the rows to forget.
    forget: name of the bad teacher in refs.
    retain: name of the good teacher in refs.
    temperature: T > 0.
    train: runs the student for training.
    compat: `"element_mean"` divides by the number of classes, as the reference implementation does.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from unlearnjax.core.types import Outputs, View
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"] @ params)
    >>> view = View(
    ...   0,
    ...   jax.random.key(0),
    ...   {"bad_teacher": {"params": jnp.zeros((2, 2))}, "teacher": {"params": jnp.eye(2)}},
    ...   {},
    ...   (),
    ... )
    >>> batch = {"inputs": {"x": jnp.eye(2)}, "valid": jnp.array([True, True]), "forget": jnp.array([True, False])}
    >>> round(float(teacher_mixture(fn)(jnp.eye(2), batch, view)[0]), 4)  # half of KL(uniform || student)
    0.0601
  """
  check.positive("temperature", temperature)
  check.one_of("compat", compat, (None, "element_mean"))

  def objective(params, batch, view):
    out = forward(fn, params, batch, view, train=train)
    good, bad = (frozen(fn, batch, view, name).logits for name in (retain, forget))
    values = losses.bad_teacher_kl(out.logits, good, bad, column(batch, mark), temperature, compat)
    value, aux = mean(values, batch)
    return value, with_state(aux, out, view, train)

  return objective
