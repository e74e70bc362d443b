"""Losses towards a teacher's distribution. The teacher comes second and never receives a gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core import check
from unlearnjax.core.types import Array
from unlearnjax.losses import shapes


def distill_kl(student_logits: Array, teacher_logits: Array, temperature: float = 1.0) -> Array:
  """T^2 KL(softmax(teacher / T) || softmax(student / T)), in nats.

  T^2 keeps the size of the gradient independent of T (Hinton et al., arXiv:1503.02531); SCRUB (arXiv:2302.09880)
  uses this form on both sides of its game.

  Args:
    student_logits: f[..., C].
    teacher_logits: f[..., C], under stop_gradient.
    temperature: T > 0.

  Returns:
    f[...] >= 0; exactly 0, with zero gradient, where the logits agree.

  Raises:
    ValueError: logits of different shapes, temperature <= 0.

  Example:
    >>> teacher = jnp.log(jnp.array([[0.5, 0.3, 0.2]]))
    >>> round(float(distill_kl(jnp.zeros((1, 3)), teacher)[0]), 6)
    0.068959
  """
  shapes.same_shape("student_logits", student_logits, "teacher_logits", teacher_logits)
  check.positive("temperature", temperature)
  student = jax.nn.log_softmax(shapes.at_least_f32(student_logits) / temperature, axis=-1)
  teacher = jax.lax.stop_gradient(shapes.at_least_f32(teacher_logits) / temperature)
  teacher = jax.nn.log_softmax(teacher, axis=-1)
  return temperature**2 * shapes.kl_of_logs(teacher, student)


def distill_cross_entropy(
  student_logits: Array, teacher_logits: Array, temperature: float = 2.0, classes: Array | None = None
) -> Array:
  """-sum_c q_c log p_c with q = softmax(teacher / T) and p = softmax(student / T) over some classes, in nats.

  Learning without forgetting (Li and Hoiem, arXiv:1606.09282). There is no factor T^2: the gradient in the logits is
  (p - q) / T. Where the logits agree the gradient is zero and the value is the entropy of q, not 0.

  Args:
    student_logits: f[B, C].
    teacher_logits: f[B, C], under stop_gradient.
    temperature: T > 0.
    classes: bool[C] or bool[B, C], the classes that both are restricted to before the softmax: the outputs of earlier
      tasks. All by default; rows without any class give 0.

  Returns:
    f[B] >= 0, in float32 or wider.

  Example:
    >>> z = jnp.zeros((1, 3))
    >>> two = jnp.array([True, True, False])
    >>> [round(float(distill_cross_entropy(z, z, classes=c)[0]), 4) for c in (None, two)]
    [1.0986, 0.6931]
  """
  shapes.same_shape("student_logits", student_logits, "teacher_logits", teacher_logits)
  check.positive("temperature", temperature)
  keep = jnp.ones(np.shape(student_logits), bool)
  keep = keep if classes is None else keep & jnp.asarray(classes, bool)
  soften = lambda z: jnp.where(keep, shapes.at_least_f32(z) / temperature, -jnp.inf)
  some = keep.any(axis=-1, keepdims=True)  # a softmax over nothing is not a number: give it something, and drop it
  soften_safe = lambda z: jnp.where(some, soften(z), 0.0)
  q = jax.nn.softmax(jax.lax.stop_gradient(soften_safe(teacher_logits)), axis=-1)
  log_p = jnp.where(keep, jax.nn.log_softmax(soften_safe(student_logits), axis=-1), 0.0)
  return -jnp.sum(q * shapes.log_at(q, log_p), axis=-1)


def reverse_distill_kl(student_logits: Array, teacher_logits: Array, temperature: float = 1.0) -> Array:
  """T^2 KL(softmax(student / T) || softmax(teacher / T)): the other direction, which avoids what the teacher excludes.

  Shapes and errors as in `distill_kl`.

  Example:
    >>> teacher = jnp.log(jnp.array([[0.5, 0.3, 0.2]]))
    >>> round(float(reverse_distill_kl(jnp.zeros((1, 3)), teacher)[0]), 6)
    0.07024
  """
  shapes.same_shape("student_logits", student_logits, "teacher_logits", teacher_logits)
  check.positive("temperature", temperature)
  student = jax.nn.log_softmax(shapes.at_least_f32(student_logits) / temperature, axis=-1)
  teacher = jax.lax.stop_gradient(shapes.at_least_f32(teacher_logits) / temperature)
  teacher = jax.nn.log_softmax(teacher, axis=-1)
  return temperature**2 * shapes.kl_of_logs(student, teacher)


def kl_to_probs(student_logits: Array, probs: Array, temperature: float = 1.0, offset: float = 0.0) -> Array:
  """KL(probs || softmax(student / T)) for target probabilities, in nats, without a factor T^2.

  With `probs = softmax(teacher / T)` and temperature 1 this is the retain term of SCAR (arXiv:2404.12922), whose
  student is not tempered.

  Args:
    student_logits: f[..., C].
    probs: f[..., C], rows that sum to 1, under stop_gradient.
    temperature: T > 0, of the student.
    offset: added to both arguments; 1e-4 in SCAR's reference implementation.

  Returns:
    f[...] >= 0 up to the offset.

  Example:
    >>> round(float(kl_to_probs(jnp.zeros((1, 2)), jnp.array([[1.0, 0.0]]))[0]), 4)
    0.6931
  """
  shapes.same_shape("student_logits", student_logits, "probs", probs)
  check.positive("temperature", temperature)
  check.positive("offset", offset, zero=True)
  student = jax.nn.log_softmax(shapes.at_least_f32(student_logits) / temperature, axis=-1)
  if isinstance(offset, jax.core.Tracer) or offset:
    student = jnp.log(jnp.exp(student) + offset)
  probs = jax.lax.stop_gradient(shapes.at_least_f32(probs)) + offset
  return jnp.sum(jax.scipy.special.xlogy(probs, probs) - probs * shapes.log_at(probs, student), axis=-1)


def bad_teacher_kl(
  student_logits: Array,
  teacher_logits: Array,
  bad_logits: Array,
  forget: Array,
  temperature: float = 1.0,
  compat: str | None = None,
) -> Array:
  """KL(t || softmax(student / T)) with t the bad teacher's distribution on forget rows, the good teacher's elsewhere.

  t = u softmax(bad / T) + (1 - u) softmax(teacher / T). Chundawat et al., AAAI 2023, arXiv:2205.08096.

  Args:
    student_logits: f[B, C].
    teacher_logits: f[B, C] of the original model.
    bad_logits: f[B, C] of a randomly initialised model.
    forget: u, bool or f[B] in [0, 1].
    temperature: T > 0.
    compat: `"element_mean"` divides by C, as the reference implementation does by averaging over all elements: its
      learning rates are C times smaller than they look.

  Returns:
    f[B] >= 0.

  Example:
    >>> z = jnp.log(jnp.array([[0.5, 0.3, 0.2]]))
    >>> loss = bad_teacher_kl(z, z, jnp.zeros((1, 3)), jnp.array([True]))
    >>> round(float(loss[0]), 4)
    0.0702
  """
  shapes.batched("student_logits", student_logits, "B, C")
  shapes.same_shape("student_logits", student_logits, "teacher_logits", teacher_logits)
  shapes.same_shape("student_logits", student_logits, "bad_logits", bad_logits)
  if np.shape(forget) != np.shape(student_logits)[:1]:
    raise ValueError(f"forget must be [B] = [{np.shape(student_logits)[0]}], got shape {np.shape(forget)}")
  check.positive("temperature", temperature)
  check.one_of("compat", compat, (None, "element_mean"))
  soften = lambda z: jax.nn.softmax(shapes.at_least_f32(z) / temperature, axis=-1)
  u = jnp.asarray(forget, jnp.float32)[:, None]
  loss = kl_to_probs(student_logits, u * soften(bad_logits) + (1 - u) * soften(teacher_logits), temperature)
  return loss / np.shape(student_logits)[-1] if compat else loss


def suppress_classes(logits: Array, classes: Array, valid: Array | None = None) -> Array:
  """Sets the columns of some classes to the smallest logit of the batch, so that a teacher no longer names them.

  SCAR's teacher on surrogate data (arXiv:2404.12922).

  Args:
    logits: f[B, C].
    classes: bool[C], the classes to silence.
    valid: bool[B], rows among which the smallest logit is sought; all by default.

  Example:
    >>> suppress_classes(jnp.array([[3.0, 1.0], [5.0, 2.0]]), jnp.array([True, False])).tolist()
    [[1.0, 1.0], [1.0, 2.0]]
  """
  shapes.batched("logits", logits, "B, C")
  if np.shape(classes) != np.shape(logits)[1:]:
    raise ValueError(f"classes must be bool[C] = bool[{np.shape(logits)[1]}], got shape {np.shape(classes)}")
  if valid is not None and np.shape(valid) != np.shape(logits)[:1]:
    raise ValueError(f"valid must be bool[B] = bool[{np.shape(logits)[0]}], got shape {np.shape(valid)}")
  logits = jnp.asarray(logits)
  rows = jnp.ones(logits.shape[0], bool) if valid is None else jnp.asarray(valid, bool)
  # the first row stands in where no row counts, so that nothing becomes infinite
  rows = rows.at[0].set(rows[0] | ~rows.any())
  smallest = jnp.min(jnp.where(rows[:, None], logits, jnp.inf))
  return jnp.where(jnp.asarray(classes, bool), smallest.astype(logits.dtype), logits)
