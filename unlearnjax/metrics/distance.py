"""Distance of weights, and agreement of predicted labels, with those of the retrained model."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.tree import paths
from unlearnjax.core.types import Array, ArrayTree
from unlearnjax.losses import shapes
from unlearnjax.metrics import inputs


class LayerDistance(NamedTuple):
  """Euclidean distances of two parameter trees.

  Attributes:
    total: over all weights.
    leaves: by leaf path, such as "head/kernel".
  """

  total: Array
  leaves: dict[str, Array]


def layer_distance(params: ArrayTree, reference: ArrayTree) -> LayerDistance:
  """Euclidean distance of two parameter trees, by leaf and in total, >= 0; 0 only for equal weights.

  A small distance to retraining is sufficient and not necessary: two retrained models with different seeds are far
  apart.

  Args:
    params: any pytree of arrays.
    reference: of the same structure and shapes.

  Raises:
    ValueError: trees that differ in structure or shapes.

  Example:
    >>> d = layer_distance({"w": jnp.array([3.0, 0.0]), "b": jnp.array([4.0])}, {"w": jnp.zeros(2), "b": jnp.zeros(1)})
    >>> float(d.total), {name: float(x) for name, x in d.leaves.items()}
    (5.0, {'b': 4.0, 'w': 3.0})
  """
  check.same_structure("params", params, reference, "reference")
  square = lambda a, b: jnp.sum(jnp.square(shapes.at_least_f32(a) - shapes.at_least_f32(b)))
  squares = jax.tree.leaves(jax.tree.map(square, params, reference))
  return LayerDistance(jnp.sqrt(sum(squares)), {name: jnp.sqrt(s) for name, s in zip(paths(params), squares)})


def completeness(predictions: Array, reference: Array, *, definition: str = "agreement") -> Array:
  """How far the predicted labels equal those of the retrained model, a fraction in [0, 1]; 1 is ideal.

  agreement: share of examples with the same label. jaccard: |A and B| / |A or B| of the two sets of (example, label)
  pairs, = agreement / (2 - agreement). Source: Cao & Yang 2015; Nguyen et al. 2022, arXiv:2209.02299.

  Args:
    predictions: int[N] labels predicted after unlearning.
    reference: int[N] labels predicted by the retrained model.
    definition: "agreement" or "jaccard".

  Raises:
    ValueError: shapes that differ, no example, values that are not integers, an unknown definition.

  Example:
    >>> p, gold = jnp.array([0, 1, 2, 2]), jnp.array([0, 1, 2, 0])
    >>> float(completeness(p, gold)), float(completeness(p, gold, definition="jaccard"))
    (0.75, 0.6000000238418579)
  """
  check.one_of("definition", definition, ("agreement", "jaccard"))
  shapes.same_shape("predictions", predictions, "reference", reference)
  inputs.not_empty("predictions", predictions)
  for name, x in (("predictions", predictions), ("reference", reference)):
    shapes.whole_numbers(name, x, "; take the argmax of logits first")
  agreement = jnp.mean((jnp.asarray(predictions) == jnp.asarray(reference)).astype(jnp.float32))
  return agreement if definition == "agreement" else agreement / (2 - agreement)
