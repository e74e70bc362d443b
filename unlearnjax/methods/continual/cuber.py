"""CUBER: backward knowledge transfer. Lin et al., NeurIPS 2022 (paper 86)."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax import curvature, objectives, reparam
from unlearnjax.core import Combiner, Method, Model, ModelFn, Verbs, check, descend, fold
from unlearnjax.core.tree import get_path, set_path
from unlearnjax.methods.continual.gpm import energy_share, pooled, projected
from unlearnjax.methods.continual.parts import check_room, chosen, learner, own_classes
from unlearnjax.methods.over import over, with_refs
from unlearnjax.methods.parts import layer_inputs, restart
from unlearnjax.models.heads import seen_classes
from unlearnjax.reparam.rescale import fresh_scale, trained


def cuber(
  *,
  reach: float = 0.5,
  agreement: float = 0.0,
  strength: float = 1.0,
  most: int = 2,
  threshold: float = 0.97,
  rise: float = 0.003,
  sampled: int = 300,
  rank: int | None = None,
  unprojected: str | None = r"(^|/)head/",
  sites: Mapping[str, str] | None = None,
  tasks: int = 10,
  infer_task: bool = False,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Decides for every layer and old task whether to protect it, to reuse it, or to improve it.

  B_j is a basis of the inputs that task j sends through a layer, Proj_j(A) = A B_j B_j^T, G_j the gradient of task j at
  its end and G that of the new task before it is learned. Old task j is, in this layer, in

  * regime 1 where |Proj_j G| <= reach |G|: G loses its part in B_j, as in `gpm`;
  * regime 2 where it reaches further and <G_j, G> < agreement |G_j| |G|: the same, but the new task works with
    W + W B_j (Q_j - I) B_j^T, whose square matrix Q_j it trains;
  * regime 3 where they agree: Q_j as well, the gradient keeps its part in B_j, and strength |Proj_j(W - W_{t-1})|_F is
    added to the loss. As soon as a step's gradient disagrees with G_j, j falls to regime 2 until the task is over.

  Off regimes 1 and 2 the gradient is projected by one orthonormal basis of all their B_j. At the end of a task its
  basis is drawn from the kept directions and new ones together, see `gpm.pooled`. Biases and norms are frozen after
  the first task. Every task keeps its own Q: the served model takes `inputs["task"]`, or finds it as `hypernetwork`
  does. With reach >= 1 it is `gpm` with that basis.

  Args:
    reach: e1, >= 0; 1 and more leaves all tasks in regime 1.
    agreement: e2, a cosine in [-1, 1].
    strength: lambda >= 0 of the penalty. Its pull has this norm however small the change is, so that a gradient below
      it improves nothing: take it well below the gradient's norm.
    most: old tasks in regimes 2 and 3 of one layer, those with the largest |Proj_j G|; others are in regime 1.
    threshold: share of the energy of a layer's inputs that a basis holds, in (0, 1].
    rise: by which the share grows from task to task; it stays below 1.
    sampled: examples of a task that gradients and bases are read from.
    rank: room for so many directions of a layer's inputs, over all tasks; None for all of them. Once it is full, new
      ones are not kept. Every step costs in proportion to it: a few hundred do for images of 784 pixels and more.
    unprojected: regular expression of kernels that are left to the gradient: the last layer by default, for tasks that
      have outputs of their own. None for tasks that share their outputs.
    sites: {kernel path: site of its input}; None takes all kernels of a model that knows its sites. Convolutions are
      seen at stride 1 with padding "SAME".
    tasks: capacity: as many gradients of all weights and matrices Q are kept.
    infer_task: serves the model that finds the task by the smallest entropy.
    tx: plain SGD, 0.1 by default, afresh for every task.
    epochs: passes over each task.
    batch_size: rows of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Raises:
    ValueError: arguments out of range, or a model whose sites are not known; when learning, more tasks than `tasks`.

  Example:
    >>> cuber(reach=0.2, tasks=4).name
    'cuber'
  """
  check.positive("reach", reach, zero=True)
  if not -1 <= agreement <= 1:
    raise ValueError(f"agreement must be a cosine in [-1, 1], got {agreement}")
  check.positive("strength", strength, zero=True)
  share = energy_share(threshold, rise)
  check.positive("sampled", sampled)
  tx = optax.sgd(0.1) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    inputs = projected(layer_inputs(fn) if sites is None else sites, unprojected)
    net = reparam.rescale(tasks, tuple(inputs), most=most, rank=rank)
    bound, covariance = net.bind(fn), curvature.input_covariance(fn, inputs)
    own_head = seen_classes(reparam.at_task(bound), "now")
    gradient = curvature.gradient(objectives.cross_entropy(own_head, train=False))
    shield = shielded(tuple(inputs), strength, agreement)
    step = descend({"current": objectives.cross_entropy(own_head)}, tx, combine=shield, state_from="current")

    def gradients(state, refs, task, run, name):
      model = Model(state.params, state.model_state, {k: refs[k] for k in ("spaces", "task", "now")}, own_head)
      found = fold(gradient, model, chosen(task, sampled, state.rng), run, name=name)["net"]
      return {path: flat(get_path(found, tuple(path.split("/")))) for path in inputs}

    def first(model, key):
      kernels = {path: flat(get_path(model.params["net"], tuple(path.split("/")))) for path in inputs}
      free = {path: jnp.zeros(most, bool) for path in inputs}
      ends = {path: jnp.zeros((tasks, *kernel.shape)) for path, kernel in kernels.items()}
      return {"start": kernels, "free": free, "ends": ends}

    def before(state, refs, task, run):
      check_room("cuber", task, tasks)
      scale = {path: fresh_scale(most, len(refs["spaces"][path]["union"])) for path in inputs}
      state = restart(state.replace(params={**state.params, "scale": scale}), step)
      start = {path: flat(get_path(state.params["net"], tuple(path.split("/")))) for path in inputs}
      refs = {**own_classes(refs, task, tasks), "start": start}

      def decided():
        if task.index == 0:
          return {path: {"chosen": np.full(most, -1, np.int32), "free": np.zeros(most, bool)} for path in inputs}
        g = gradients(state, refs, task, run, "arrival")
        settings = dict(count=task.index, reach=reach, agreement=agreement, most=most)
        return {path: regimes(g[path], refs["ends"][path], refs["spaces"][path], **settings) for path in inputs}

      found = run.once("regimes", decided)
      spaces = {path: {**refs["spaces"][path], "chosen": jnp.asarray(found[path]["chosen"])} for path in inputs}
      free = {path: jnp.asarray(found[path]["free"]) for path in inputs}
      return state, {**refs, "spaces": spaces, "free": free}

    def after(state, refs, task, run):
      def end():
        weights = net.generate(state.params, refs["task"], refs)
        seen = fold(covariance, Model(weights, state.model_state, {}, fn), chosen(task, sampled, state.rng), run)
        g, found = gradients(state, refs, task, run, "departure"), {}
        for path in inputs:
          space = refs["spaces"][path]
          union, owned = pooled(np.asarray(space["union"]), np.asarray(seen[path]), share(task.index))
          scale = trained(state.params["scale"][path], space)
          found[path] = {"union": np.float32(union), "owned": owned, "scale": scale, "gradient": g[path]}
        return found

      found = run.once("end", end)
      put = lambda old, new: old.at[task.index].set(new)
      spaces, ends = {}, {}
      for path, new in found.items():
        old = refs["spaces"][path]
        spaces[path] = {
          **old,
          "union": jnp.asarray(new["union"]),
          "owned": put(old["owned"], new["owned"]),
          "scales": put(old["scales"], new["scale"]),
        }
        ends[path] = put(refs["ends"][path], new["gradient"])
      return state, {**refs, "spaces": spaces, "ends": ends}

    served = reparam.by_entropy(bound, tasks, seen="known", classes="classes") if infer_task else bound
    served = seen_classes(served, "seen")
    model = with_refs(served, "spaces", "task", "known", "classes", "seen")
    settings = dict(epochs=epochs, batch_size=batch_size, every=every, watched=served)
    return over(net, learner(bound, step, refs=first, before=before, after=after, model=model, **settings))

  return Method("cuber", bind)


def regimes(g, ends, space, *, count: int, reach: float, agreement: float, most: int) -> dict[str, np.ndarray]:
  """Which old tasks one layer reuses, and which of them it improves.

  Args:
    g: f[d, out], the new task's gradient before it is learned.
    ends: f[tasks, d, out], the old ones' at their ends.
    space: of the layer, see `reparam.rescale`.
    count: tasks so far.
    reach, agreement, most: of `cuber`.

  Returns:
    {"chosen": int32[most], the tasks in regimes 2 and 3, -1 for none; "free": bool[most], those in regime 3}.

  Example:
    >>> space = {"union": np.eye(2), "owned": np.array([[True, False]])}
    >>> g = np.array([[1.0], [1.0]])
    >>> found = regimes(g, np.array([[[2.0], [0.0]]]), space, count=1, reach=0.5, agreement=0.0, most=2)
    >>> found["chosen"].tolist(), found["free"].tolist()
    ([0, -1], [True, False])
  """
  g, ends = np.asarray(g, np.float64), np.asarray(ends, np.float64)
  energy = np.sum((np.asarray(space["union"], np.float64) @ g) ** 2, 1)
  inside = np.sqrt(np.asarray(space["owned"])[:count] @ energy)
  size = np.linalg.norm(g)
  far = [j for j in np.argsort(-inside, kind="stable") if reach < 1 and inside[j] > reach * size][:most]
  picked, free = np.full(most, -1, np.int32), np.zeros(most, bool)
  for place, j in enumerate(far):
    picked[place] = j
    free[place] = np.sum(ends[j] * g) >= agreement * np.linalg.norm(ends[j]) * size
  return {"chosen": picked, "free": free}


def shielded(kernels: tuple[str, ...], strength: float, agreement: float) -> Combiner:
  """The gradient off all protected bases, with the penalty of those that are not; its state says which fell.

  Reads `refs["spaces"]`, `refs["start"]`, `refs["free"]` and `refs["ends"]`, all by kernel. The penalty's gradient is
  added here and not to the loss, because only the combiner knows which tasks are still free.
  """

  def init(params):
    return {path: jnp.zeros(params["scale"][path].shape[0], bool) for path in kernels}

  def update(grads, state, params, *, values=None, view=None, valid=None):
    del values, valid
    refs, grad = view.refs, grads["current"]
    late = refs["task"] > 0
    net = jax.tree.map(lambda g: jnp.where(late, 0.0, g) if g.ndim <= 1 else g, grad["net"])  # biases, norms
    state = dict(state)
    for path in kernels:
      place, space = tuple(path.split("/")), refs["spaces"][path]
      kernel, end = get_path(grad["net"], place), refs["ends"][path][jnp.maximum(space["chosen"], 0)]
      g, union = flat(kernel), space["union"]
      size = jnp.linalg.norm(end, axis=(1, 2)) * jnp.linalg.norm(g)
      opposed = jnp.einsum("jio,io->j", end, g) < agreement * size
      state[path] = state[path] | opposed
      free = refs["free"][path] & ~state[path]
      inside, moved = union @ g, union @ (flat(get_path(params["net"], place)) - refs["start"][path])
      mine = space["owned"][jnp.maximum(space["chosen"], 0)]
      pulls = jnp.where(mine[:, :, None], moved, 0.0)
      far = jnp.linalg.norm(pulls, axis=(1, 2), keepdims=True)
      weight = jnp.where(free[:, None, None] & (far > 0), strength / jnp.where(far > 0, far, 1.0), 0.0)
      pull = jnp.sum(weight * pulls, 0)
      index = jnp.arange(len(space["owned"]))[:, None]
      kept = ~((space["chosen"] == index) & free).any(1)
      closed = (space["owned"] & kept[:, None]).any(0)
      g = g + union.T @ (pull - jnp.where(closed[:, None], inside + pull, 0.0))
      net = set_path(net, place, g.astype(kernel.dtype).reshape(kernel.shape))
    return {"net": net, "scale": grad["scale"]}, state

  return Combiner(init, update)


def flat(kernel):
  """A kernel [..., in, out] as f[d, out]."""
  return kernel.reshape(-1, kernel.shape[-1])
