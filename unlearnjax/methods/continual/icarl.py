"""iCaRL: exemplars, old answers and nearest means. Rebuffi et al., CVPR 2017, arXiv:1611.07725 (baseline B12)."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import optax

from unlearnjax import objectives
from unlearnjax.core import Method, Model, ModelFn, Verbs, check, descend, joined, outputs, replay
from unlearnjax.core.source import as_examples
from unlearnjax.curvature.classes import site_width
from unlearnjax.memory import herding
from unlearnjax.methods.continual.parts import learner, padded_batch, remember
from unlearnjax.methods.parts import teacher
from unlearnjax.models.heads import nearest_mean


def icarl(
  *,
  capacity: int = 200,
  replay_size: int | None = None,
  site: str = "head:in",
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Learns features with labels for new classes and the old model's answers for old ones; answers by nearest mean.

  Sigmoid cross entropy over all classes, its targets sigmoid(f_old(x)) for classes of earlier tasks and one-hot for the
  others, on new examples and as many exemplars a step (the paper shuffles both together). At the end of a task,
  capacity / (classes seen) exemplars of every class are chosen by herding. Prediction: the class whose exemplars' mean
  normalised feature is nearest.

  Args:
    capacity: exemplars in all.
    replay_size: exemplars of a step; `batch_size` by default.
    site: features phi, f[B, d]: the input of the classifying layer.
    tx: optimizer, SGD 2.0 by default as in the paper: the loss is a mean over classes.
    epochs: passes over each task.
    batch_size: new examples of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps, with the means of the last task's end.

  Raises:
    ValueError: a capacity below `replay_size`.

  Example:
    >>> icarl(capacity=500).name
    'icarl'
  """
  tx = optax.sgd(2.0) if tx is None else tx
  size = batch_size if replay_size is None else replay_size
  check.positive("replay_size", size)
  if capacity < size:
    raise ValueError(f"capacity must be at least replay_size={size}, got {capacity}")
  exemplars = functools.cache(lambda classes: herding(capacity, classes))

  def bind(fn: ModelFn) -> Verbs:
    learned = descend({"both": objectives.labels_and_old_answers(fn)}, tx, state_from="both")
    step = replay(joined(learned, "both", ("current", "memory")), exemplars(1), role="memory", size=size)
    answer = nearest_mean(fn, site)

    @functools.partial(jax.jit, static_argnames="classes")
    def means_of(model, rows, classes):
      phi = model(rows["inputs"], capture=(site,)).hidden[site].astype(jnp.float32)
      phi = phi / jnp.maximum(jnp.linalg.norm(phi, axis=-1, keepdims=True), 1e-12)
      member = jax.nn.one_hot(rows["y"], classes) * rows["valid"][:, None]
      mean = member.T @ phi
      return mean / jnp.maximum(jnp.linalg.norm(mean, axis=-1, keepdims=True), 1e-12)

    def first(model, key):
      shape = (site_width(model, site.partition(":")[0]), site_width(model, site))
      return {"teacher": teacher(model), "means": jnp.zeros(shape)}

    def after(state, refs, task, run):
      data, model = as_examples(task.train), Model(state.params, state.model_state, {}, fn)
      rows = 1 << (len(data) - 1).bit_length()
      phi = outputs(model, data, run, capture=(site,), name="features")[site]
      batch = {**padded_batch(data, rows), "features": jnp.pad(phi, ((0, rows - len(data)), (0, 0)))}
      state = remember(state, "memory", exemplars(len(refs["seen"])), batch)
      means = means_of(model, state.memory["memory"]["rows"], len(refs["seen"]))
      return state, {**refs, "teacher": teacher(state), "means": means}

    def served(state, refs):
      seen = refs.get("seen", jnp.ones(len(refs["means"]), bool))
      return Model(state.params, state.model_state, {"means": refs["means"], "seen": seen}, answer)

    return learner(
      fn,
      step,
      epochs=epochs,
      batch_size=batch_size,
      every=every,
      memories={"memory": exemplars},
      refs=first,
      after=after,
      model=served,
      watched=answer,
    )

  return Method("icarl", bind)
