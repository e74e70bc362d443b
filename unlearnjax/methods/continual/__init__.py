"""Methods that learn one task after another.

`unlearnjax.methods.<name>` is the factory; `parts.learner` is what they share, and the loop over tasks is `uj.learn`.
"""

from __future__ import annotations

MODULES = {
  name: name
  for name in (
    "er",
    "ewc",
    "hypernetwork",
    "lwf",
    "mas",
    "mcl",
    "online_ewc",
    "rehearsal_free",
    "sequential",
    "si",
    "spectral_regularization",
    "tag",
    "zeroflow",
  )
}
"""Factory name -> module of this package."""
