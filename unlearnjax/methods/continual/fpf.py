"""FPF and k-FPF: repairing the few modules that forget. Zhao et al., ICML 2023, arXiv:2304.04158 (paper 124)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from unlearnjax import combine, edits, losses, objectives, updates
from unlearnjax.core import Method, Model, ModelFn, Transform, Verbs, check, descend, replay
from unlearnjax.core.tree import fold_name
from unlearnjax.memory import reservoir
from unlearnjax.methods.continual.parts import learner, open_head


def fpf(
  *,
  modules: str = r"(^|/)(head|norm|bn)[^/]*(/|$)",
  interval: int | None = None,
  steps: int = 100,
  size: int = 32,
  distill: float = 0.0,
  capacity: int = 200,
  repair: optax.GradientTransformation | None = None,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Plain training that only fills a buffer; a few modules are then finetuned on the buffer, the others stay.

  Without an interval (FPF) that happens after each task, to the weights that are served: training goes on from the
  weights before it, so that the last result is that of training plainly to the end and repairing once. With one
  (k-FPF) it happens to the weights in training every `interval` steps, wherever tasks begin and end.

  Args:
    modules: regular expression searched in the names of leaves: which are repaired. The last layer and norms by
      default, for classes that come one after another; first convolutions too where the inputs change. See
      `metrics.module_drift`.
    interval: steps between repairs, >= 1; None for FPF.
    steps: of a repair, >= 0; 0 is sequential fine-tuning.
    size: remembered examples of such a step.
    distill: weight >= 0 of mean (f(x') - z')^2, z' the logits when x' was stored (k-FPF-KD).
    capacity: examples that are kept, a uniform sample of the past.
    repair: optimizer of a repair, started afresh each time; SGD 0.1 by default.
    tx: optimizer, SGD 0.1 by default.
    epochs: passes over each task.
    batch_size: rows of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Raises:
    ValueError: arguments out of range; when learning, modules that match nothing.

  Example:
    >>> fpf(modules="^head", interval=200).name
    'fpf'
  """
  check.positive("steps", steps, zero=True)
  check.positive("size", size)
  check.positive("distill", distill, zero=True)
  if interval is not None:
    check.positive("interval", interval)
  tx = optax.sgd(0.1) if tx is None else tx
  repair = optax.chain(optax.sgd(0.1) if repair is None else repair, updates.mask_by("modules"))

  def bind(fn: ModelFn) -> Verbs:
    memory = reservoir(capacity)
    now = descend({"current": objectives.answered(fn, seen="seen")}, tx, state_from="current")
    # running statistics belong to modules that are not repaired: the buffer is seen in eval mode
    roles = {"memory": objectives.cross_entropy(open_head(fn), train=False)}
    if distill:
      roles["logits"] = objectives.supervised(fn, losses.squared_error, target="logits", train=False)
    mend = descend(roles, repair, combine=combine.weighted(**({"logits": distill} if distill else {})), name="repair")
    mended = repeated(replay(mend, memory, role=tuple(roles), size=size), mend, steps)
    once, step = jax.jit(mended), filling(now, memory)
    if interval is not None:
      step = periodic(step, mended, interval)

    def first(model, key):
      return {"modules": edits.path_mask(model.params, modules)}

    def after(state, refs, task, run):
      if interval is not None:
        return state, refs
      found = run.once("repaired", lambda: once(state, refs)[0].params)
      run.cost.gradient_evaluations += steps * min(size, int(state.memory["memory"]["rows"]["valid"].sum()))
      return state, {**refs, "repaired": found}

    def served(state, refs):
      params = refs.get("repaired", state.params)
      return Model(params, state.model_state, {"seen": refs["seen"]}, open_head(fn))

    return learner(
      fn,
      step,
      epochs=epochs,
      batch_size=batch_size,
      every=every,
      memories={"memory": memory},
      columns=lambda classes: {"logits": jnp.zeros((1, classes))},
      refs=first,
      after=after,
      model=served if interval is None else None,
    )

  return Method("fpf", bind)


def filling(step: Transform, memory) -> Transform:
  """A step whose examples go into the buffer, with the logits they had, and that reads nothing from it."""

  def update(state, batch, refs):
    key = fold_name(jax.random.fold_in(state.rng, state.step), "fill")
    state, info = step.update(state, batch, refs)
    rows = {**batch["current"], "logits": info["current/logits"]}
    return state.replace(memory={**state.memory, "memory": memory.add(state.memory["memory"], rows, key)}), info

  return Transform(step.init, update)


def repeated(step: Transform, fresh: Transform, count: int):
  """`(state, refs) -> (state, examples read, all finite)`: steps with an optimizer of their own, which is dropped."""

  def run(state, refs):
    start = fresh.init(state.replace(opt_state={}))

    def one(carry, i):
      now, ok = carry
      moved, info = step.update(now.replace(step=i, rng=jax.random.fold_in(state.rng, state.step)), {}, refs)
      return (moved, ok & info["ok"]), info["memory/read"]

    (end, ok), read = jax.lax.scan(one, (start, jnp.array(True)), jnp.arange(count, dtype=state.step.dtype))
    return state.replace(params=end.params), read.sum(), ok

  return run


def periodic(step: Transform, mend, interval: int) -> Transform:
  """Each `interval`-th step is followed by a repair."""

  def update(state, batch, refs):
    state, info = step.update(state, batch, refs)
    skip = lambda s, r: (s, jnp.zeros((), jnp.int32), jnp.array(True))
    state, read, ok = jax.lax.cond(state.step % interval == 0, mend, skip, state, refs)
    return state, {**info, "repair/read": read, "ok": info["ok"] & ok}

  return Transform(step.init, update)
