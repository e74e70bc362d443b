"""Methods: papers as compositions, one factory a file, with the paper's defaults.

A factory is imported when it is first used, so that `import unlearnjax.methods` stays light. `names()` lists what is
there.

Example:
  >>> from unlearnjax import methods
  >>> "salun" in methods.names()
  True
  >>> methods.salun(density=0.3).name
  'salun'
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from unlearnjax.core import check
from unlearnjax.methods.classification import MODULES as _CLASSIFICATION
from unlearnjax.methods.continual import MODULES as _CONTINUAL
from unlearnjax.methods.exact import MODULES as _EXACT

_GROUPS = {"classification": _CLASSIFICATION, "continual": _CONTINUAL, "exact": _EXACT}
_MODULES = {
  name: f"unlearnjax.methods.{group}.{module}" for group, modules in _GROUPS.items() for name, module in modules.items()
}


def names(group: str | None = None) -> tuple[str, ...]:
  """The factories that there are, sorted; all of them, or those of "classification", "continual" or "exact".

  Example:
    >>> "er" in names("continual"), "er" in names("classification")
    (True, False)
  """
  check.one_of("group", group, (None, *_GROUPS))
  known = _MODULES if group is None else _GROUPS[group]
  return tuple(sorted(name for name in known if importlib.util.find_spec(_MODULES[name]) is not None))


def __getattr__(name: str) -> Any:
  """The factory `name`: always the function, also where its module of the same name was imported before."""
  if name not in _MODULES or importlib.util.find_spec(_MODULES[name]) is None:
    raise AttributeError(f"module 'unlearnjax.methods' has no attribute {name!r}; the methods are {', '.join(names())}")
  return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
  return ["names", *names()]
