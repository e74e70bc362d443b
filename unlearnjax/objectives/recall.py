"""Objectives of replay: what was answered when an example was stored, and iCaRL's mixture of labels and old answers."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax import losses
from unlearnjax.core.types import ModelFn, Objective
from unlearnjax.objectives.bind import accuracy, column, forward, frozen, mean, ref, with_state

MASKED = -1e9


def answered(fn: ModelFn, *, seen: str | None = None, train: bool = True, target: str = "y") -> Objective:
  """Cross entropy that also reports the logits, f[B, C] in aux["logits"]: dark experience replay stores them.

  They are matched later by `supervised(fn, losses.squared_error, target="logits")`.

  Args:
    fn: a classifier.
    seen: `refs[seen]`, bool[C], are the classes that compete in the loss; the logits are reported unmasked.
    train: runs the model for training.
    target: column of int labels.
  """

  def objective(params, batch, view):
    out = forward(fn, params, batch, view, train=train)
    labels = column(batch, target)
    logits = out.logits if seen is None else jnp.where(ref(view, seen), out.logits, MASKED)
    value, aux = mean(losses.cross_entropy(logits, labels), batch)
    aux = {**aux, "accuracy": accuracy(logits, labels, batch), "logits": jax.lax.stop_gradient(out.logits)}
    return value, with_state(aux, out, view, train)

  return objective


def labels_and_old_answers(
  fn: ModelFn, *, teacher: str = "teacher", old: str = "old", train: bool = True, target: str = "y"
) -> Objective:
  """Sigmoid cross entropy over all outputs: old classes follow the teacher, the others the label (iCaRL).

  Mean over rows and outputs, as in Rebuffi et al., arXiv:1611.07725: the target of class c is sigmoid(f_old(x))_c where
  `refs[old]`, bool[C], and 1[y = c] elsewhere. Exemplars of old classes carry soft targets only.

  Args:
    fn: a classifier.
    teacher: `refs[teacher] = {"params", "state"}`, the model before this task.
    old: name of the mask of old classes.
    train: runs the model for training.
    target: column of int labels.
  """

  def objective(params, batch, view):
    out = forward(fn, params, batch, view, train=train)
    labels = column(batch, target)
    hard = jax.nn.one_hot(labels, out.logits.shape[-1])
    soft = jax.nn.sigmoid(frozen(fn, batch, view, teacher).logits)
    wanted = jnp.where(ref(view, old), soft, hard)
    value, aux = mean(losses.binary_cross_entropy(out.logits, wanted), batch)
    return value, with_state({**aux, "accuracy": accuracy(out.logits, labels, batch)}, out, view, train)

  return objective
