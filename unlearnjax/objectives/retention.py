"""Keeping what earlier tasks taught, on the new task's inputs alone."""

from __future__ import annotations

import jax.numpy as jnp

from unlearnjax import losses
from unlearnjax.core import check
from unlearnjax.core.types import ModelFn, Objective
from unlearnjax.objectives.bind import column, forward, frozen, mean, ref, with_state


def retained(
  fn: ModelFn,
  *,
  temperature: float = 2.0,
  heads: int | None = None,
  reference: str = "teacher",
  old: str = "old",
  task: str = "task",
  train: bool = True,
) -> Objective:
  """Cross entropy to an earlier model's softened answers about old classes: learning without forgetting.

  mean over rows of -sum_c q_c log p_c, q = softmax(teacher / T), p = softmax(student / T), both over old classes only,
  without a factor T^2. Li and Hoiem, arXiv:1606.09282 (paper 62).

  Args:
    fn: student and teacher.
    temperature: T > 0.
    heads: None for one softmax over all classes in `refs[old]`, bool[C]. A number for models with one head a task
      (`models.multi_head`): the sum over the heads of all tasks before `refs[task]`, which are at most `heads`; the
      body of the network is evaluated once.
    reference: name of the earlier model in refs.
    old: see heads.
    task: see heads.
    train: runs the student for training.

  Raises:
    ValueError: heads below 1; when called, missing refs.
  """
  check.positive("temperature", temperature)
  if heads is not None:
    check.positive("heads", heads)

  def about(params, batch, view, classes):
    out = forward(fn, params, batch, view, train=train)
    answers = frozen(fn, batch, view, reference).logits
    return mean(losses.distill_cross_entropy(out.logits, answers, temperature, classes), batch), out

  def objective(params, batch, view):
    if heads is None:
      (value, aux), out = about(params, batch, view, ref(view, old))
      return value, with_state(aux, out, view, train)
    total, now = jnp.zeros(()), ref(view, task)
    for t in range(heads):
      rows = batch["valid"].shape
      asked = {**batch, "inputs": {**batch["inputs"], "task": jnp.full(rows, t, jnp.int32)}}
      (value, aux), out = about(params, asked, view, None)
      total += jnp.where(t < now, value, 0.0)
    return total, with_state(aux, out, view, train)

  return objective


def one_vs_all(
  fn: ModelFn,
  *,
  distill: bool = True,
  reference: str = "teacher",
  seen: str = "seen",
  old: str = "old",
  train: bool = True,
  target: str = "y",
) -> Objective:
  """`losses.one_vs_all` over the classes seen so far, with the targets of old classes from an earlier model.

  Args:
    fn: a classifier, without a mask on its logits.
    distill: takes the old classes' targets from the teacher ("LwF.MC"); False labels them 0.
    reference: the teacher's name in refs.
    seen: name of `refs[seen]`, bool[C], the classes that count.
    old: name of `refs[old]`, bool[C].
    train: runs the student for training.
    target: column of int labels.
  """

  def objective(params, batch, view):
    out = forward(fn, params, batch, view, train=train)
    more = {"teacher_logits": frozen(fn, batch, view, reference).logits, "old": ref(view, old)} if distill else {}
    values = losses.one_vs_all(out.logits, column(batch, target), ref(view, seen), **more)
    value, aux = mean(values, batch)
    return value, with_state(aux, out, view, train)

  return objective


def feature_distill(fn: ModelFn, site: str, *, reference: str = "teacher", train: bool = True) -> Objective:
  """mean over rows of |h(x) - h_old(x)|^2 at one site: features stay where an earlier model had them.

  Args:
    fn: student and teacher.
    site: a captured activation, f[B, ...], flattened for each row.
    reference: the teacher's name in refs.
    train: runs the student for training.

  Example:
    >>> import jax
    >>> from unlearnjax.core.types import Outputs, View
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"], {"h": params * inputs["x"]})
    >>> view = View(0, jax.random.key(0), {"teacher": {"params": 1.0}}, {}, ())
    >>> batch = {"inputs": {"x": jnp.ones((2, 3))}, "valid": jnp.ones(2, bool)}
    >>> float(feature_distill(fn, "h")(3.0, batch, view)[0])
    12.0
  """

  def objective(params, batch, view):
    out = forward(fn, params, batch, view, train=train, capture=(site,))
    fixed = frozen(fn, batch, view, reference, capture=(site,)).hidden[site]
    gap = out.hidden[site].astype(jnp.float32) - fixed.astype(jnp.float32)
    value, aux = mean(jnp.sum(jnp.square(gap.reshape(gap.shape[0], -1)), axis=-1), batch)
    return value, with_state(aux, out, view, train)

  return objective
