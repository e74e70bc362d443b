"""Which slices of which layers a loss depends on: the Markov blanket of an example in the activations of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from unlearnjax import losses
from unlearnjax.core import check
from unlearnjax.core.tree import get_path
from unlearnjax.core.types import Array, ArrayTree, ModelFn, Params, RoleBatch, View
from unlearnjax.curvature.dependence import foci
from unlearnjax.objectives.bind import column, forward


def markov_blanket(
  fn: ModelFn,
  loss: Callable[[Array, Array], Array],
  params: Params,
  row: RoleBatch,
  layers: Sequence[str],
  view: View,
  *,
  target: str = "y",
  copies: int = 1000,
  noise: float = 0.1,
  jitter: float = 0.01,
  limit: int | None = None,
) -> dict[str, Array]:
  """The units of some layers that the loss of one example depends on when its input is perturbed.

  Copies of the input with Gaussian noise go through the network; each unit's activation (averaged over places, for
  convolutions) is a variable, and so is the loss. `foci` chooses the units that leave the loss independent of all
  others (L-FOCI; Mehta et al., arXiv:2204.07655).

  Args:
    fn: the model; the layers must be sites. It runs in eval mode.
    loss: `(outputs, targets) -> f[B]`.
    params: weights.
    row: a role batch of one row; floating inputs are perturbed, others are not.
    layers: sites whose last axis counts units, e.g. ("fc", "head").
    view: refs, state and rng; rng draws the noise.
    target: column of the target.
    copies: n >= 2; n^2 memory, n^2 times the number of units operations a chosen unit.
    noise: standard deviation on the inputs, > 0.
    jitter: standard deviation on the variables, see `foci`.
    limit: at most so many units.

  Returns:
    {layer: bool[units]}. All False where nothing tells the loss of one copy from that of another.

  Raises:
    ValueError: numbers out of range, no layers, or more than one row.
  """
  layers = tuple(layers)
  check.positive("noise", noise)
  if copies < 2:
    raise ValueError(f"copies must be >= 2, got {copies}")
  if not layers:
    raise ValueError("layers is empty: name the sites whose units are to be chosen from")
  if jnp.shape(row["valid"]) != (1,):
    raise ValueError(f"row must be a role batch of one row, got {jnp.shape(row['valid'])[0]}")
  keys = dict(zip(("noise", "foci"), jax.random.split(view.rng)))

  def perturbed(i, x):
    many = jnp.broadcast_to(x, (copies, *x.shape[1:]))
    if not jnp.issubdtype(x.dtype, jnp.floating):
      return many
    return many + noise * jax.random.normal(jax.random.fold_in(keys["noise"], i), many.shape, x.dtype)

  leaves, structure = jax.tree.flatten(row["inputs"])
  inputs = jax.tree.unflatten(structure, [perturbed(i, x) for i, x in enumerate(leaves)])
  out = forward(fn, params, {"inputs": inputs}, view, train=False, capture=layers)
  goal = column(row, target)
  values = loss(out.logits, jnp.broadcast_to(goal, (copies, *goal.shape[1:])))
  units = [losses.shapes.at_least_f32(out.hidden[s]) for s in layers]
  units = [u.mean(tuple(range(1, u.ndim - 1))) for u in units]
  selected = foci(jnp.concatenate(units, 1), values, limit=limit, jitter=jitter, key=keys["foci"]).selected
  ends = [0]
  for u in units:
    ends.append(ends[-1] + u.shape[1])
  return {layer: selected[a:b] for layer, a, b in zip(layers, ends, ends[1:])}


def slice_mask(params: Params, units: Mapping[str, Array]) -> ArrayTree:
  """The weights that make some units: columns of kernels, entries of biases.

  Args:
    params: weights.
    units: {layer path: bool[units]}; the units are the last axis of every leaf of the layer.

  Returns:
    a tree like `params` of bool arrays, False in layers that are not named.

  Raises:
    ValueError: a layer that is not there, or a leaf of another number of units.

  Example:
    >>> mask = slice_mask({"fc": {"kernel": jnp.ones((1, 2))}, "b": jnp.ones(1)}, {"fc": jnp.array([True, False])})
    >>> mask["fc"]["kernel"].tolist(), mask["b"].tolist()
    ([[True, False]], [False])
  """
  chosen = {tuple(layer.split("/")): (layer, which) for layer, which in units.items()}
  for path in chosen:
    get_path(params, path)

  def leaf(path, p):
    keys = tuple(str(getattr(k, "key", getattr(k, "idx", k))) for k in path)
    for i in range(1, len(keys)):
      if keys[:i] in chosen:
        layer, which = chosen[keys[:i]]
        if not p.ndim or p.shape[-1] != len(which):
          raise ValueError(f"layer {layer!r} has {len(which)} units, its {keys[i:]} has shape {p.shape}")
        return jnp.broadcast_to(which, p.shape)
    return jnp.zeros(p.shape, bool)

  return jax.tree_util.tree_map_with_path(leaf, params)
