"""Saving and restoring: Orbax for arrays, JSON for positions, nothing half-written.

A checkpoint is a directory that Orbax commits by renaming it; whatever a crash leaves behind is not committed and is
passed over with a message.
"""

from __future__ import annotations

import errno
import logging
import pathlib
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core.tree import paths
from unlearnjax.core.types import ArrayTree
from unlearnjax.lock import lock

_log = logging.getLogger("unlearnjax")


class CheckpointError(ValueError):
  """A checkpoint belongs to another model, method or plan."""


class Store:
  """Checkpoints of one `fit`, by step. One process at a time has them open.

  Args:
    directory: where they live; made when the first one is saved.
    keep: how many of the newest to keep; an older one is the fallback for a damaged newest.
  """

  def __init__(self, directory: str | pathlib.Path, keep: int = 2):
    self.directory = pathlib.Path(directory).absolute()
    self._keep = keep
    self._manager, self._lock = None, None

  def save(self, step: int, state: ArrayTree, meta: dict[str, Any]) -> None:
    """Writes `state` and the JSON value `meta`; returns once they are committed.

    Raises:
      OSError: the disk is full, and checkpoints before this one stand; or `lock.Busy`, another process writes there.
    """
    ocp = _orbax()
    manager = self._open()
    args = ocp.args.Composite(
      state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave({**meta, "leaves": _signature(state)})
    )
    if step in manager.all_steps():  # a damaged checkpoint of this step was passed over
      manager.delete(step)
    try:
      manager.save(step, args=args, force=True)
      manager.wait_until_finished()
    except Exception as e:  # tensorstore reports a full disk by errors of its own
      if getattr(e, "errno", None) != errno.ENOSPC and "No space left" not in str(e):
        raise
      raise OSError(errno.ENOSPC, f"No space left on device for checkpoint {step} in {self.directory}") from e

  def restore(self, like: ArrayTree, fingerprint: dict[str, Any]) -> tuple[ArrayTree, dict[str, Any]] | None:
    """The newest readable checkpoint as `(state, meta)`, or None.

    Args:
      like: a state of the structure, shapes, dtypes and shardings to restore.
      fingerprint: compared with `meta["fingerprint"]`.

    Raises:
      CheckpointError: the checkpoint holds another structure or was made for another plan.
      unlearnjax.lock.Busy: another process has them open.
    """
    if not self.directory.exists():
      return None
    try:
      return self._newest(like, fingerprint)
    except BaseException:
      self.close()
      raise

  def _newest(self, like: ArrayTree, fingerprint: dict[str, Any]) -> tuple[ArrayTree, dict[str, Any]] | None:
    ocp = _orbax()
    manager = self._open()
    for leftover in self.directory.glob("*orbax-checkpoint-tmp*"):
      _log.warning("ignoring the half-written checkpoint %s", leftover)
      shutil.rmtree(leftover, ignore_errors=True)
    for step in sorted(manager.all_steps(), reverse=True):
      try:
        meta = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())).meta
      except Exception as e:  # noqa: BLE001 - orbax raises many kinds for a damaged directory
        _log.warning("ignoring the half-written checkpoint %s (%s)", self.directory / str(step), _first_line(e))
        continue
      self._check(step, like, meta, fingerprint)
      try:
        args = ocp.args.Composite(state=ocp.args.StandardRestore(like))
        return _place_like(manager.restore(step, args=args).state, like), meta
      except Exception as e:  # noqa: BLE001
        _log.warning("ignoring the half-written checkpoint %s (%s)", self.directory / str(step), _first_line(e))
    return None

  def save_refs(self, refs: ArrayTree) -> None:
    """Writes the read-only arrays of the fit, once."""
    ocp = _orbax()
    with ocp.StandardCheckpointer() as checkpointer:
      checkpointer.save(self.directory / "refs", refs, force=True)

  def restore_refs(self, like: ArrayTree) -> ArrayTree:
    """The saved read-only arrays: they win over recomputed ones, which need not be bit-equal on another machine."""
    path = self.directory / "refs"
    if not path.exists():
      return like
    with _orbax().StandardCheckpointer() as checkpointer:
      return _place_like(checkpointer.restore(path, like), like)

  def _check(self, step: int, like: ArrayTree, meta: dict[str, Any], fingerprint: dict[str, Any]) -> None:
    where = self.directory / str(step)
    saved, wanted = meta.get("leaves", {}), _signature(like)
    if saved != wanted:
      differ = [
        f"{p}: saved {saved.get(p, 'nothing')}, expected {wanted.get(p, 'nothing')}"
        for p in sorted(saved.keys() | wanted.keys())
        if saved.get(p) != wanted.get(p)
      ]
      raise CheckpointError(
        f"the checkpoint {where} holds another model or method ({'; '.join(differ[:3])}"
        f"{f' and {len(differ) - 3} more' if len(differ) > 3 else ''}): choose another output directory"
      )
    if meta.get("fingerprint") != fingerprint:
      raise CheckpointError(
        f"the checkpoint {where} was made for other data or settings ({meta.get('fingerprint')}, now {fingerprint}): "
        "choose another output directory"
      )

  def _open(self):
    if self._manager is None:
      if not jax.process_index():  # of several processes of one job the first one stands for all
        self._lock = lock(self.directory)
      ocp = _orbax()
      options = ocp.CheckpointManagerOptions(max_to_keep=self._keep, enable_async_checkpointing=False)
      self._manager = ocp.CheckpointManager(self.directory, options=options)
    return self._manager

  def close(self) -> None:
    if self._manager is not None:
      self._manager.close()
      self._manager = None
    if self._lock is not None:
      self._lock.close()
      self._lock = None


def save_tree(path: str | pathlib.Path, tree: ArrayTree, meta: dict[str, Any] | None = None) -> None:
  """Writes nested dicts of arrays and a JSON value; replaces what was there only once the new tree is complete.

  Raises:
    TypeError: `tree` holds something else than dicts with string keys and arrays.
  """
  _require_dicts(tree)
  ocp = _orbax()
  args = ocp.args.Composite(
    tree=ocp.args.StandardSave({"tree": jax.tree.map(jnp.asarray, tree)}), meta=ocp.args.JsonSave(meta or {})
  )
  with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
    checkpointer.save(pathlib.Path(path).absolute(), args=args, force=True)


def load_tree(path: str | pathlib.Path) -> tuple[ArrayTree, dict[str, Any]] | None:
  """Reads `(tree, meta)` that `save_tree` wrote, or None where there is none or it is half-written (with a message)."""
  path = pathlib.Path(path).absolute()
  if not path.exists():
    return None
  ocp = _orbax()
  args = ocp.args.Composite(tree=ocp.args.StandardRestore(), meta=ocp.args.JsonRestore())
  try:
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
      found = checkpointer.restore(path, args=args)
      return jax.tree.map(_free, found.tree["tree"]), found.meta
  except Exception as e:  # noqa: BLE001
    _log.warning("ignoring the half-written %s (%s)", path, _first_line(e))
    return None


def _place_like(tree: ArrayTree, like: ArrayTree) -> ArrayTree:
  """Restored arrays are committed to a device; leaves that were not are freed again, so that jit may move them."""

  def leaf(x, y):
    return x if not isinstance(y, jax.Array) or getattr(y, "committed", False) else _free(x)

  return jax.tree.map(leaf, tree, like)


def _free(x: jax.Array) -> jax.Array:
  """The same values, not committed to a device."""
  if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
    return jax.random.wrap_key_data(_free(jax.random.key_data(x)), impl=jax.random.key_impl(x))
  return jnp.asarray(np.asarray(x))


def _signature(tree: ArrayTree) -> dict[str, str]:
  return {p: f"{x.dtype}{list(x.shape)}" for p, x in zip(paths(tree), jax.tree.leaves(tree))}


def _require_dicts(tree: ArrayTree, path: str = "") -> None:
  if isinstance(tree, dict):
    for key, value in tree.items():
      if not isinstance(key, str):
        raise TypeError(f"a saved tree needs string keys, got {key!r} at {path or 'the top'!r}")
      _require_dicts(value, f"{path}/{key}")
  elif not hasattr(tree, "dtype") and not isinstance(tree, (int, float, bool)):
    raise TypeError(f"a saved tree is made of dicts and arrays, got {type(tree).__name__} at {path or 'the top'!r}")


def _first_line(error: Exception) -> str:
  return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _orbax():
  import orbax.checkpoint as ocp

  logging.getLogger("absl").setLevel(logging.ERROR)  # orbax reports every save at INFO
  return ocp
