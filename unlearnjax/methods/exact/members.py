"""What systems of several small models share: training one of them, and their place in a stack."""

from __future__ import annotations

from typing import Any

import jax

from unlearnjax.core import Examples, Run, Transform, UnlearnState, fit, zip_roles
from unlearnjax.core.types import EMPTY, Array, ArrayTree, Refs
from unlearnjax.training import Recipe

Member = dict[str, Any]
"""`{"params": ..., "state": ...}` of one model."""


def train_member(
  step: Transform, member: Member, rows: Examples, recipe: Recipe, key: Array, run: Run, name: str, refs: Refs = EMPTY
) -> Member:
  """A member after `recipe` on `rows`, with a fresh optimizer; the key and the rows alone decide the bits."""
  state = UnlearnState.create(member["params"], rng=key, model_state=member["state"])
  plan = zip_roles(train=rows, batch_size=recipe.batch_size, epochs=recipe.epochs)
  state, _ = fit(step, step.init(state), plan, refs, run, name=name)
  return {"params": state.params, "state": state.model_state}


@jax.jit
def at(tree: ArrayTree, index: tuple[int, ...]) -> ArrayTree:
  """One member of a stack."""
  return jax.tree.map(lambda x: x[index], tree)


@jax.jit
def put(tree: ArrayTree, index: tuple[int, ...], values: ArrayTree) -> ArrayTree:
  """The stack with one member replaced."""
  return jax.tree.map(lambda x, v: x.at[index].set(v), tree, values)
