"""PCA-OGD: OGD on principal gradient directions. Doan et al., AISTATS 2021, arXiv:2010.04003 (paper 66)."""

from __future__ import annotations

import optax

from unlearnjax.core import Method
from unlearnjax.methods.continual.ogd import orthogonal


def pca_ogd(
  *,
  memory_per_task: int = 100,
  sampled: int = 300,
  tasks: int = 20,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """OGD whose memory is the leading directions of many gradients: the same memory protects more.

  B holds the `memory_per_task` leading right singular vectors (uncentred, as in the theory) of the gradients of the
  true class's logit on `sampled` examples of each task.

  Args:
    memory_per_task: directions of each task.
    sampled: examples whose gradients are decomposed, at least `memory_per_task`; 3,000 in the paper.
    tasks, tx, epochs, batch_size, every: as for `ogd`.

  Raises:
    ValueError: fewer samples than directions; at `learn`, more tasks than there is room for.

  Example:
    >>> pca_ogd(memory_per_task=20, sampled=100).name
    'pca_ogd'
  """
  if sampled < memory_per_task:
    raise ValueError(f"sampled must be at least memory_per_task={memory_per_task}, got {sampled}")
  return orthogonal("pca_ogd", memory_per_task, sampled, tasks, tx, epochs, batch_size, every)
