"""TOFU's numbers: truth ratio, forget quality, model utility. Maini et al. 2024, arXiv:2401.06121."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from unlearnjax.core import check
from unlearnjax.core.types import Array
from unlearnjax.losses import shapes
from unlearnjax.metrics import inputs

EPS = 1e-10
SETS = ("retain", "real_authors", "world_facts")
MEASURES = ("probability", "rouge", "truth_ratio")


def answer_probability(mean_nll: Array, wrong_mean_nll: Array | None = None) -> Array:
  """exp(-mean nll) = p(answer | question)^(1 / length) of every example, in [0, 1]; the direction depends on the set.

  With wrong answers P_true / (P_true + sum_j P_false,j), as TOFU does on real authors and world facts.

  Args:
    mean_nll: f[N], mean over answer tokens, the end token included.
    wrong_mean_nll: f[N, J] of J wrong answers.

  Returns:
    f[N]; the set's value is the mean.

  Raises:
    ValueError: shapes that do not fit, or means below 0: log-probabilities in the place of their negatives.

  Example:
    >>> round(float(answer_probability(jnp.array([0.5]))[0]), 4)
    0.6065
    >>> round(float(answer_probability(jnp.array([0.5]), jnp.array([[0.5, 0.5, 0.5]]))[0]), 4)
    0.25
  """
  mean_nll = _nll("mean_nll", mean_nll)
  if wrong_mean_nll is None:
    return jnp.exp(-mean_nll)
  wrong = _wrong(mean_nll, wrong_mean_nll)
  return 1 / (1 + jnp.sum(jnp.exp(mean_nll[:, None] - wrong), axis=-1))  # no underflow where all are unlikely


def truth_ratio(mean_nll: Array, wrong_mean_nll: Array, *, definition: str = "geometric") -> Array:
  """How much the wrong answers are preferred to a right one, R > 0; above 1 the wrong ones are.

  geometric: exp(mean_nll - mean_j wrong_j), the geometric mean of the wrong answers' probabilities over that of the
  right one: what TOFU's code takes for the forget quality and OpenUnlearning everywhere. arithmetic: the arithmetic
  mean, as the paper writes it and TOFU's code takes for the model utility. Geometric <= arithmetic always, and the
  model utility differs by .02 to .04: name which.

  Args:
    mean_nll: f[N] of the paraphrased answer (forget and retain sets) or the plain one (real authors, world facts).
    wrong_mean_nll: f[N, J] of the wrong answers.
    definition: "geometric" or "arithmetic".

  Returns:
    f[N].

  Raises:
    ValueError: as in `answer_probability`; an unknown definition.

  Example:
    >>> right, wrong = jnp.array([0.5]), jnp.array([[1.0, 2.0]])
    >>> [round(float(truth_ratio(right, wrong, definition=d)[0]), 5) for d in ("geometric", "arithmetic")]
    [0.36788, 0.41483]
  """
  check.one_of("definition", definition, ("geometric", "arithmetic"))
  mean_nll = _nll("mean_nll", mean_nll)
  wrong = _wrong(mean_nll, wrong_mean_nll)
  if definition == "geometric":
    return jnp.exp(mean_nll - wrong.mean(-1))
  return jnp.mean(jnp.exp(mean_nll[:, None] - wrong), axis=-1)


def truth_score(ratio: Array, *, definition: str) -> Array:
  """A truth ratio as a score in [0, 1] of every example; the set's value is the mean.

  closer_to_1: min(R, 1 / R), for the forget set, where a model that never knew is at 1. true_better: max(0, 1 - R), for
  the other sets, higher is better. knowledge: 1 / (1 + R) = P_right / (P_right + P_wrong), higher knows more, .5 cannot
  tell; OpenUnlearning's `prob_mean`, for comparing metrics.

  Args:
    ratio: f[N] of `truth_ratio`.
    definition: "closer_to_1", "true_better" or "knowledge".

  Example:
    >>> ratio = jnp.array([0.5, 4.0])
    >>> truth_score(ratio, definition="closer_to_1").tolist(), truth_score(ratio, definition="true_better").tolist()
    ([0.5, 0.25], [0.5, 0.0])
  """
  check.one_of("definition", definition, ("closer_to_1", "true_better", "knowledge"))
  ratio = shapes.at_least_f32(ratio)
  if definition == "closer_to_1":
    return jnp.minimum(ratio, 1 / (ratio + EPS))
  return jnp.maximum(0, 1 - ratio) if definition == "true_better" else 1 / (1 + ratio)


class ForgetQuality(NamedTuple):
  """Two-sample Kolmogorov-Smirnov test of truth ratios.

  Attributes:
    p_value: in [0, 1]; high means that the unlearned model cannot be told from the retrained one.
    log10_p: for plots, where p is 1e-200.
    distance: largest gap of the two distribution functions, in [0, 1]; unlike p it does not depend on the set's size.
  """

  p_value: float
  log10_p: float
  distance: float


def forget_quality(unlearned, retrained) -> ForgetQuality:
  """p-value for truth ratios of the unlearned and of the retrained model on the forget set; higher is better.

  The authors' threshold is .05. It looks at truth ratios alone: read it with the model utility, and never compare p
  across forget sets of different size. 20 examples have no power; use 200.

  Args:
    unlearned: f[N] truth ratios.
    retrained: f[M] truth ratios.

  Raises:
    ValueError: arrays that are empty, not vectors or hold NaN.

  Example:
    >>> a = np.linspace(0, 1, 40)
    >>> forget_quality(a, a).p_value, f"{forget_quality(a, a + 2).p_value:.3e}"
    (1.0, '1.860e-23')
  """
  from scipy.stats import ks_2samp

  found = ks_2samp(
    inputs.host_vector("unlearned", unlearned, infinite=True), inputs.host_vector("retrained", retrained, infinite=True)
  )
  p = float(found.pvalue)
  return ForgetQuality(p, float(np.log10(p)) if p > 0 else -np.inf, float(found.statistic))


def harmonic_mean(values) -> float:
  """Harmonic mean of numbers >= 0; 0 if any of them is 0.

  Raises:
    ValueError: no value, or a negative one.

  Example:
    >>> round(harmonic_mean([0.5, 1.0]), 4), harmonic_mean([0.0, 1.0])
    (0.6667, 0.0)
  """
  values = inputs.host_vector("values", values)
  if values.min() < 0:
    raise ValueError(f"values must be >= 0, got {values.min()}")
  return 0.0 if values.min() == 0 else float(len(values) / np.sum(1 / values))


def model_utility(scores: Mapping[str, Mapping[str, float]]) -> float:
  """Harmonic mean of nine scores, in [0, 1]; higher is better. Any zero makes it zero.

  Args:
    scores: {set: {measure: value in [0, 1]}} for the sets "retain", "real_authors", "world_facts" and the measures
      "probability" (with wrong answers on the last two sets), "rouge" (ROUGE-L recall) and "truth_ratio" (the mean of
      `truth_score(..., definition="true_better")`).

  Raises:
    ValueError: a set or measure that is missing, a value outside [0, 1].

  Example:
    >>> half = dict.fromkeys(("probability", "rouge", "truth_ratio"), 0.5)
    >>> model_utility(dict.fromkeys(("retain", "real_authors", "world_facts"), half))
    0.5
  """
  missing = [f"{s}/{m}" for s in SETS for m in MEASURES if m not in scores.get(s, {})]
  if missing:
    raise ValueError(f"scores lack {', '.join(missing)}")
  values = [float(scores[s][m]) for s in SETS for m in MEASURES]
  inputs.unit_interval("scores", values)
  return harmonic_mean(np.maximum(values, 0))


def _wrong(mean_nll: Array, wrong: Array) -> Array:
  shapes.batched("wrong_mean_nll", wrong, "N, J")
  if np.shape(wrong)[0] != np.shape(mean_nll)[0] or not np.shape(wrong)[1]:
    raise ValueError(f"wrong_mean_nll must be [N, J] = [{np.shape(mean_nll)[0]}, J >= 1], got {np.shape(wrong)}")
  return _not_negative("wrong_mean_nll", wrong)


def _nll(name: str, values: Array) -> Array:
  shapes.batched(name, values, "N")
  return _not_negative(name, values)


def _not_negative(name: str, values: Array) -> Array:
  known = inputs.concrete(values)
  if known is not None and known.size and not np.nanmin(known.astype(np.float64), initial=0) >= -1e-3:
    raise ValueError(f"{name} must be >= 0, minus the log-probability, got {np.nanmin(known.astype(np.float64)):g}")
  return shapes.at_least_f32(values)
