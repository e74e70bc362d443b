"""Methods that are given a part of what they are asked to forget."""

from __future__ import annotations

import numpy as np

from unlearnjax import data
from unlearnjax.core import ForgetRequest, Method, ModelFn, Run, Verbs, check


def upcore(
  method: Method,
  site: str,
  *,
  contamination: float = 0.1,
  detector: str = "isolation_forest",
  last: str = "prompt",
  seed: int = 42,
  name: str | None = None,
) -> Method:
  """Any method on the core of the forget set: the outliers among its hidden states are left out.

  The outliers are not retained either; measure that they are forgotten along with the core. Patil et al. 2025,
  arXiv:2502.15082 (paper 38).

  Args:
    method: any method that forgets.
    site: activation that outliers are told by, see `data.upcore`; the paper takes the second to last layer.
    contamination: share of outliers, in [0, 1).
    detector: see `data.core_rows`; "random" leaves as many out at random, the control.
    last: see `data.upcore`.
    seed: of the detector.
    name: of the result.

  Raises:
    ValueError: a method that cannot forget, when it is bound.

  Example:
    >>> from unlearnjax import methods
    >>> methods.upcore(methods.language.npo(), "blocks/6").name
    'npo_upcore'
  """
  check.one_of("detector", detector, data.DETECTORS)
  check.fraction("contamination", contamination, zero=True, one=False)
  label = name or f"{method.name}_upcore"

  def bind(fn: ModelFn) -> Verbs:
    verbs = method.bind(fn)
    if verbs.forget is None:
      raise ValueError(f"{label} needs a method that forgets, and {method.name} only learns")

    def forget(state, refs, request: ForgetRequest, run: Run):
      def keep() -> np.ndarray:
        hidden = data.coreset.hidden_states(verbs.model(state, refs), request.forget, site, last=last, run=run)
        return data.core_rows(hidden, contamination, detector=detector, seed=seed)

      core = data.as_examples(request.forget).where(run.once("upcore", keep))
      return verbs.forget(state, refs, request._replace(forget=core, ids=core.ids), run)

    return verbs._replace(forget=forget)

  return Method(label, bind)  # what the method promises does not hold of the outliers
