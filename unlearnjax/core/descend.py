"""One step of gradient-based learning or forgetting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from unlearnjax.core import check
from unlearnjax.core.state import UnlearnState
from unlearnjax.core.tree import cast_like, fold_name, get_path, set_path
from unlearnjax.core.types import Array, Aux, Batch, Combiner, Info, Objective, Refs, Transform, View

EXTRA_NAMES = ("value", "values", "grad", "value_fn", "obj_fn", "view", "refs", "slots", "valid", "batch")
"""What every update rule is offered as keyword arguments."""


def descend(
  objectives: Mapping[str, Objective],
  tx: optax.GradientTransformation,
  *,
  combine: Combiner | None = None,
  microbatch: int | None = None,
  state_from: str | None = None,
  over: tuple[str, ...] | None = None,
  name: str = "main",
) -> Transform:
  """One gradient a role, combined into one, then one optax update.

  The order is visible and always the same: objectives, `combine`, then `tx`. A mask belongs last in `tx`, where decay
  and momentum cannot move what it freezes.

  Args:
    objectives: an objective a role. A role that is absent from the batch gets None (penalties on parameters).
    tx: any optax transformation. It is offered `value` (the combined loss), `values` (by role), `grad` (the combined
      gradient), `value_fn`, `obj_fn`, `view`, `refs`, `slots`, `valid` and `batch`; what it does not know is ignored.
    combine: how the roles' gradients become one; `combine.weighted()` by default. Linear combiners share one backward.
    microbatch: splits every role batch into this many interleaved parts and accumulates exactly: parts are weighted by
      `aux["weight"]`, the gradient is kept in float32.
    state_from: the role whose `aux["state"]` becomes the model state.
    over: path of the sub-tree of the parameters to differentiate and optimize; siblings and their optimizers stay
      bit-equal.
    name: key of the optimizer state. Transforms of one name share one optimizer.

  Raises:
    ValueError: no objectives, or something else in the place of one, of `tx` or of `combine`; at trace time, a state
      that `init` did not make, an objective without `aux["weight"]` under `microbatch`, a role batch that the number
      of microbatches does not divide, or a model state that changes while `state_from` is None.

  Example:
    >>> loss = lambda params, batch, view: (jnp.mean((params["w"] - batch["y"]) ** 2), {})
    >>> step = descend({"retain": loss}, optax.sgd(0.5))
    >>> state = step.init(UnlearnState.create({"w": jnp.zeros(())}, rng=jax.random.key(0)))
    >>> state, info = step.update(state, {"retain": {"y": jnp.ones(4)}}, {})
    >>> float(state.params["w"]), float(info["retain/loss"])
    (1.0, 1.0)
  """
  check.objectives(objectives)
  check.optimizer("tx", tx)
  check.positive("microbatch", 1 if microbatch is None else microbatch)
  if state_from is not None and state_from not in objectives:
    raise ValueError(f"state_from must name a role of {sorted(objectives)}, got {state_from!r}")
  if combine is None:
    from unlearnjax.combine import weighted

    combine = weighted()
  check.kind("combine", combine, Combiner, "a combiner such as combine.cagrad()")
  tx = optax.with_extra_args_support(tx)
  where = over or ()
  roles = tuple(objectives)

  def init(state: UnlearnState) -> UnlearnState:
    params = get_path(state.params, where)
    fresh = (combine.init(params), tx.init(params))
    if name in state.opt_state:
      if jax.tree.structure(state.opt_state[name]) != jax.tree.structure(fresh):
        raise ValueError(f"two transforms share the optimizer {name!r} but their states differ: give one another name")
      return state
    return state.replace(opt_state={**state.opt_state, name: fresh})

  def update(state: UnlearnState, batch: Batch, refs: Refs) -> tuple[UnlearnState, Info]:
    params = get_path(state.params, where)
    if name not in state.opt_state:
      raise ValueError(
        f"the state has no optimizer {name!r}; found {sorted(state.opt_state)}: make it with init(state)"
      )
    combine_state, tx_state = state.opt_state[name]
    coefficients = combine.weights(combine_state, roles) if combine.weights else dict.fromkeys(roles, 1.0)
    rng = fold_name(jax.random.fold_in(state.rng, state.step), name)
    progress = batch.get("progress", jnp.zeros((), jnp.float32))
    view = View(state.step, rng, refs, state.slots, state.model_state, progress)

    def objective(role: str, part: Any, key: Array, model_state: Any):
      def f(p):
        full = set_path(state.params, where, p)
        try:
          value, aux = objectives[role](full, part, view._replace(rng=key, model_state=model_state))
        except (TypeError, AttributeError) as e:
          if part is None:
            raise ValueError(f"role {role!r} has no batch; the batch holds the roles {sorted(batch)}") from e
          raise
        return value, aux

      if hasattr(objectives[role], "rows"):  # of several tasks
        seen, embed = view._replace(rng=key, model_state=model_state), lambda p: set_path(state.params, where, p)
        f.rows = lambda p: objectives[role].rows(p, part, seen, embed)
      return f

    grads, values, auxes, model_state = _gradients(
      objective, roles, params, batch, view, combine, combine_state, microbatch, state_from
    )
    valid = {r: auxes[r]["valid"] for r in roles if "valid" in auxes[r]}
    if combine.weights is None:
      grad, combine_state = combine.update(grads, combine_state, params, values=values, view=view, valid=valid)
      value = sum(_masked_mean(values[r], valid.get(r)) for r in roles)
    else:  # the backward was fused: `grads` is already the combination
      grad = grads
      _, combine_state = combine.update(
        {r: {} for r in roles}, combine_state, {}, values=values, view=view, valid=valid
      )
      value = sum(coefficients[r] * values[r] for r in roles)
    grad = cast_like(grad, params)

    def value_fn(p, **_: Any) -> Array:
      found = {r: objective(r, batch.get(r), fold_name(rng, r), state.model_state)(p)[0] for r in roles}
      return sum(coefficients[r] * jnp.mean(found[r]) for r in roles)

    updates, tx_state = tx.update(
      grad,
      tx_state,
      params,
      value=value,
      values=values,
      grad=grad,
      value_fn=_with_extras(value_fn),
      obj_fn=_with_extras(value_fn),
      view=view,
      refs=refs,
      slots=state.slots,
      valid=valid,
      batch=batch,
    )
    params = optax.apply_updates(params, updates)
    state = state.replace(
      step=state.step + 1,
      params=set_path(state.params, where, params),
      opt_state={**state.opt_state, name: (combine_state, tx_state)},
      model_state=model_state,
    )
    return state, _info(values, auxes, valid, value)

  return Transform(init, update)


def _with_extras(value_fn):
  """optax's line searches pass only keywords that `value_fn` declares, and raise for the others."""

  def f(params, *, value=None, values=None, view=None, refs=None, slots=None, valid=None, batch=None, obj_fn=None):
    return value_fn(params)

  return f


def _gradients(objective, roles, params, batch, view, combine, combine_state, microbatch, state_from):
  """Gradients (by role, or their combination when the combiner is linear), values, aux and the new model state."""
  fused = combine.weights is not None
  weights = combine.weights(combine_state, roles) if fused else None
  present = [r for r in roles if batch.get(r) is not None]
  absent = [r for r in roles if batch.get(r) is None]

  def backward(names, parts, keys, model_state, scale):
    """One backward over `names`; `scale[r]` multiplies the loss of a role (microbatch weights)."""
    if fused:

      def total(p):
        found = {r: objective(r, parts[r], keys[r], model_state)(p) for r in names}
        if any(value.ndim for value, _ in found.values()):
          raise ValueError("objectives that return a vector of losses need a non-linear combiner, got a weighted one")
        return sum((weights[r] * scale[r] * v for r, (v, _) in found.items()), jnp.zeros(())), found

      (_, found), grads = jax.value_and_grad(total, has_aux=True)(params)
      return grads, {r: v for r, (v, _) in found.items()}, {r: a for r, (_, a) in found.items()}
    grads, values, auxes = {}, {}, {}
    for r in names:
      f = objective(r, parts[r], keys[r], model_state)
      if hasattr(f, "rows"):
        values[r], auxes[r], rows = f.rows(params)
        grads[r] = _zero_rows(rows, auxes[r]["valid"])
        continue
      values[r], pull, auxes[r] = jax.vjp(f, params, has_aux=True)
      if values[r].ndim == 0:
        grads[r] = pull(jnp.asarray(scale[r], values[r].dtype))[0]
      else:  # one gradient row a task; those of empty tasks must not reach the combiner (a 0/0 would poison all rows)
        rows = jax.vmap(pull)(jnp.eye(values[r].shape[0], dtype=values[r].dtype))[0]
        grads[r] = _zero_rows(rows, auxes[r].get("valid"))
    return grads, values, auxes

  keys = {r: fold_name(view.rng, r) for r in roles}
  ones = dict.fromkeys(roles, 1.0)
  if microbatch is None or microbatch == 1:
    parts = {r: batch.get(r) for r in roles}
    grads, values, auxes = backward(roles, parts, keys, view.model_state, ones)
    return grads, values, auxes, _next_state(auxes, view.model_state, state_from)

  split = {r: jax.tree.map(lambda x, r=r: _interleave(x, microbatch, r), batch[r]) for r in present}
  part_keys = {r: jax.random.split(keys[r], microbatch) for r in present}

  def part_weight(r):
    def weigh(part, key):
      _, aux = objective(r, part, key, view.model_state)(params)
      if "weight" not in aux:
        raise ValueError(f"microbatch needs every objective to report aux['weight'], but that of {r!r} does not")
      return jnp.asarray(aux["weight"], jnp.float32)

    return jax.lax.map(lambda args: weigh(*args), (split[r], part_keys[r]))

  share = {}
  for r in present:
    each = part_weight(r)  # only the weight is read: the forward is dead code
    share[r] = each / jnp.maximum(each.sum(), jnp.finfo(jnp.float32).tiny)

  def body(carry, xs):
    total, model_state = carry
    parts, ks, scale = xs
    grads, values, auxes = backward(present, parts, ks, model_state, scale)
    if any(v.ndim for v in values.values()):
      raise ValueError("objectives that return a vector of losses cannot be microbatched")
    total = jax.tree.map(lambda t, g: t + g.astype(t.dtype), total, grads)
    return (total, _next_state(auxes, model_state, state_from)), (values, auxes)

  zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.promote_types(p.dtype, jnp.float32)), params)
  zeros = zeros if fused else dict.fromkeys(present, zeros)
  (grads, model_state), (values, auxes) = jax.lax.scan(body, (zeros, view.model_state), (split, part_keys, share))
  values = {r: jnp.sum(share[r] * values[r]) for r in present}
  rows = {r: jax.tree.leaves(split[r])[0].shape[1] for r in present}
  auxes = {r: {k: _merge(k, v, share[r], rows[r]) for k, v in a.items() if k != "state"} for r, a in auxes.items()}
  if absent:
    more, more_values, more_auxes = backward(absent, dict.fromkeys(absent), keys, view.model_state, ones)
    grads = jax.tree.map(lambda a, b: a + b.astype(a.dtype), grads, more) if fused else {**grads, **more}
    values, auxes = {**values, **more_values}, {**auxes, **more_auxes}
  return grads, values, auxes, model_state


def _zero_rows(rows: Any, valid: Array | None) -> Any:
  if valid is None:
    return rows
  return jax.tree.map(lambda g: jnp.where(valid.reshape(-1, *[1] * (g.ndim - 1)), g, 0), rows)


def _interleave(x: Array, parts: int, role: str) -> Array:
  """[B, ...] -> [parts, B / parts, ...], part k holding rows k, k + parts, ...: no exchange on a sharded batch."""
  if x.shape[0] % parts:
    raise ValueError(f"{parts} microbatches do not divide the {x.shape[0]} rows of role {role!r}")
  return x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1)


def _merge(key: str, stacked: Any, share: Array, rows: int) -> Any:
  """Undoes the split of an aux entry: weights add up, arrays of rows return to their places, the rest averages."""
  if key == "weight":
    return stacked.sum(0)

  def leaf(x):
    if x.ndim > 1 and x.shape[1] == rows:
      return x.swapaxes(0, 1).reshape(x.shape[0] * rows, *x.shape[2:])
    return jnp.sum(share.reshape(-1, *[1] * (x.ndim - 1)) * x, 0)

  return jax.tree.map(leaf, stacked)


def _next_state(auxes: Mapping[str, Aux], model_state: Any, state_from: str | None) -> Any:
  if state_from is not None:
    return auxes[state_from].get("state", model_state)
  changed = [r for r, aux in auxes.items() if "state" in aux and jax.tree.leaves(aux["state"])]
  if changed:
    raise ValueError(
      f"roles {changed} return a new model state (batch statistics, dropout keys) but state_from is None: name the "
      "role whose state is kept, or evaluate the objectives with train=False"
    )
  return model_state


def _masked_mean(value: Array, valid: Array | None) -> Array:
  if value.ndim == 0:
    return value
  keep = jnp.ones(value.shape, bool) if valid is None else valid
  return jnp.sum(jnp.where(keep, value, 0)) / jnp.maximum(keep.sum(), 1)


def _info(values: Mapping[str, Array], auxes: Mapping[str, Aux], valid: Mapping[str, Array], value: Array) -> Info:
  info = {"loss": value}
  ok = jnp.isfinite(value)
  for r in values:
    info[f"{r}/loss"] = _masked_mean(values[r], valid.get(r))
    ok &= jnp.isfinite(info[f"{r}/loss"])
    info |= {f"{r}/{k}": v for k, v in auxes[r].items() if k not in ("state", "weight", "valid")}
  return {**info, "ok": ok}
