"""Objectives that move features: to a wrong prototype (DUCK), to a wrong class Gaussian (SCAR)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax import losses
from unlearnjax.core import check
from unlearnjax.core.types import Array, ModelFn, Objective, RoleBatch
from unlearnjax.objectives.bind import accuracy, column, forward, frozen, mean, ref, with_state


def prototype(
  fn: ModelFn,
  *,
  site: str = "head:in",
  target: str = "target",
  reference: str = "prototypes",
  label: str = "y",
  train: bool = True,
) -> Objective:
  """Mean cosine distance of features to the prototype of a target class; reports `accuracy` where labels are there.

  DUCK, Cotogni et al., arXiv:2312.02052. Targets are chosen once, with `losses.nearest_wrong_prototype` at the
  original weights, and travel as a column.

  Args:
    fn: the model.
    site: activation f[B, d] that serves as features.
    target: column of int target classes.
    reference: `refs[reference]` holds the prototypes, f[C, d].
    label: column of true labels, read only for the reported accuracy.
    train: runs the model for training.

  Example:
    >>> from unlearnjax.core.types import Outputs, View
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"], {"head:in": inputs["x"] * params})
    >>> batch = {"inputs": {"x": jnp.eye(2)}, "target": jnp.array([1, 1]), "valid": jnp.array([True, True])}
    >>> view = View(0, jax.random.key(0), {"prototypes": jnp.eye(2)}, {}, ())
    >>> float(prototype(fn)(jnp.array(2.0), batch, view)[0])
    0.5
  """

  def objective(params, batch, view):
    out = forward(fn, params, batch, view, train=train, capture=(site,))
    values = losses.prototype_distance(out.hidden[site], ref(view, reference), column(batch, target))
    value, aux = mean(values, batch)
    return value, with_state({**aux, **_accuracy(out.logits, batch, label)}, out, view, train)

  return objective


def class_gaussian(
  fn: ModelFn,
  *,
  site: str = "head:in",
  target: str = "target",
  reference: str = "gaussians",
  classes: str = "forget_classes",
  power: float = 0.5,
  floor: float = 0.8,
  label: str = "y",
  train: bool = True,
) -> Objective:
  """Mean squared Mahalanobis distance of Tukey features to a target class: SCAR's forget term, arXiv:2404.12922.

  Examples of a class being removed count fully. All others count with the accuracy that their class has in the batch,
  and not at all once it is below `floor`: single examples need not be forgotten further than that. Reports `accuracy`.

  Args:
    fn: a classifier.
    site: activation f[B, d], non-negative.
    target: column of int target classes, chosen once (`losses.mahalanobis_squared`, `losses.nearest_wrong`).
    reference: `refs[reference] = {"mean": f[C, d], "precision": f[C, d, d]}`.
    classes: `refs[classes]`, bool[C], the classes being removed; all False for the removal of single examples.
    power: of the Tukey transform, in (0, 1].
    floor: in [0, 1].
    label: column of true labels.
    train: runs the model for training.
  """
  check.fraction("power", power)
  check.fraction("floor", floor, zero=True)

  def objective(params, batch, view):
    out = forward(fn, params, batch, view, train=train, capture=(site,))
    moments, labels = ref(view, reference), column(batch, label)
    values = losses.mahalanobis_squared(
      out.hidden[site], moments["mean"], moments["precision"], column(batch, target), power
    )
    removed = jnp.asarray(ref(view, classes), bool)
    weights = jnp.where(removed, 1.0, _class_accuracy(out.logits, labels, batch, floor))
    value, aux = mean(values * weights[labels], batch)
    return value, with_state({**aux, **_accuracy(out.logits, batch, label)}, out, view, train)

  return objective


def surrogate_distill(
  fn: ModelFn,
  *,
  reference: str = "teacher",
  classes: str = "forget_classes",
  temperature: float = 1.0,
  offset: float = 0.0,
  train: bool = True,
) -> Objective:
  """KL(softmax(teacher / T) || softmax(student)) on surrogate images: SCAR's retain term without a retain set.

  Surrogates that the teacher gives to a class being removed are dropped, and the teacher's logit of such a class is
  set to the smallest of the batch.

  Args:
    fn: student and teacher.
    reference: the teacher's name in refs.
    classes: `refs[classes]`, bool[C], the classes being removed; all False for the removal of single examples.
    temperature: T > 0 of the teacher.
    offset: added to both distributions; 1e-4 in the reference implementation.
    train: runs the student for training.
  """
  check.positive("temperature", temperature)

  def objective(params, batch, view):
    removed = jnp.asarray(ref(view, classes), bool)
    teacher = frozen(fn, batch, view, reference).logits
    keep = ~removed[jnp.argmax(teacher, axis=-1)]
    if "valid" in batch:
      keep &= batch["valid"]
    out = forward(fn, params, batch, view, train=train)
    probs = _soften(losses.suppress_classes(teacher, removed, batch.get("valid")), temperature)
    value, aux = mean(losses.kl_to_probs(out.logits, probs, offset=offset), {"valid": keep})
    return value, with_state(aux, out, view, train)

  return objective


def _soften(logits: Array, temperature: float) -> Array:
  return jax.nn.softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)) / temperature, axis=-1)


def _accuracy(logits: Array, batch: RoleBatch, label: str) -> dict[str, Array]:
  return {"accuracy": accuracy(logits, batch[label], batch)} if label in batch else {}


def _class_accuracy(logits: Array, labels: Array, batch: RoleBatch, floor: float) -> Array:
  """f[C], accuracy of every class over the valid rows; 0 where it is below `floor`."""
  member = jax.nn.one_hot(labels, logits.shape[-1])
  if "valid" in batch:
    member = member * batch["valid"][:, None]
  right = (jnp.argmax(logits, axis=-1) == labels).astype(member.dtype)
  found = right @ member / jnp.maximum(member.sum(0), 1)
  return jnp.where(found >= floor, found, 0.0)
