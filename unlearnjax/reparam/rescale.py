"""Old directions of a layer's input, stretched and mixed anew for every task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from unlearnjax.core import check
from unlearnjax.core.tree import get_path, set_path
from unlearnjax.core.types import Array, ModelFn, Params, Refs
from unlearnjax.reparam.bound import read, refuse_twice
from unlearnjax.reparam.hypernet import Hypernet, HypernetFn


def rescale(
  tasks: int, kernels: tuple[str, ...], *, most: int = 2, rank: int | None = None, ref: str = "spaces"
) -> Hypernet:
  """W + sum_j W B_j (Q_j - I) B_j^T: a new task may scale what a layer does to the inputs of old tasks j.

  B_j is an orthonormal basis of the inputs that task j sends through a layer, Q_j a square matrix that is trained and
  starts at I. A finished task keeps the matrices that it was trained with; the weights W go on changing below them.
  Trust region gradient projection (Lin et al., ICLR 2022, arXiv:2202.02931) and CUBER (paper 86) reuse old tasks so.

  The bases of a layer share one orthonormal set of rows, the union, of which each task owns some. Everything about them
  is in `refs[ref]`, by kernel: "union" f[r, d], rows of zeros at the end; "owned" bool[tasks, r]; "chosen"
  int32[most], the old tasks whose Q is trained now, -1 for none; "scales" f[tasks, r, r], sum_j (Q_j - I) in the
  coordinates of the union, of tasks that are finished. `refs["task"]` says which one is not.

  Args:
    tasks: capacity.
    kernels: paths of kernels [in, out] or [h, w, in, out]; d is the product of all axes but the last.
    most: old tasks that one layer may reuse at once.
    rank: r, at most d: room for so many rows of the union; d by default.
    ref: name of the refs.

  Returns:
    a Hypernet: the bound model takes its task from `inputs["task"]`. phi is {"net": the weights, "scale": {kernel:
    f[most, r, r]}}.

  Example:
    >>> import jax
    >>> net = rescale(2, ("w",))
    >>> phi, refs = net.init(jax.random.key(0), {"w": jnp.ones((3, 2))})
    >>> phi["scale"]["w"].shape, net.generate(phi, 0, refs)["w"].tolist() == phi["net"]["w"].tolist()
    ((2, 3, 3), True)
  """
  check.positive("tasks", tasks)
  check.positive("most", most)
  if rank is not None:
    check.positive("rank", rank)

  def init(key: Array, params: Params) -> tuple[Params, Refs]:
    del key
    sizes = {path: int(np.prod(get_path(params, tuple(path.split("/"))).shape[:-1])) for path in kernels}
    room = lambda d: d if rank is None else min(rank, d)
    space = lambda d: {
      "union": jnp.zeros((room(d), d)),
      "owned": jnp.zeros((tasks, room(d)), bool),
      "chosen": jnp.full(most, -1, jnp.int32),
      "scales": jnp.zeros((tasks, room(d), room(d))),
    }
    phi = {"net": params, "scale": {path: fresh_scale(most, room(d)) for path, d in sizes.items()}}
    return phi, {ref: {path: space(d) for path, d in sizes.items()}, "task": jnp.zeros((), jnp.int32)}

  def generate(phi: Params, task: Array, refs: Refs) -> Params:
    params, spaces = phi["net"], read(refs, ref)
    for path in kernels:
      place = tuple(path.split("/"))
      kernel, space = get_path(params, place), spaces[path]
      live = task == read(refs, "task")
      change = jnp.where(live, trained(phi["scale"][path], space), space["scales"][task])
      flat = kernel.reshape(-1, kernel.shape[-1])
      seen = space["union"] @ flat
      new = flat + (space["union"].T @ (change @ seen)).astype(flat.dtype)
      params = set_path(params, place, new.reshape(kernel.shape))
    return params

  def bind(fn: ModelFn) -> ModelFn:
    refuse_twice(fn, ref)
    return HypernetFn(fn, generate, init, ref, tasks)

  return Hypernet(init, bind, generate, tasks, ref)


def fresh_scale(most: int, size: int) -> Array:
  """Q = I, f[most, size, size].

  Example:
    >>> fresh_scale(1, 2).tolist()
    [[[1.0, 0.0], [0.0, 1.0]]]
  """
  return jnp.tile(jnp.eye(size), (most, 1, 1))


def trained(scale: Array, space: Mapping[str, Any]) -> Array:
  """sum_j (Q_j - I) over the chosen tasks in the coordinates of the union, f[r, r]; Q_j acts on what task j owns.

  Args:
    scale: f[most, r, r].
    space: of one kernel, see `rescale`.

  Example:
    >>> space = {"owned": jnp.array([[True, False]]), "chosen": jnp.array([0, -1])}
    >>> trained(jnp.full((2, 2, 2), 3.0), space).tolist()
    [[2.0, 0.0], [0.0, 0.0]]
  """
  mine = space["owned"][jnp.maximum(space["chosen"], 0)] & (space["chosen"] >= 0)[:, None]
  both = mine[:, :, None] & mine[:, None, :]
  return jnp.sum(jnp.where(both, scale - jnp.eye(scale.shape[-1]), 0.0), 0)
