"""Overlap of texts. Benchmarks call four different numbers ROUGE-L; the arguments say which."""

from __future__ import annotations

import collections
import functools
import re
import string
from collections.abc import Sequence

import numpy as np

from unlearnjax.core import check

__doctest_requires__ = ("rouge_score",)


def rouge(
  predictions: Sequence[str],
  references: Sequence[str],
  *,
  kind: str = "rougeL",
  measure: str = "recall",
  stemmer: bool = True,
) -> np.ndarray:
  """ROUGE of every pair as `rouge_score` computes it, in [0, 1]; lower on the forget set forgot more.

  Lower case, runs of anything but [a-z0-9] separate; longest common subsequence over the reference's words (recall),
  the prediction's (precision) or both (f1). TOFU and OpenUnlearning: rougeL recall with Porter stemming. MUSE: rougeL
  f1 without; OpenUnlearning's MUSE stems. PISTOL: rouge1 recall. Recall rewards rambling.

  Args:
    predictions: N texts.
    references: N texts.
    kind: "rouge1", "rouge2" or "rougeL".
    measure: "recall", "precision" or "f1".
    stemmer: Porter stemming of words longer than three letters.

  Returns:
    f64[N].

  Raises:
    ValueError: lists of different length, an unknown kind or measure.
    ImportError: without `rouge-score` (the extra `lm`).

  Example:
    >>> rouge(["b d"], ["a b c d"]).tolist(), rouge(["b d"], ["a b c d"], measure="f1").round(4).tolist()
    ([0.5], [0.6667])
  """
  check.one_of("kind", kind, ("rouge1", "rouge2", "rougeL"))
  check.one_of("measure", measure, ("recall", "precision", "f1"))
  _paired(predictions, references)
  scorer = _scorer(kind, stemmer)
  attribute = "fmeasure" if measure == "f1" else measure
  return np.array([getattr(scorer.score(r, p)[kind], attribute) for p, r in zip(predictions, references)], float)


@functools.lru_cache(maxsize=8)
def _scorer(kind: str, stemmer: bool):
  try:
    from rouge_score import rouge_scorer
  except ImportError as e:
    raise ImportError("ROUGE needs the package rouge-score: pip install 'unlearnjax[lm]'") from e
  return rouge_scorer.RougeScorer([kind], use_stemmer=stemmer)


def verbatim_memorization(continuations: Sequence[str], references: Sequence[str]) -> np.ndarray:
  """MUSE's VerbMem: ROUGE-L F1, without stemming, of greedy continuations with the true ones; lower forgot more.

  The prompt is the first tokens of a forget passage; 128 new tokens are decoded, and the true continuation is cut to
  128 as well. In [0, 1]; the paper reports 100 times the mean. Shi et al. 2024, arXiv:2407.06460.

  Args:
    continuations: N texts without their prompts: a prompt that is left in scores by itself.
    references: N true continuations.

  Example:
    >>> verbatim_memorization(["the cat sat"], ["the cat sat"]).tolist()
    [1.0]
  """
  return rouge(continuations, references, measure="f1", stemmer=False)


def knowledge_memorization(answers: Sequence[str], references: Sequence[str]) -> np.ndarray:
  """MUSE's KnowMem: ROUGE-L F1, without stemming, of answers cut where the next question would begin.

  On questions about the forget set lower forgot more, on those about the retain set higher kept more. In [0, 1]; the
  paper reports 100 times the mean. Shi et al. 2024, arXiv:2407.06460.

  Args:
    answers: N generations of 32 tokens after a few-shot prompt "Question: ..\\nAnswer: ..\\n\\n".
    references: N true answers.

  Example:
    >>> knowledge_memorization(["Paris\\n\\nQuestion: and of Spain?"], ["Paris"]).tolist()
    [1.0]
  """
  cut = [re.split(r"\n\n|\nQuestion|Question:", answer)[0] for answer in answers]
  return rouge(cut, references, measure="f1", stemmer=False)


def squad_f1(predictions: Sequence[str], references: Sequence[str]) -> np.ndarray:
  """F1 of words as SQuAD counts them, in [0, 1]: lower case, no punctuation, no articles, words with repeats.

  Rajpurkar et al. 2016, arXiv:1606.05250.

  Example:
    >>> squad_f1(["The Eiffel tower"], ["eiffel Tower!"]).tolist(), squad_f1(["a b c"], ["b d"]).tolist()
    ([1.0], [0.5])
  """
  _paired(predictions, references)

  def words(text):
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()

  def f1(prediction, reference):
    prediction, reference = words(prediction), words(reference)
    if not prediction or not reference:
      return float(prediction == reference)
    common = sum((collections.Counter(prediction) & collections.Counter(reference)).values())
    return 2 * common / (len(prediction) + len(reference))

  return np.array([f1(p, r) for p, r in zip(predictions, references)], float)


def _paired(predictions, references) -> None:
  if isinstance(predictions, str) or isinstance(references, str) or len(predictions) != len(references):
    raise ValueError(
      f"predictions and references must be lists of one length, got {type(predictions).__name__} of "
      f"{len(predictions)} and {type(references).__name__} of {len(references)}"
    )
  for name, texts in (("predictions", predictions), ("references", references)):
    other = next((t for t in texts if not isinstance(t, str)), None)
    if other is not None:
      raise ValueError(f"{name} must hold texts, got {type(other).__name__} {other!r}: decode tokens first")
