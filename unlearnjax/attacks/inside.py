"""What activations still know: lenses, probes, and directions that hide it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core import check
from unlearnjax.core.types import Array
from unlearnjax.losses import shapes
from unlearnjax.metrics import inputs
from unlearnjax.metrics.ranking import target_ranks

PERMUTATIONS = 10


def logit_lens(hidden: Array, unembed: Array, norm: Callable[[Array], Array] | None = None) -> Array:
  """Logits of an early layer as if it were the last: norm(hidden) @ unembed.

  nostalgebraist 2020; on the last layer it gives the model's own logits. A rank that is good in the middle and bad at
  the end says that an answer is suppressed, not gone.

  Args:
    hidden: f[..., d] activations of the residual stream.
    unembed: f[d, V]; for tied embeddings the transpose of the table.
    norm: the model's last normalisation with its weights; required for pre-norm models.

  Returns:
    f[..., V].

  Raises:
    ValueError: widths that do not fit.

  Example:
    >>> logit_lens(jnp.array([1.0, 2.0]), jnp.eye(2), norm=lambda h: h / 2).tolist()
    [0.5, 1.0]
  """
  if np.ndim(unembed) != 2 or np.shape(hidden)[-1] != np.shape(unembed)[0]:
    raise ValueError(f"unembed must be [d, V] with d = {np.shape(hidden)[-1]} of hidden, got {np.shape(unembed)}")
  hidden = shapes.at_least_f32(hidden)
  return (hidden if norm is None else norm(hidden)) @ shapes.at_least_f32(unembed)


def answer_rank(logits: Array, targets: Array) -> Array:
  """How many tokens score above the target, 0 .. V - 1; 0 is the model's first choice.

  Args:
    logits: f[..., V].
    targets: int[...] in [0, V).

  Raises:
    ValueError: as in `metrics.target_ranks`, of which this is one less.

  Example:
    >>> answer_rank(jnp.array([[1.0, 3.0, 2.0]]), jnp.array([2])).tolist()
    [1]
  """
  return target_ranks(logits, targets) - 1


class Probe(NamedTuple):
  """A linear probe's success, fractions in [0, 1].

  Attributes:
    accuracy: balanced accuracy on the test half; 1 / classes is chance.
    control: the same with permuted training labels, mean over ten permutations: what a probe of this size makes up.
  """

  accuracy: float
  control: float


def linear_probe(train, test, *, strength: float = 1.0, seed: int = 0) -> Probe:
  """Balanced accuracy of a logistic regression that reads an attribute from activations.

  Lower is better, down to the value of the retrained model, which is the ideal.

  Questions hold lexical cues, so that the retrained model is the control that counts: chance is not the ideal. Never
  train and test on paraphrases of one fact. Features are standardised on the training half. Alain & Bengio 2016,
  arXiv:1610.01644; used on unlearned models by Lynch et al. 2024, arXiv:2402.16835.

  Args:
    train: (activations f[N, d], labels int[N]).
    test: (activations f[M, d], labels int[M]).
    strength: inverse L2 regularisation C > 0.
    seed: of the permutations.

  Raises:
    ValueError: shapes that do not fit, values that are not finite, fewer than two classes.

  Example:
    >>> x = np.array([[0.0], [0.1], [1.0], [1.1]])
    >>> linear_probe((x, [0, 0, 1, 1]), (x + 0.01, [0, 0, 1, 1])).accuracy
    1.0
  """
  from sklearn.linear_model import LogisticRegression
  from sklearn.metrics import balanced_accuracy_score
  from sklearn.pipeline import make_pipeline
  from sklearn.preprocessing import StandardScaler

  check.positive("strength", strength)
  (x, y), (x_test, y_test) = (_features(name, *pair) for name, pair in (("train", train), ("test", test)))
  if x.shape[1] != x_test.shape[1]:
    raise ValueError(f"train and test must have one width, got {x.shape[1]} and {x_test.shape[1]}")
  if len(np.unique(y)) < 2:
    raise ValueError(f"train must hold at least two classes, got {np.unique(y).tolist()}")

  def score(labels):
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000)).fit(x, labels)
    return float(balanced_accuracy_score(y_test, probe.predict(x_test)))

  rng = np.random.default_rng(seed)
  return Probe(score(y), float(np.mean([score(rng.permutation(y)) for _ in range(PERMUTATIONS)])))


def suppression_direction(unlearned: Array, reference: Array, valid: Array | None = None) -> Array:
  """Unit vector from a reference model's mean activation to the unlearned one's, on the same prompts.

  Args:
    unlearned: f[N, d] activations.
    reference: f[N, d].
    valid: bool[N], rows that count; all by default.

  Returns:
    f[d]; zeros where the means agree.

  Example:
    >>> suppression_direction(jnp.array([[3.0, 0.0]]), jnp.array([[1.0, 0.0]])).tolist()
    [1.0, 0.0]
  """
  from unlearnjax.losses.representation import unit

  shapes.same_shape("unlearned", unlearned, "reference", reference)
  gap = shapes.at_least_f32(unlearned) - shapes.at_least_f32(reference)
  rows = inputs.mask(valid, gap.shape[0])
  return unit(jnp.sum(jnp.where(rows[:, None], gap, 0), 0) / jnp.maximum(rows.sum(), 1))


def without_direction(direction: Array) -> Callable[[Array], Array]:
  """An injection that projects a direction out: h - (h . r) r. RMU is undone by it, a model that forgot is not.

  Pass `inject={site: without_direction(r)}` to a model. Arditi et al. 2024, arXiv:2406.11717; Łucki et al. 2024,
  arXiv:2409.18025.

  Args:
    direction: f[d] of length 1.

  Example:
    >>> without_direction(jnp.array([1.0, 0.0]))(jnp.array([[3.0, 2.0]])).tolist()
    [[0.0, 2.0]]
  """
  shapes.batched("direction", direction, "d")
  r = shapes.at_least_f32(direction)
  return lambda h: (h - (h.astype(r.dtype) @ r)[..., None] * r).astype(h.dtype)


def _features(name: str, x, y) -> tuple[np.ndarray, np.ndarray]:
  x, y = np.asarray(jax.device_get(x), np.float64), np.asarray(jax.device_get(y))
  if x.ndim != 2 or not len(x) or y.shape != x.shape[:1]:
    raise ValueError(f"{name} must be (activations f[N, d], labels int[N]), got shapes {x.shape} and {y.shape}")
  if not np.isfinite(x).all():
    raise ValueError(f"{name} must hold finite activations")
  return x, y
