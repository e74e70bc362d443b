"""Benchmarks on other text than people: contracts by their place in a graph, facts of one subject, books word by word.

Each has configurations, the columns of its report, and a `Setting` of its own: a `Kind`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import unlearnjax as uj
from experiments.language import attack
from experiments.language.configs import Config, method_of
from experiments.language.setting import Setting
from unlearnjax import metrics, models
from unlearnjax.report import Column, Spec


class Kind(NamedTuple):
  """A benchmark.

  Attributes:
    configs: by name.
    setting: of a seed.
    spec: what the report is about.
    shown: columns on the console.
    without: methods that need wordings, prompts or questions which these data do not have.
  """

  configs: Mapping[str, Config]
  setting: Callable[[Config, int, uj.Run], Setting]
  spec: Callable[[Config], Spec]
  shown: tuple[str, ...]
  without: tuple[str, ...] = ()


class Corpus(Setting):
  """A setting that names the sets which are learnt and kept, and the scores that are compared with retraining."""

  learnt: tuple[str, ...] = ("forget", "retain")
  kept: tuple[str, ...] = ("retain",)
  compared: tuple[str, ...] = ()

  def read(self) -> Any:
    """The data as they lie in their files."""
    raise NotImplementedError

  @functools.cached_property
  def request(self) -> uj.ForgetRequest:
    return uj.ForgetRequest(self.sets["forget"], self.sets["retain"], reason=self.config.forget)

  @functools.cached_property
  def original(self) -> tuple[uj.Model, dict[str, Any]]:
    return self.trained("original", *self.learnt)

  @functools.cached_property
  def oracle(self) -> tuple[uj.Model, dict[str, Any]]:
    return self.trained("retrain", *self.kept)

  def after(self, name: str, model: uj.Model, request: uj.ForgetRequest, *scope: str):
    """What `uj.forget` returns for a method, which is made once for all requests."""
    method = method_of(name, self.config, self.tokenizer.vocab_size, self.tokenizer.encode("Who?")[-1])
    return uj.forget(method, model, request, key=self.key(name), run=self.run.apart(f"seed{self.seed}", name, *scope))

  def row(self, name: str) -> dict[str, Any]:
    """All numbers of a method."""
    found = {"original": self.original, "retrain": self.oracle}.get(name)
    if found is None:
      result = self.after(name, self.original[0], self.request)
      found = result.model, result.cost
    model, cost = found
    scores = self.scores(model)
    return {
      "gap": float(np.mean([abs(scores[k] - self.gold[k]) for k in self.compared])),
      **scores,
      **(self.further(name, model, scores)),
      **attack.attacked(self, model),
      **cost,
      "cost_percent": 100 * cost["gradient_evaluations"] / max(self.oracle[1]["gradient_evaluations"], 1),
    }

  def further(self, name: str, model: uj.Model, scores: Mapping[str, float]) -> dict[str, Any]:
    """Numbers that need another model than the one in the row."""
    return {}


def greedy(setting: Setting, model: uj.Model, source: uj.Examples, prompts: np.ndarray) -> tuple[list[str], list[str]]:
  """(what the model says after the first `prompts` tokens of every row, what the row says), without the prompts."""
  tokens, mask = source.column("tokens"), source.column("mask")
  padded = models.pad_tokens([list(ids[:n]) for ids, n in zip(tokens, prompts)], length=int(prompts.max()), side="left")
  longest = setting.room(padded["tokens"].shape[1], int(max(m[n:].sum() for m, n in zip(mask, prompts))))
  tokenizer = setting.tokenizer
  out = models.generate(model, padded["tokens"], longest, segment_ids=padded["segment_ids"], stop=tokenizer.eos_id)
  said = [tokenizer.decode(ids[:n]) for ids, n in zip(np.asarray(out.tokens), np.asarray(out.lengths))]
  return said, [tokenizer.decode(ids[n:][m[n:]]) for ids, m, n in zip(tokens, mask, prompts)]


def answered(setting: Setting, model: uj.Model, source: uj.Examples, **kind: str) -> np.ndarray:
  """ROUGE recall of greedy answers to the questions of a `data.answers_table`, f[N] in percent."""
  said, truth = greedy(setting, model, source, source.column("prompt"))
  return 100 * metrics.rouge(said, truth, **kind)


def spread(source: uj.Examples, most: int) -> uj.Examples:
  """At most so many rows, at even distances."""
  return (
    source[np.unique(np.linspace(0, len(source) - 1, min(most, len(source))).astype(int))] if len(source) else source
  )


def columns(*own: Column) -> tuple[Column, ...]:
  """The columns of a benchmark between those that all of them have."""
  return (
    Column("gap", "gap", "lower", "", "Mean distance to retraining of the scores that are compared, in points."),
    *own,
    Column("relearned", "relearned", "reference", "%", "P of the other half of the forget set after relearning half."),
    Column("quantized", "int4", "reference", "%", "P of the forget set after rounding all matrices to 4 bits."),
    Column("cost_percent", "cost", "lower", "%", "Gradient evaluations in percent of those of retraining."),
    Column("seconds", "seconds", "lower", "s", "Wall time without compilation."),
  )


def spec_of(title: str, question: str, own: Sequence[Column], utility: str) -> Spec:
  """A report whose score is the gap."""
  return Spec(title, question, columns(*own), cost="cost_percent", versus_cost=("gap", utility))


def kinds() -> tuple[Kind, ...]:
  """Every benchmark of this file's kind."""
  from experiments.language import books, facts

  return (facts.CONTRACTS, facts.KNOWUNDO, books.BOOKS)


def kind_of(config: Config) -> Kind | None:
  """The benchmark of a configuration; None where it is that of people."""
  return next((kind for kind in kinds() if any(type(config) is type(c) for c in kind.configs.values())), None)


def all_configs() -> dict[str, Config]:
  """The configurations of every benchmark, by name."""
  return {name: config for kind in kinds() for name, config in kind.configs.items()}


@dataclasses.dataclass(frozen=True)
class CorpusConfig(Config):
  """A `Config` without curves: see there; `authors` and `curve_*` are unused. `speed` multiplies the methods' rates."""

  curve_points: int = 0
  speed: float = 1.0

  @property
  def pace(self) -> float:
    return self.speed
