"""Update rules: optax transformations that read what `descend` offers as extra arguments.

They compose with everything in optax. What freezes weights (`mask_by`, `project_retain`) stands last in the chain.
"""

from unlearnjax.updates.langevin import langevin
from unlearnjax.updates.lookahead import lookahead
from unlearnjax.updates.mask import mask_by
from unlearnjax.updates.noise import noise
from unlearnjax.updates.progress import by_progress, cosine, linear_decay, step_decay
from unlearnjax.updates.sam import sam
from unlearnjax.updates.subspace import project_retain

__all__ = [
  "by_progress",
  "cosine",
  "langevin",
  "linear_decay",
  "lookahead",
  "mask_by",
  "noise",
  "project_retain",
  "sam",
  "step_decay",
]
