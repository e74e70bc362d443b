"""Combiners: one gradient a role in, one gradient out.

`weighted` is linear: `descend` then runs all roles in one backward pass. Others see every role's gradient and value.
"""

from unlearnjax.combine.adapter import as_optax
from unlearnjax.combine.linear import weighted

__all__ = ["as_optax", "weighted"]
