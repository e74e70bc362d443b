"""Update rules: optax transformations that read what `descend` offers as extra arguments.

They compose with everything in optax. What freezes weights (`mask_by`, `project_retain`) stands last in the chain.
"""

from unlearnjax.updates.ball import within_ball
from unlearnjax.updates.langevin import langevin
from unlearnjax.updates.mask import mask_by
from unlearnjax.updates.noise import noise
from unlearnjax.updates.path_integral import PathIntegral, path_integral
from unlearnjax.updates.penalty import lookahead, penalized
from unlearnjax.updates.progress import by_progress, cosine, linear_decay, step_decay
from unlearnjax.updates.refresh import refresh
from unlearnjax.updates.sam import sam
from unlearnjax.updates.sign import sign
from unlearnjax.updates.simplex import project_capped_simplex
from unlearnjax.updates.spectral import spectral
from unlearnjax.updates.subspace import project_retain
from unlearnjax.updates.tag import TagState, tag
from unlearnjax.updates.task import by_task
from unlearnjax.updates.zeroth_order import conservative, forward_gradient, spsa

__all__ = [
  "PathIntegral",
  "TagState",
  "by_progress",
  "by_task",
  "conservative",
  "cosine",
  "forward_gradient",
  "langevin",
  "linear_decay",
  "lookahead",
  "mask_by",
  "noise",
  "path_integral",
  "penalized",
  "project_capped_simplex",
  "project_retain",
  "refresh",
  "sam",
  "spectral",
  "spsa",
  "sign",
  "step_decay",
  "tag",
  "within_ball",
]
