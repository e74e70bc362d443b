"""Transforms made of transforms: branches, sequences, replay buffers, averages and replicas."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.state import UnlearnState
from unlearnjax.core.tree import fold_name, name_id
from unlearnjax.core.types import RESERVED_ROLES, Batch, Info, Memory, Refs, RoleBatch, Transform


def switch(by: str = "phase", **transforms: Transform) -> Transform:
  """Runs one of several transforms, chosen by a scalar of the batch.

  Args:
    by: batch key that holds `name_id(branch)`; `zip_roles(cycle=...)` writes it to `"phase"`.
    **transforms: the branches by name. Branches whose `descend`s carry one name share that optimizer.

  Returns:
    a Transform whose info holds the keys of all branches, NaN where a branch did not run; `info["ok"]` is that of the
    active branch, and False for a phase that names no branch.

  Example:
    >>> from unlearnjax.core.descend import descend
    >>> import optax
    >>> up = descend({"forget": lambda p, b, v: (-jnp.sum(p["w"]), {})}, optax.sgd(1.0))
    >>> down = descend({"retain": lambda p, b, v: (jnp.sum(p["w"]), {})}, optax.sgd(1.0))
    >>> step = switch("phase", max=up, min=down)
    >>> state = step.init(UnlearnState.create({"w": jnp.zeros(())}, rng=jax.random.key(0)))
    >>> batch = {"phase": name_id("min"), "forget": {"id": jnp.zeros(1)}, "retain": {"id": jnp.zeros(1)}}
    >>> state, info = step.update(state, batch, {})
    >>> float(state.params["w"]), bool(info["ok"])
    (-1.0, True)
  """
  if not transforms:
    raise ValueError("switch needs at least one transform")
  names = tuple(transforms)
  if by not in RESERVED_ROLES:
    raise ValueError(f"by must be one of the reserved batch keys {RESERVED_ROLES}, got {by!r}")

  def init(state: UnlearnState) -> UnlearnState:
    for transform in transforms.values():
      state = transform.init(state)
    return state

  def update(state: UnlearnState, batch: Batch, refs: Refs) -> tuple[UnlearnState, Info]:
    if by not in batch:
      raise ValueError(f"switch reads batch[{by!r}], but the batch holds {sorted(batch)}: use zip_roles(cycle=)")
    ids = jnp.array([name_id(n) for n in names], jnp.int32)
    chosen = jnp.asarray(batch[by], jnp.int32)
    infos = [jax.eval_shape(t.update, state, batch, refs)[1] for t in transforms.values()]
    union = {k: v for info in reversed(infos) for k, v in info.items()}

    def branch(transform: Transform):
      def run(state, batch, refs):
        state, info = transform.update(state, batch, refs)
        return state, {k: jnp.asarray(info[k], v.dtype) if k in info else _absent(v) for k, v in union.items()}

      return run

    state, info = jax.lax.switch(
      jnp.argmax(ids == chosen), [branch(t) for t in transforms.values()], state, batch, refs
    )
    return state, {**info, "ok": info["ok"] & (ids == chosen).any()}

  return Transform(init, update)


def _absent(like: jax.ShapeDtypeStruct) -> jax.Array:
  missing = jnp.nan if jnp.issubdtype(like.dtype, jnp.inexact) else 0
  return jnp.full(like.shape, missing, like.dtype)


def sequence(*transforms: Transform) -> Transform:
  """Runs transforms one after another in one step; each reads the info of those before it as `batch["info"]`.

  The step counter advances once. Where links report the same key, the last one stands; `ok` must hold for all.
  """
  if not transforms:
    raise ValueError("sequence needs at least one transform")

  def init(state: UnlearnState) -> UnlearnState:
    for transform in transforms:
      state = transform.init(state)
    return state

  def update(state: UnlearnState, batch: Batch, refs: Refs) -> tuple[UnlearnState, Info]:
    step, rng, info, ok = state.step, state.rng, {}, jnp.array(True)
    for place, transform in enumerate(transforms):  # links of one name and role must not draw the same numbers
      state = state.replace(step=step, rng=jax.random.fold_in(rng, place) if place else rng)
      state, new = transform.update(state, {**batch, "info": {**batch.get("info", {}), **info}}, refs)
      ok &= new["ok"]
      info = {**info, **new}
    return state.replace(step=step + 1, rng=rng), {**info, "ok": ok}

  return Transform(init, update)


def replay(
  transform: Transform,
  memory: Memory,
  *,
  role: str | tuple[str, ...],
  size: int,
  add_from: str | None = None,
  example: RoleBatch | None = None,
  store: Mapping[str, str] | None = None,
) -> Transform:
  """Reads a role batch from a memory before the step, and adds the step's own examples to it afterwards.

  Args:
    transform: the step that uses the role.
    memory: how examples are kept.
    role: name of the role that is read, and of the buffer in `state.memory`. Several names are several independent
      reads of one buffer, that of the first name (DER++).
    size: rows to read.
    add_from: the role whose examples are added; None where the buffer is filled elsewhere, at the ends of tasks.
    example: a role batch, or `jax.ShapeDtypeStruct`s of one, that fixes the shapes of the buffer; None where whoever
      knows the data puts the buffer into the state.
    store: further columns to keep, from info: `{"logits": "current/logits"}` keeps what the step reported (DER++).

  The info holds `<role>/read`, the number of examples read, which `fit` adds to the gradient evaluations.
  """
  roles = (role,) if isinstance(role, str) else tuple(role)
  name, store = roles[0], dict(store or {})

  def init(state: UnlearnState) -> UnlearnState:
    if example is None:
      return transform.init(state)
    if name in state.memory:
      raise ValueError(f"the state already has a memory {name!r}")
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), dict(example))
    return transform.init(state.replace(memory={**state.memory, name: memory.init(zeros)}))

  def update(state: UnlearnState, batch: Batch, refs: Refs) -> tuple[UnlearnState, Info]:
    if name not in state.memory:
      raise ValueError(f"the state has no memory {name!r}; found {sorted(state.memory)}")
    key = fold_name(jax.random.fold_in(state.rng, state.step), "replay", name)
    read_key, add_key = jax.random.split(key)
    buffer = state.memory[name]
    keys = [fold_name(read_key, r) if i else read_key for i, r in enumerate(roles)]
    parts = {r: memory.read(buffer, k, size) for r, k in zip(roles, keys)}
    state, info = transform.update(state, {**batch, **parts}, refs)
    info = {**info, f"{name}/read": sum(part["valid"].sum() for part in parts.values())}
    if add_from is None:
      return state, info
    rows = {**batch[add_from], **{column: info[key] for column, key in store.items()}}
    return state.replace(memory={**state.memory, name: memory.add(buffer, rows, add_key)}), info

  return Transform(init, update)


def averaged(transform: Transform, *, decay: float, every: int = 1, slot: str = "slow") -> Transform:
  """Keeps an exponential average of the parameters and the model state beside the step, which never reads it.

  Every `every` steps slow <- decay * slow + (1 - decay) * fast; leaves that are not floating take the fast value. It
  starts as the state that `init` is given: the weights before training, not those after the first step. The average is
  `state.slots[slot] = {"params", "state"}`, in float32 or wider: half precision would round small steps away.

  Args:
    transform: any step.
    decay: tau in [0, 1]; 1 never moves. The half-life is `every` * ln 2 / -ln tau steps.
    every: steps between updates of the average, >= 1.
    slot: its name.

  Raises:
    ValueError: decay or every out of range.

  Example:
    >>> import optax
    >>> from unlearnjax.core.descend import descend
    >>> up = descend({"retain": lambda p, b, v: (-jnp.sum(p["w"]), {})}, optax.sgd(1.0))
    >>> step = averaged(up, decay=0.5)
    >>> state = step.init(UnlearnState.create({"w": jnp.zeros(())}, rng=jax.random.key(0)))
    >>> for _ in range(2):
    ...   state, _ = step.update(state, {"retain": {}}, {})
    >>> float(state.params["w"]), float(state.slots["slow"]["params"]["w"])
    (2.0, 1.25)
  """
  check.fraction("decay", decay, zero=True)
  check.positive("every", every)

  def init(state: UnlearnState) -> UnlearnState:
    state = transform.init(state)
    if slot in state.slots:  # a restart of the optimizer goes on with the average
      return state
    slow = jax.tree.map(_wide, {"params": state.params, "state": state.model_state})
    return state.replace(slots={**state.slots, slot: slow})

  def update(state: UnlearnState, batch: Batch, refs: Refs) -> tuple[UnlearnState, Info]:
    state, info = transform.update(state, batch, refs)
    due = state.step % every == 0

    def leaf(slow, fast):
      new = decay * slow + (1 - decay) * _wide(fast) if jnp.issubdtype(fast.dtype, jnp.inexact) else fast
      return jnp.where(due, new, slow).astype(slow.dtype)

    slow = jax.tree.map(leaf, state.slots[slot], {"params": state.params, "state": state.model_state})
    return state.replace(slots={**state.slots, slot: slow}), info

  return Transform(init, update)


def _wide(x: jax.Array) -> jax.Array:
  return x.astype(jnp.promote_types(x.dtype, jnp.float32)) if jnp.issubdtype(x.dtype, jnp.inexact) else x


def joined(transform: Transform, role: str, of: tuple[str, ...]) -> Transform:
  """One role made of several, end to end: one forward pass, and a mean over all valid rows together.

  Columns that not all of them have are left out.

  Args:
    transform: the step that uses the role.
    role: name of the joined role.
    of: the roles that are joined; they disappear.
  """

  def update(state: UnlearnState, batch: Batch, refs: Refs) -> tuple[UnlearnState, Info]:
    rest = {name: part for name, part in batch.items() if name not in of}
    return transform.update(state, {**rest, role: _end_to_end([batch[name] for name in of])}, refs)

  return Transform(transform.init, update)


def _end_to_end(parts: list[Mapping]) -> dict:
  common = [key for key in parts[0] if all(key in part for part in parts)]
  ends = lambda key: [part[key] for part in parts]
  join = lambda values: _end_to_end(values) if isinstance(values[0], Mapping) else jnp.concatenate(values)
  return {key: join(ends(key)) for key in common}


def replicate(transform: Transform, *, refs_axis: int | None = None) -> Transform:
  """Runs many copies at once: seeds, shards or ensembles, over a leading axis of the state and of every role batch.

  Args:
    transform: the step of one copy.
    refs_axis: 0 when refs carry the leading axis too; None (default) shares them.

  The phase and the progress of a plan stay unbatched, so `switch` keeps its branch. A copy that is no longer finite
  stays so and stops no other: `fit` raises once none is left.
  """

  def axes(batch: Batch):
    return {k: None if k in ("phase", "progress") else 0 for k in batch}

  def update(state, batch, refs):
    return jax.vmap(transform.update, in_axes=(0, axes(batch), refs_axis))(state, dict(batch), refs)

  return Transform(jax.vmap(transform.init), update)
