"""Methods: papers as compositions, one factory a file, with the paper's defaults.

A factory is imported when it is first used, so that `import unlearnjax.methods` stays light. `names()` lists what is
there. Those on language models are `methods.language.<name>` as well, which tells two methods of one name apart.
`through` runs any of them on another parameterization, such as LoRA, `upcore` on the core of the forget set, and
`keeping` gives them something else to retain.

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
from unlearnjax.methods.keeping import keeping as keeping
from unlearnjax.methods.language import MODULES as _LANGUAGE
from unlearnjax.methods.over import through as through
from unlearnjax.methods.selected import upcore as upcore

_GROUPS = {"classification": _CLASSIFICATION, "continual": _CONTINUAL, "exact": _EXACT, "language": _LANGUAGE}
_MODULES: dict[str, str] = {}
for _group, _modules in _GROUPS.items():  # a name that two groups share means the earlier one's
  for _name, _module in _modules.items():
    _MODULES.setdefault(_name, f"unlearnjax.methods.{_group}.{_module}")


def names(group: str | None = None) -> tuple[str, ...]:
  """The factories that there are, sorted: all, or those of one group, such as "continual" or "language".

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
  return ["keeping", "names", "through", "upcore", *names()]
