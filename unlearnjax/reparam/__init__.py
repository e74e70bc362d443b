"""What is trained instead of the weights.

A `Reparam` turns a model function over theta into one over phi, and keeps what it holds fixed in refs. It composes with
every objective, mask and combiner, because these only ever see a model function and its parameters.

Example:
  >>> import jax, optax
  >>> import unlearnjax as uj
  >>> model = uj.models.make("mlp", input_shape=(4,), num_outputs=2).init(jax.random.key(0))
  >>> small = uj.reparam.attach(uj.reparam.lora(rank=2, where=".*/linear/kernel"), model, jax.random.key(1))
  >>> step = uj.descend({"retain": uj.objectives.cross_entropy(small.fn)}, optax.adamw(1e-3))
  >>> state = step.init(uj.UnlearnState.create(small.params, rng=jax.random.key(2)))
  >>> sum(x.size for x in jax.tree.leaves(state.params)) < sum(x.size for x in jax.tree.leaves(model.params))
  True
"""

from unlearnjax.reparam.bound import attach, compose, detach
from unlearnjax.reparam.hypernet import Hypernet, at_task, by_entropy, hypernet, hypernet_regularizer
from unlearnjax.reparam.lora import lora
from unlearnjax.reparam.rescale import rescale
from unlearnjax.reparam.select import select

__all__ = [
  "Hypernet",
  "at_task",
  "attach",
  "by_entropy",
  "compose",
  "detach",
  "hypernet",
  "hypernet_regularizer",
  "lora",
  "rescale",
  "select",
]
