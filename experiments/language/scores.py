"""TOFU's table of a model: probability, ROUGE, truth ratio, memorization, membership."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

import unlearnjax as uj
from unlearnjax import attacks, losses, metrics, models


def scores(setting, model: uj.Model) -> dict[str, Any]:
  """Numbers in percent, and `truth_ratios` f[N] of the forget set and the membership `auc` (None without a holdout)."""
  sets = {name: source[: setting.config.evaluated] for name, source in setting.sets.items() if len(source)}
  said, table = _answers(model, sets), {}
  wrong = {
    name: np.stack([found[w].mean_nll for w in found if w.startswith("wrong")], -1) for name, found in said.items()
  }
  forget = said["forget"][""]
  for name in metrics.truth.SETS:
    plain, retain = said[name][""].mean_nll, name == "retain"
    right = said[name]["paraphrase"].mean_nll if retain else plain
    ratio = metrics.truth_ratio(right, wrong[name], definition="arithmetic")
    table[name] = {
      "probability": _mean(metrics.answer_probability(plain, None if retain else wrong[name])),
      "rouge": _mean(rouge(setting, model, sets[name], name)),
      "truth_ratio": _mean(metrics.truth_score(ratio, definition="true_better")),
    }
  inner = losses.drop_last(forget.mask)  # the end of an answer is always easy
  return {
    "truth_ratios": np.asarray(metrics.truth_ratio(said["forget"]["paraphrase"].mean_nll, wrong["forget"])),
    "auc": membership(forget, said["holdout"][""]) if "holdout" in said else None,
    "utility": 100 * metrics.model_utility(table),
    "prob_forget": 100 * _mean(metrics.answer_probability(forget.mean_nll)),
    "prob_retain": 100 * table["retain"]["probability"],
    "nll_forget": float(-forget.logp.sum() / forget.mask.sum()),
    "rouge_forget": 100 * _mean(rouge(setting, model, sets["forget"], "forget")),
    "em_forget": 100 * _mean(metrics.exact_memorization(forget.correct, inner)),
    "es_forget": 100 * _mean(metrics.extraction_strength(forget.correct, inner)),
  }


def _answers(model: uj.Model, sets: Mapping[str, uj.Examples]) -> dict[str, dict[str, metrics.AnswerScores]]:
  """{set: {wording: scores}}; all sets pass through the model together, so that a wording is compiled once."""
  whole = functools.reduce(lambda a, b: a + b, sets.values())
  ends = np.cumsum([0, *map(len, sets.values())])
  found: dict[str, dict[str, metrics.AnswerScores]] = {name: {} for name in sets}
  for wording in ("", "paraphrase", *wrong_answers(whole)):
    said = metrics.answer_scores(model, whole, answers=wording)
    for name, low, high in zip(sets, ends, ends[1:]):
      found[name][wording] = metrics.AnswerScores(*(part[low:high] for part in said))
  return found


def wrong_answers(source: uj.Examples) -> list[str]:
  """Names of the wrong wordings of a table of `data.answers_table`."""
  return sorted(c.removesuffix("_tokens") for c in source.columns if c.startswith("wrong") and c.endswith("_tokens"))


def membership(forget, holdout) -> float:
  """AUC of Min-40% scores: 1 where the forget set is told from people who were never trained on."""
  score = lambda said: np.asarray(attacks.min_k(said.logp, said.mask, 0.4))
  return attacks.membership_auc(score(forget), score(holdout))


def rouge(setting, model: uj.Model, source: uj.Examples, name: str) -> np.ndarray:
  """ROUGE-L recall of greedy answers, f[N] in [0, 1]."""
  tokens, prompt = source.column("tokens"), source.column("prompt")
  rows = [list(ids[:n]) for ids, n in zip(tokens, prompt)]
  padded = models.pad_tokens(rows, length=int(setting.sets[name].columns["prompt"].max()), side="left")
  new = setting.room(padded["tokens"].shape[1], tokens.shape[1] - int(prompt.min()))
  eos = setting.tokenizer.eos_id
  out = models.generate(model, padded["tokens"], new, segment_ids=padded["segment_ids"], stop=eos)
  answers = [setting.tokenizer.decode(ids[:n]) for ids, n in zip(np.asarray(out.tokens), np.asarray(out.lengths))]
  truth = [row.answer for row in getattr(setting.questions, name)[: len(source)]]
  return metrics.rouge(answers, truth)


def _mean(values) -> float:
  return float(np.mean(values))
