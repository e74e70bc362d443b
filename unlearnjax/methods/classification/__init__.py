"""Methods that forget in classifiers and regressors.

`unlearnjax.methods.<name>` is the factory; `unlearnjax.methods.classification.<name>` is the module that holds it.
"""

from __future__ import annotations

MODULES = {
  name: name
  for name in (
    "amnesiac",
    "bad_teacher",
    "blindspot",
    "boundary_expanding",
    "boundary_shrink",
    "cf_k",
    "concept_poison",
    "duck",
    "eu_k",
    "fine_tune",
    "fisher_forgetting",
    "gaussian_amnesiac",
    "gradient_ascent",
    "influence",
    "jit_lipschitz",
    "l1_sparse",
    "l_codec",
    "laf",
    "meta_unlearn",
    "neg_grad",
    "neg_grad_plus",
    "ntk_scrubbing",
    "pgu",
    "prune_first",
    "random_label",
    "retrain",
    "salun",
    "scar",
    "scar_self",
    "scrub",
    "scrub_r",
    "sisa",
    "slug",
    "ssd",
    "stochastic_teacher",
    "unsir",
  )
}
"""Factory name -> module of this package."""
