"""Machine unlearning, continual learning and amortized optimization in JAX: optax for forgetting.

The algebra is a dozen values (see `unlearnjax.core`): losses on arrays, objectives bound to a model, combiners of
gradients, optax update rules, one step (`descend`), one loop (`fit`), one pass over data (`fold`), and methods that
name those parts with a paper's defaults. `forget` and `learn` are the two verbs.

Example:
  >>> import jax, optax
  >>> import unlearnjax as uj
  >>> data = uj.data.load("digits")
  >>> fn = uj.models.make("mlp", input_shape=data.input_shape, num_outputs=10)
  >>> recipe = uj.Recipe(optax.sgd(0.1, momentum=0.9), epochs=10, batch_size=64)
  >>> model = uj.train(fn, data.train, recipe, key=jax.random.key(0))
  >>> request = uj.data.forget_class(data, 3)
  >>> result = uj.forget(uj.methods.salun(tx=optax.sgd(0.05, momentum=0.9)), model, request, key=jax.random.key(1))
  >>> audit = uj.audit(result.model, request)
  >>> audit.scores["UA"] > 90, audit.scores["RA"] > 90
  (True, True)
"""

import importlib

from unlearnjax.core import Combiner as Combiner
from unlearnjax.core import Cost as Cost
from unlearnjax.core import Examples as Examples
from unlearnjax.core import Feed as Feed
from unlearnjax.core import ForgetRequest as ForgetRequest
from unlearnjax.core import Guarantee as Guarantee
from unlearnjax.core import Guard as Guard
from unlearnjax.core import History as History
from unlearnjax.core import Memory as Memory
from unlearnjax.core import Method as Method
from unlearnjax.core import Model as Model
from unlearnjax.core import ModelFn as ModelFn
from unlearnjax.core import NonFiniteError as NonFiniteError
from unlearnjax.core import Outputs as Outputs
from unlearnjax.core import Phase as Phase
from unlearnjax.core import Plan as Plan
from unlearnjax.core import Reparam as Reparam
from unlearnjax.core import Result as Result
from unlearnjax.core import Run as Run
from unlearnjax.core import Statistic as Statistic
from unlearnjax.core import Task as Task
from unlearnjax.core import Transform as Transform
from unlearnjax.core import UnlearnState as UnlearnState
from unlearnjax.core import Verbs as Verbs
from unlearnjax.core import View as View
from unlearnjax.core import averaged as averaged
from unlearnjax.core import descend as descend
from unlearnjax.core import fit as fit
from unlearnjax.core import fold as fold
from unlearnjax.core import forget as forget
from unlearnjax.core import learn as learn
from unlearnjax.core import outputs as outputs
from unlearnjax.core import replay as replay
from unlearnjax.core import replicate as replicate
from unlearnjax.core import role_batch as role_batch
from unlearnjax.core import sequence as sequence
from unlearnjax.core import switch as switch
from unlearnjax.core import zip_roles as zip_roles

__version__ = "0.1.0"

_PACKAGES = (
  "amortized",
  "attacks",
  "catalog",
  "checkpoint",
  "combine",
  "core",
  "curvature",
  "data",
  "edits",
  "guards",
  "kernels",
  "ledger",
  "losses",
  "memory",
  "methods",
  "metrics",
  "models",
  "objectives",
  "reparam",
  "report",
  "serving",
  "sharding",
  "updates",
)
_FUNCTIONS = {
  "Recipe": "training",
  "train": "training",
  "train_many": "training",
  "retrain": "training",
  "audit": "auditing",
  "Forget": "serving",
  "Learn": "serving",
  "Receipt": "serving",
  "serve": "serving",
}


def __getattr__(name: str):
  """Packages are imported when they are first used."""
  if name in _FUNCTIONS:
    return getattr(importlib.import_module(f"unlearnjax.{_FUNCTIONS[name]}"), name)
  if name in _PACKAGES:
    return importlib.import_module(f"unlearnjax.{name}")
  raise AttributeError(f"module 'unlearnjax' has no attribute {name!r}")


def __dir__():
  return __all__


__all__ = sorted(
  [name for name in globals() if name[0] != "_" and name != "importlib"] + list(_PACKAGES) + list(_FUNCTIONS)
)
