"""What a retrained model would score, read off text of the same kind that the model never saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from unlearnjax.core import ForgetRequest, Method, Model, Run, check, forget, need_retain
from unlearnjax.core.types import Array
from unlearnjax.metrics.answers import AnswerScores, answer_scores


class TextFit(NamedTuple):
  """How well a text is predicted.

  Attributes:
    perplexity: exp of the mean nll of a token, >= 1.
    accuracy: share of tokens that are the first choice, in [0, 1].
  """

  perplexity: float
  accuracy: float


def text_fit(said: AnswerScores) -> TextFit:
  """Perplexity and token accuracy over all scored tokens of a data set.

  Args:
    said: from `answer_scores`.

  Raises:
    ValueError: nothing is scored.

  Example:
    >>> mask = np.ones((1, 2), bool)
    >>> text_fit(AnswerScores(np.log([[0.5, 0.5]]), np.array([[True, False]]), None, mask))
    TextFit(perplexity=2.0, accuracy=0.5)
  """
  count = int(np.sum(said.mask))
  if not count:
    raise ValueError("text_fit needs at least one scored token, got none")
  nll = -float(np.sum(said.logp, where=said.mask)) / count
  return TextFit(float(np.exp(nll)), float(np.sum(said.correct & said.mask)) / count)


def approximate_gap(now: TextFit, unseen: TextFit) -> TextFit:
  """How far the forget set is from where retraining would put it, which unseen text of the same kind tells.

  "Approximate retraining": a retrained model has not seen the forget set, so it does there what the original does on
  text of the same distribution that was never trained on. Yao et al. 2024, arXiv:2402.15159.

  Args:
    now: of the model that forgot, on the forget set.
    unseen: of the original model, on the unseen text.

  Returns:
    (log of the ratio of perplexities, difference of accuracies); 0 is best. Perplexity below 0, accuracy above 0: not
    forgotten yet; the other way round: more than a model that never saw it.

  Example:
    >>> gap = approximate_gap(TextFit(8.0, 0.25), TextFit(8.0, 0.5))
    >>> gap.perplexity, gap.accuracy
    (0.0, -0.25)
  """
  return TextFit(float(np.log(now.perplexity / unseen.perplexity)), now.accuracy - unseen.accuracy)


class Candidate(NamedTuple):
  """What settings led to; see `approximate_retraining`.

  Attributes:
    gap: `approximate_gap` on the forget set.
    retain: log of the ratio of perplexities on the retain set, after and before: the damage, where above 0.
    kept: the damage is within the tolerance.
  """

  gap: TextFit
  retain: float
  kept: bool


def approximate_retraining(
  candidates: Mapping[str, Method],
  model: Model,
  request: ForgetRequest,
  *,
  key: Array,
  unseen: str = "unseen",
  tolerance: float = 0.1,
  run: Run | None = None,
) -> tuple[str, dict[str, Candidate]]:
  """Chooses settings of an unlearning method without retraining: the nearest to what retraining should look like.

  Among the candidates that keep the perplexity of the retain set, the one whose perplexity of the forget set is nearest
  to the original model's on unseen text. Yao et al. 2024, arXiv:2402.15159 (paper 17), who choose learning rates so.

  Args:
    candidates: methods by name, e.g. of several learning rates.
    model: the original.
    request: with a retain set, and with `extra[unseen]`: text of the forget set's distribution that was never trained
      on, and that nothing else is measured by.
    key: a typed key, the same for all.
    unseen: the name in `request.extra`.
    tolerance: > 0, how much the retain perplexity may rise, 0.1 being 10 percent.
    run: where to save, progress, mesh, ledger.

  Returns:
    (name of the best, all of them by name). If none keeps the retain set, the best is that which damages it least.

  Raises:
    ValueError: no candidates, no retain set, no unseen text.

  Example:
    >>> import optax
    >>> from unlearnjax import methods
    >>> rates = {f"{rate:g}": methods.grad_diff(tx=optax.adam(rate)) for rate in (1e-5, 1e-4)}
    >>> approximate_retraining(rates, Model({}), ForgetRequest(None, [0]), key=None)
    Traceback (most recent call last):
      ...
    ValueError: approximate_retraining reads request.extra['unseen'], and the request has []
  """
  if not candidates:
    raise ValueError("candidates must hold at least one method, got none")
  check.positive("tolerance", tolerance)
  need_retain("approximate_retraining", request)
  if unseen not in request.extra or not len(request.extra[unseen]):
    raise ValueError(
      f"approximate_retraining reads request.extra[{unseen!r}], and the request has {sorted(request.extra)}"
    )
  run = (run or Run()).scope("approximate_retraining")
  fit_of = lambda model, source: text_fit(answer_scores(model, source, run))
  target, before = fit_of(model, request.extra[unseen]), fit_of(model, request.retain)
  found = {}
  for name, method in candidates.items():
    after = forget(method, model, request, key=key, run=run.scope(name)).model
    damage = approximate_gap(fit_of(after, request.retain), before).perplexity
    gap = approximate_gap(fit_of(after, request.forget), target)
    found[name] = Candidate(gap, damage, damage <= float(np.log1p(tolerance)))
  rank = lambda name: (
    not found[name].kept,
    abs(found[name].gap.perplexity) if found[name].kept else found[name].retain,
  )
  return min(found, key=rank), found
