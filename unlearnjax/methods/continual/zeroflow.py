"""ZeroFlow: continual learning by forward passes. Feng et al., ICML 2025 (paper 107)."""

from __future__ import annotations

import optax

from unlearnjax import objectives, reparam, updates
from unlearnjax.core import Method, ModelFn, Verbs, check, descend
from unlearnjax.methods.continual.parts import learner, open_head
from unlearnjax.methods.over import over, with_refs
from unlearnjax.methods.parts import teacher

OPTIMIZERS = ("zo_sgd", "zo_adam", "zo_sign", "zo_conserve", "forward_grad")


def zeroflow(
  *,
  optimizer: str = "zo_sgd",
  learning_rate: float = 1e-3,
  where: str = ".*",
  samples: int = 1,
  epsilon: float = 1e-3,
  keep: float = 1.0,
  strength: float = 1.0,
  epochs: int = 1,
  batch_size: int = 48,
  every: int | None = None,
) -> Method:
  """Learning without forgetting whose gradients come from forward passes alone: no backward pass is run.

  theta <- theta - lr g with g = (1/q) sum_i [L(theta + eps xi_i) - L(theta - eps xi_i)] / (2 eps) xi_i, or a rule made
  of it, and L = CE(D_t) + strength * distillation of the old classes. It is meant for a few trained parameters over a
  trained body: the noise of g grows with their number, and so must the steps.

  Args:
    optimizer: "zo_sgd"; "zo_adam"; "zo_sign", the sign of each entry of g; "zo_conserve", the best of no step, the
      step and its opposite; "forward_grad", <gradient, xi> xi by forward-mode differentiation.
    learning_rate: > 0, about in inverse proportion to the number of trained weights.
    where: regular expression for the names of the weights that are trained, e.g. "head/.*".
    samples: q >= 1 directions a step.
    epsilon: > 0, half the distance of the two points.
    keep: fraction of the trained weights that move, the "sparse" enhancement.
    strength: >= 0, of the distillation.
    epochs: passes over each task.
    batch_size: rows of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Raises:
    ValueError: arguments out of range; at init, an expression that matches no weight.

  Example:
    >>> zeroflow(optimizer="zo_sign", where="head/.*").name
    'zeroflow'
  """
  check.one_of("optimizer", optimizer, OPTIMIZERS)
  check.positive("learning_rate", learning_rate)
  check.positive("strength", strength, zero=True)
  spsa = updates.spsa(epsilon=epsilon, samples=samples, keep=keep)
  rules = {
    "zo_sgd": optax.chain(spsa, optax.sgd(learning_rate)),
    "zo_adam": optax.chain(spsa, optax.adam(learning_rate)),
    "zo_sign": optax.chain(spsa, optax.sign_sgd(learning_rate)),
    "zo_conserve": updates.conservative(optax.chain(spsa, optax.sgd(learning_rate))),
    "forward_grad": optax.chain(updates.forward_gradient(samples=samples, keep=keep), optax.sgd(learning_rate)),
  }
  part = reparam.select(where)

  def bind(fn: ModelFn) -> Verbs:
    bound = part.bind(fn)
    xent = objectives.cross_entropy(open_head(bound), train=False)  # both points must see one and the same network
    keeping = objectives.scaled(objectives.retained(bound, train=False), strength)
    step = descend({"current": objectives.added(xent, keeping)}, rules[optimizer])
    settings = dict(epochs=epochs, batch_size=batch_size, every=every)
    before = lambda state, refs, task, run: (state, {**refs, "teacher": teacher(state)})
    model = with_refs(open_head(bound), "base", "seen")
    first = lambda given, key: {"teacher": teacher(given)}
    return over(part, learner(bound, step, refs=first, before=before, model=model, **settings))

  return Method("zeroflow", bind)
