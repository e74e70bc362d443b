"""Methods that learn one task after another.

`unlearnjax.methods.<name>` is the factory; `parts.learner` is what they share, and the loop over tasks is `uj.learn`.
"""

from __future__ import annotations

MODULES = {
  name: name
  for name in (
    "agem",
    "cuber",
    "der",
    "der_pp",
    "er",
    "ewc",
    "fpf",
    "gdumb",
    "gem",
    "gpm",
    "hypernetwork",
    "icarl",
    "ideal",
    "if2net",
    "joint",
    "lwf",
    "mas",
    "mcl",
    "ogd",
    "online_ewc",
    "pca_ogd",
    "plwf",
    "refresh",
    "rehearsal_free",
    "sequential",
    "si",
    "spectral_regularization",
    "stable_sgd",
    "tag",
    "zeroflow",
  )
}
"""Factory name -> module of this package."""
