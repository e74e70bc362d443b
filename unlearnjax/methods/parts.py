"""What several methods are made of."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import optax

from unlearnjax.core import Examples, Model, ModelFn, Task, Transform, UnlearnState, as_examples, check, role_batch
from unlearnjax.core.tree import paths
from unlearnjax.core.types import Array


def sgd(learning_rate: float, *, momentum: float = 0.9, decay: float = 5e-4) -> optax.GradientTransformationExtraArgs:
  """SGD as papers on unlearning write it: `decay * theta` is added to the gradient, before the momentum.

  Example:
    >>> import jax.numpy as jnp
    >>> tx = sgd(0.1, decay=0.5)
    >>> updates, _ = tx.update({"w": jnp.ones(())}, tx.init({"w": jnp.ones(())}), {"w": jnp.full((), 2.0)})
    >>> round(float(updates["w"]), 4)
    -0.2
  """
  return optax.chain(optax.add_decayed_weights(decay), optax.sgd(learning_rate, momentum=momentum))


def restart(state: UnlearnState, *transforms: Transform) -> UnlearnState:
  """The state with fresh optimizers: a request must not go on with the momentum of the one before it.

  Example:
    >>> import jax.numpy as jnp
    >>> from unlearnjax.core import descend
    >>> step = descend({"retain": lambda p, b, v: (jnp.sum(p["w"]), {})}, optax.sgd(1.0, momentum=0.5))
    >>> state = step.init(UnlearnState.create({"w": jnp.zeros(())}, rng=jax.random.key(0)))
    >>> state, _ = step.update(state, {"retain": {}}, {})
    >>> [float(x) for s in (state, restart(state, step)) for x in jax.tree.leaves(s.opt_state)]
    [1.0, 0.0]
  """
  state = state.replace(opt_state={})
  for transform in transforms:
    state = transform.init(state)
  return state


def teacher(of: Model | UnlearnState) -> dict[str, Any]:
  """A model, or the model of a state, as a frozen teacher: `refs["teacher"] = teacher(state)`.

  Nothing is copied: `fit` copies what its state shares with refs.
  """
  return {"params": of.params, "state": of.state if isinstance(of, Model) else of.model_state}


def sample(source: Any, fraction: float, key: Array) -> Examples:
  """A random part of a source: round(fraction * n) rows, at least one, in the source's order.

  Args:
    source: a `Source` of n examples.
    fraction: in (0, 1].
    key: a typed key; same key, same rows.

  Example:
    >>> data = Examples({"x": np.zeros((10, 1), np.float32)})
    >>> len(sample(data, 0.3, jax.random.key(0))), len(sample(data, 1.0, jax.random.key(0)))
    (3, 10)
  """
  check.fraction("fraction", fraction)
  source = as_examples(source)
  rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
  return source[np.sort(rng.permutation(len(source))[: max(1, round(fraction * len(source)))])]


def everything(task: Task) -> Examples:
  """The examples of a task and of those before it, as far as `task.seen` holds them, in the order of their ids.

  The order in which they came leaves no trace.

  Raises:
    ValueError: examples of different tables whose ids clash.

  Example:
    >>> data = Examples({"x": np.zeros((4, 1), np.float32)})
    >>> everything(Task("late", 1, data[:1], seen=data[2:])).ids.tolist()
    [0, 2, 3]
  """
  found = as_examples(task.train)
  if task.seen is not None and len(task.seen):
    seen = as_examples(task.seen)
    try:
      found = seen + found
    except ValueError:  # another table
      if len(np.intersect1d(seen.ids, found.ids)):
        raise ValueError(f"ids of task {task.name!r} stand for other examples of earlier tasks") from None
      found = Examples.concatenate(seen, found)
  return by_id(found)


def by_id(source: Any) -> Examples:
  """The same examples in the order of their ids."""
  source = as_examples(source)
  return source[np.argsort(source.ids, kind="stable")]


def num_outputs(model: Model, source: Any) -> int:
  """Width of the model's output on the examples of a source; nothing is computed.

  Example:
    >>> import jax.numpy as jnp
    >>> from unlearnjax.core import Outputs
    >>> model = Model({"w": jnp.zeros((2, 5))}, fn=lambda params, inputs, **_: Outputs(inputs["x"] @ params["w"]))
    >>> num_outputs(model, Examples({"x": np.zeros((3, 2), np.float32)}))
    5
  """
  inputs = role_batch(as_examples(source), slice(1))["inputs"]
  return jax.eval_shape(lambda m, x: m(x).logits, model, inputs).shape[-1]


def layer_inputs(fn: ModelFn) -> dict[str, str]:
  """{kernel path: site of the layer's input} of all linear and convolution kernels of a model that knows its sites."""
  known = getattr(fn, "sites", None)
  if known is None:
    raise ValueError(f"the layers' inputs of a {type(fn).__name__} are not known: give sites={{kernel path: site}}")
  params = jax.eval_shape(fn.init, jax.random.key(0)).params
  found = {}
  for path, leaf in zip(paths(params), jax.tree.leaves(params)):
    layer, _, leaf_name = path.rpartition("/")
    if leaf_name == "kernel" and leaf.ndim in (2, 4) and layer in known:
      found[path] = f"{layer}:in"
  return found
