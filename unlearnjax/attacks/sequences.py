"""Membership scores of texts. All are signed alike: higher means less likely a member.

They take what `metrics.answer_scores` gives. Compute them for the forget set and for held-out texts of the same
distribution, then `membership_auc`, then `metrics.priv_leak` against the retrained model.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.attacks.roc import roc_report
from unlearnjax.core import Model, Run, Statistic, as_examples, check, fold
from unlearnjax.core.types import Array
from unlearnjax.losses import shapes
from unlearnjax.losses.tokens import drop_last, reduce_token_mean, scored_mask, token_nll
from unlearnjax.metrics import inputs
from unlearnjax.metrics.answers import normalized_logp
from unlearnjax.objectives.bind import eval_view
from unlearnjax.objectives.cached import capacity, per_row
from unlearnjax.objectives.tokens import answer


def min_k(logp: Array, mask: Array, fraction: float = 0.4) -> Array:
  """Min-K%: minus the mean of the smallest max(1, int(fraction n)) of a row's n scores.

  Shi et al. 2023, arXiv:2310.16789. With `metrics.normalized_logp` in the place of the log-probabilities it is
  Min-K%++. The PrivLeak of MUSE uses 40%; OpenUnlearning leaves the last token out: pass `losses.drop_last(mask)`.

  Args:
    logp: f[N, T], log p of every token.
    mask: bool[N, T], scored tokens.
    fraction: K / 100 in (0, 1]; 1 is the mean nll.

  Returns:
    f[N]; 0 for rows without scored tokens.

  Example:
    >>> logp = jnp.array([[-0.1, -0.2, -3.0, -0.5, -1.0]])
    >>> [float(min_k(logp, jnp.ones((1, 5), bool), k)[0]) for k in (0.4, 0.2, 0.1)]
    [2.0, 3.0, 3.0]
  """
  check.fraction("fraction", fraction)
  logp = shapes.at_least_f32(logp)
  shapes.batched("logp", logp, "N, T")
  mask = scored_mask(mask, logp.shape)
  # how many of n, in float64: float32 would round some products the other way
  counts = jnp.asarray([max(1, int(fraction * n)) for n in range(logp.shape[1] + 1)])
  count = counts[jnp.sum(mask, axis=-1)][:, None]
  ordered = jnp.sort(jnp.where(mask, logp, jnp.inf), axis=-1)
  taken = (jnp.arange(logp.shape[1]) < count) & mask.any(-1)[:, None]
  return -jnp.sum(jnp.where(taken, ordered, 0), axis=-1) / count[:, 0]


def min_k_plus_plus(logits: Array, targets: Array, mask: Array, fraction: float = 0.4) -> Array:
  """Min-K%++: Min-K% of log-probabilities normalised by mean and deviation under the prediction itself.

  Zhang et al. 2024, arXiv:2404.02936. Where the logits do not fit into memory, `min_k(scores.normalized, ...)` of
  `metrics.answer_scores` gives the same.

  Args:
    logits: f[N, T, V], aligned with the targets (`losses.next_tokens`).
    targets: int[N, T].
    mask: bool[N, T].
    fraction: K / 100 in (0, 1].

  Returns:
    f[N].

  Example:
    >>> logits = jnp.log(jnp.array([[[0.5, 0.25, 0.25]] * 2]))
    >>> round(float(min_k_plus_plus(logits, jnp.array([[0, 1]]), jnp.ones((1, 2), bool), 0.5)[0]), 4)
    1.0
  """
  return min_k(normalized_logp(logits, targets, mask), mask, fraction)


def zlib_score(mean_nll, texts: Sequence[str]) -> np.ndarray:
  """Mean nll over the number of bytes that zlib needs for the text: discounts texts that are easy anyway.

  Carlini et al. 2021, arXiv:2012.07805, take the sum over tokens; this is the form of MUSE and OpenUnlearning.

  Args:
    mean_nll: f[N].
    texts: N texts whose tokens were scored.

  Returns:
    f64[N].

  Example:
    >>> zlib_score([1.0, 1.0], ["a b c d e f g h", "a a a a a a a a"]).argmax()
    np.int64(1)
  """
  mean_nll = inputs.host_vector("mean_nll", mean_nll)
  if isinstance(texts, str) or len(texts) != len(mean_nll):
    raise ValueError(f"texts must be a list of {len(mean_nll)} texts, got {type(texts).__name__} of {len(texts)}")
  return mean_nll / np.array([len(zlib.compress(text.encode())) for text in texts])


def reference_score(mean_nll, reference_mean_nll, *, definition: str = "difference") -> np.ndarray:
  """Mean nll against that of a reference model which never saw the texts.

  Args:
    mean_nll: f[N].
    reference_mean_nll: f[N].
    definition: "difference", or "ratio" as in MUSE.

  Returns:
    f64[N].

  Example:
    >>> reference_score([1.0], [3.0]).tolist(), reference_score([1.0], [4.0], definition="ratio").tolist()
    ([-2.0], [0.25])
  """
  check.one_of("definition", definition, ("difference", "ratio"))
  own, other = inputs.host_vector("mean_nll", mean_nll), inputs.host_vector("reference_mean_nll", reference_mean_nll)
  shapes.same_shape("mean_nll", own, "reference_mean_nll", other)
  if definition == "difference":
    return own - other
  if other.min() <= 0:
    raise ValueError(f"reference_mean_nll must be > 0 for a ratio, got {other.min()}")
  return own / other


def gradient_norm(
  model: Model, source: Any, run: Run | None = None, *, order: float = 2, skip_last: int = 1
) -> np.ndarray:
  """Norm of the gradient of each row's mean nll in every parameter array, averaged over the arrays.

  OpenUnlearning's grad-norm score; here in eval mode. One backward pass a row.

  Args:
    model: a causal language model.
    source: a `Source` of language, see `objectives.tokens`.
    run: batch size, mesh, progress, ledger.
    order: of the norm: 1, 2 or infinity.
    skip_last: scored tokens at the end of each row that are left out; 1 as in the reference implementation.

  Returns:
    f32[N].
  """
  check.positive("order", order)
  check.positive("skip_last", skip_last, zero=True)
  source = as_examples(source)
  norms = _norms(float(order), skip_last, capacity(len(source)))
  return np.asarray(fold(norms, model, source, run, name="gradient_norm"))[: len(source)]


@functools.lru_cache(maxsize=16)
def _norms(order: float, skip_last: int, rows: int) -> Statistic:
  def score(model, batch):
    view = eval_view(model, jax.random.key(0))

    def one(row):
      def loss(params):
        aligned = answer(model.fn, params, jax.tree.map(lambda x: x[None], row), view, train=False)[0]
        mask = drop_last(aligned.mask, skip_last)
        return reduce_token_mean(token_nll(aligned.logits, aligned.targets, mask), mask)

      slopes = jax.tree.leaves(jax.grad(loss)(model.params))
      return jnp.mean(jnp.stack([jnp.linalg.norm(g.ravel().astype(jnp.float32), order) for g in slopes]))

    kept = {k: batch[k] for k in ("inputs", "mask", "valid")}
    return jax.lax.map(one, kept)

  return per_row(score, jax.ShapeDtypeStruct((), jnp.float32), rows)._replace(backward=1)


def membership_auc(forget_scores, holdout_scores) -> float:
  """P(held-out score > forget score), ties counting half, in [0, 1]; the ideal is the retrained model's value.

  1: the forget set is told from held-out texts as trained on; .5 no signal. MUSE publishes 1 minus this.

  Args:
    forget_scores: f[N], higher means less likely a member.
    holdout_scores: f[M] of texts of the same distribution that were never trained on.

  Raises:
    ValueError: arrays that are empty, not vectors or hold NaN.

  Example:
    >>> membership_auc([0.1, 0.2], [0.3, 0.4]), membership_auc([0.1], [0.1])
    (1.0, 0.5)
  """
  forget = inputs.host_vector("forget_scores", forget_scores, infinite=True)
  holdout = inputs.host_vector("holdout_scores", holdout_scores, infinite=True)
  member = np.repeat([True, False], [len(forget), len(holdout)])
  return roc_report(-np.concatenate([forget, holdout]), member).auc
