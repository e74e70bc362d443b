"""The verb `learn` for methods that only forget."""

from __future__ import annotations

from unlearnjax.core import Method, ModelFn, UnlearnState, Verbs, as_examples, bound, check, fit, zip_roles
from unlearnjax.core.tree import fold_name
from unlearnjax.methods.parts import everything
from unlearnjax.training import Recipe, trainer


def with_learning(method: Method, recipe: Recipe, *, rehearse: bool = True) -> Method:
  """A method that also learns: the served weights are trained on, by a recipe, for every new task.

  Args:
    method: with the verb `forget` alone, over the model's own parameters (no reparameterization).
    recipe: optimizer (fresh for every task), epochs and batch size of one task.
    rehearse: trains on the task together with what was learned before and not forgotten, where it is at hand
      (`Task.seen`); otherwise on the task alone.

  Raises:
    ValueError: the method learns by itself.

  Example:
    >>> import optax
    >>> from unlearnjax import methods
    >>> with_learning(methods.ssd(), Recipe(optax.sgd(0.1), epochs=1)).name
    'ssd'
  """
  check.positive("recipe.epochs", recipe.epochs)

  def bind(fn: ModelFn) -> Verbs:
    verbs, step = bound(method, fn), trainer(fn, recipe)
    if verbs.learn is not None:
      raise ValueError(f"{method.name} learns by itself")

    def learn(state, refs, task, run):
      source = everything(task) if rehearse else as_examples(task.train)
      inner = UnlearnState.create(state.params, rng=fold_name(state.rng, "learn"), model_state=state.model_state)
      plan = zip_roles(train=source, batch_size=recipe.batch_size, epochs=recipe.epochs)
      inner, _ = fit(step, step.init(inner), plan, run=run, name="learn")
      return state.replace(params=inner.params, model_state=inner.model_state), refs

    return verbs._replace(learn=learn)

  return Method(method.name, bind, method.guarantee)
