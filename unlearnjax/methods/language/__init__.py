"""Methods that forget in language models: `methods.language.npo(...)`, or `methods.npo(...)` where the name is unique.

What the sources of a request hold is said in `objectives.tokens`. The modules are families; each factory names an
objective for the forget role, one for the retain role and the paper's defaults, and `recipe.unlearner` does the rest.

Example:
  >>> from unlearnjax import methods
  >>> methods.language.gradient_ascent().name, methods.npo is methods.language.npo
  ('gradient_ascent', True)
"""

from __future__ import annotations

import importlib

_FAMILIES = {
  "ascent": ("gradient_ascent", "grad_diff", "kl_min", "wga", "satimp", "ceu"),
  "assistants": ("uld", "whp", "task_vector"),
  "constrained": ("pdu",),
  "corruption": ("eco",),
  "knowledge": ("knowledge_unlearning",),
  "localized": ("wagle", "memflex"),
  "preference": ("npo", "simnpo", "idk_dpo"),
  "relabelling": ("random_tokens", "adversarial_tokens"),
  "replacement": ("idk", "llmu", "flat"),
  "steering": ("rmu", "undial"),
}
MODULES = {name: module for module, names in _FAMILIES.items() for name in names}
"""Factory name -> module of this package."""


def __getattr__(name: str):
  """Factories are imported when they are first used."""
  if name not in MODULES:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; the methods are {', '.join(sorted(MODULES))}")
  return getattr(importlib.import_module(f"{__name__}.{MODULES[name]}"), name)


def __dir__() -> list[str]:
  return ["MODULES", *sorted(MODULES)]
