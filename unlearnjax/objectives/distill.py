"""Objectives towards a frozen teacher, `refs[reference] = {"params": ..., "state": ...}`."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from unlearnjax import losses
from unlearnjax.core import check
from unlearnjax.core.types import Array, ModelFn, Objective
from unlearnjax.objectives.bind import column, forward, frozen, mean, with_state

_DIRECTIONS = {"forward": losses.distill_kl, "reverse": losses.reverse_distill_kl}


def teacher_loss(
  fn: ModelFn,
  loss: Callable[[Array, Array], Array],
  *,
  reference: str = "teacher",
  train: bool = True,
  cached: str | None = None,
) -> Objective:
  """Mean over valid rows of `loss(student outputs, teacher outputs) -> f[B]`.

  Args:
    fn: student and teacher.
    loss: any loss of two outputs, e.g. `losses.squared_error` for a proxy regressor.
    reference: the teacher's name in refs; it runs in eval mode under stop_gradient.
    train: runs the student for training. In a deterministic network whose student equals its teacher the gradient of
      a divergence is exactly zero: the first ascent step of SCRUB stands still there.
    cached: column with the teacher's outputs, to be used instead of running it.
  """

  def objective(params, batch, view):
    out = forward(fn, params, batch, view, train=train)
    if cached is None:
      target = frozen(fn, batch, view, reference).logits
    else:
      target = jax.lax.stop_gradient(column(batch, cached))
    value, aux = mean(loss(out.logits, target), batch)
    return value, with_state(aux, out, view, train)

  return objective


def distill(
  fn: ModelFn,
  *,
  reference: str = "teacher",
  temperature: float = 1.0,
  train: bool = True,
  direction: str = "forward",
  cached: str | None = None,
) -> Objective:
  """T^2 KL between teacher and student, mean over valid rows, in nats.

  `negated(distill(fn, temperature=4))` on the forget role is SCRUB's ascent; a randomly initialised teacher on the
  forget role is the erasure of a stochastic teacher network (arXiv:2308.14322).

  Args:
    fn: student and teacher.
    reference: the teacher's name in refs.
    temperature: T > 0 of both.
    train: runs the student for training.
    direction: "forward" is KL(teacher || student), "reverse" KL(student || teacher).
    cached: column with the teacher's logits, to be used instead of running it.

  Example:
    >>> from unlearnjax.core.types import Outputs, View
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"] @ params)
    >>> view = View(0, jax.random.key(0), {"teacher": {"params": jnp.eye(2)}}, {}, ())
    >>> batch = {"inputs": {"x": jnp.eye(2)}, "valid": jnp.array([True, True])}
    >>> round(float(distill(fn)(jnp.zeros((2, 2)), batch, view)[0]), 4)
    0.1109
  """
  check.positive("temperature", temperature)
  check.one_of("direction", direction, tuple(_DIRECTIONS))
  divergence = _DIRECTIONS[direction]
  loss = lambda student, teacher: divergence(student, teacher, temperature)
  return teacher_loss(fn, loss, reference=reference, train=train, cached=cached)


def bad_teacher(
  fn: ModelFn,
  *,
  forget: str = "bad_teacher",
  retain: str = "teacher",
  temperature: float = 1.0,
  train: bool = True,
  compat: str | None = None,
) -> dict[str, Objective]:
  """A randomly initialised teacher for the forget role, the original model for the retain role.

  KL(softmax(teacher / T) || softmax(student / T)) for both. Chundawat et al., AAAI 2023, arXiv:2205.08096. The paper
  averages over one shuffled mixture; with a batch a role that is `combine.weighted(forget=c, retain=1 - c)`, c the
  share of forget rows.

  Args:
    fn: student and teachers.
    forget: name of the bad teacher in refs.
    retain: name of the good teacher in refs.
    temperature: T > 0.
    train: runs the student for training.
    compat: `"element_mean"` divides by the number of classes, as the reference implementation does.

  Returns:
    {"forget": objective, "retain": objective}.
  """
  check.positive("temperature", temperature)
  check.one_of("compat", compat, (None, "element_mean"))

  def loss(student, teacher):
    probs = jax.nn.softmax(teacher.astype(jnp.promote_types(teacher.dtype, jnp.float32)) / temperature, axis=-1)
    values = losses.kl_to_probs(student, probs, temperature)
    return values / student.shape[-1] if compat else values

  return {
    "forget": teacher_loss(fn, loss, reference=forget, train=train),
    "retain": teacher_loss(fn, loss, reference=retain, train=train),
  }


def attention_distill(
  fn: ModelFn,
  loss: Callable[[Array, Array], Array] = losses.absolute_error,
  *,
  sites: tuple[str, ...] = (),
  beta: float = 50.0,
  reference: str = "proxy",
  train: bool = True,
) -> Objective:
  """`loss` to a proxy's outputs plus beta times the attention transfer at some sites: Blindspot's forget term.

  Tarun et al., arXiv:2210.08196. The paper weighs it by the share c of forget rows and the ordinary retain loss by
  1 - c: `combine.weighted(forget=c, retain=1 - c)`.

  Args:
    fn: student and proxy.
    loss: of two outputs, f[B].
    sites: activations f[B, positions..., channels] to compare; sub-module paths.
    beta: >= 0.
    reference: the proxy's name in refs: a model trained briefly on the retain set alone.
    train: runs the student for training.
  """
  check.positive("beta", beta, zero=True)
  sites = tuple(sites) if beta else ()

  def objective(params, batch, view):
    out = forward(fn, params, batch, view, train=train, capture=sites)
    proxy = frozen(fn, batch, view, reference, capture=sites)
    values = loss(out.logits, proxy.logits)
    for site in sites:
      values = values + beta * losses.attention_transfer(out.hidden[site], proxy.hidden[site])
    value, aux = mean(values, batch)
    return value, with_state(aux, out, view, train)

  return objective
