"""Combiners: one gradient a role in, one gradient out.

`weighted` and `primal_dual` are linear: `descend` then runs all roles in one backward pass. Others see every role's
gradient and value: `gem` and `agem` keep remembered losses from rising, `ogd` and `gpm` leave remembered outputs
alone, and `pcgrad`, `mgda` and `cagrad` treat all gradients alike.
"""

from unlearnjax.combine.adapter import as_optax
from unlearnjax.combine.cone import agem, cone_dual, gem
from unlearnjax.combine.conflict import cagrad, mgda, pcgrad
from unlearnjax.combine.dual import primal_dual
from unlearnjax.combine.linear import weighted
from unlearnjax.combine.orthogonal import gpm, ogd

__all__ = ["agem", "as_optax", "cagrad", "cone_dual", "gem", "gpm", "mgda", "ogd", "pcgrad", "primal_dual", "weighted"]
