"""One seed of the language benchmark: data, request, original, oracle, and the scores of a model."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import unlearnjax as uj
from experiments.language import attack, curves
from experiments.language.configs import Config, method_of
from unlearnjax import metrics
from unlearnjax.core.tree import fold_name
from unlearnjax.data import answers, authors, tofu

KNOWN = ("real_authors", "world_facts")


class Questions(NamedTuple):
  """The questions of a seed, by what they are for; `holdout` is never trained on."""

  forget: list[authors.QA]
  retain: list[authors.QA]
  real_authors: list[authors.QA]
  world_facts: list[authors.QA]
  holdout: list[authors.QA]
  refusals: tuple[str, ...]


def questions(config: Config, seed: int) -> Questions:
  """What is learnt, forgotten and measured.

  Raises:
    ValueError: an unknown data set, or a share outside (0, 1) or of everybody.
    FileNotFoundError: TOFU's files are not there.
  """
  if config.dataset == "tofu":
    found = tofu.load_tofu(config.forget)
    return Questions(*found[:4], [], tuple(found.refusals))
  share = float(config.forget)
  uj.core.check.fraction("forget", share, one=False)
  gone = max(1, round(share * config.authors))
  if gone == config.authors:
    raise ValueError(f"forget={config.forget} of {config.authors} authors leaves nobody in the retain set")
  rows = authors.fictitious_authors(config.authors + gone, seed=seed)
  first, held = config.authors - gone, config.authors
  pick = lambda low, high: [row for row in rows if low <= row.subject < high]
  known = authors.known_facts(seed=seed)
  return Questions(
    pick(first, held), pick(0, first), known[KNOWN[0]], known[KNOWN[1]], pick(held, held + gone), authors.REFUSALS
  )


class Setting:
  """Everything that the rows of one seed share."""

  def __init__(self, config: Config, seed: int, run: uj.Run):
    self.config, self.seed, self.run = config, seed, run
    self.read()
    if config.model != "scratch":
      self.config = dataclasses.replace(config, **sizes(config.model))
      self.check_context()

  def read(self) -> None:
    """Reads the data; what is missing is said before a directory is claimed."""
    self.questions = questions(self.config, self.seed)

  def check_context(self) -> None:
    """Refuses rows that are longer than what the checkpoint reads."""
    longest, context = self.sets["forget"].columns["tokens"].shape[1], self.base.fn.config.context
    if longest > context:
      raise ValueError(f"{self.config.model} reads {context} tokens, but the longest question and answer has {longest}")

  def room(self, length: int, new: int) -> int:
    """How many of so many new tokens the model can write after a prompt of a length, at least 1."""
    return max(1, min(new, self.base.fn.config.context - length))

  @functools.cached_property
  def tokenizer(self):
    from unlearnjax import models

    if self.config.model != "scratch":
      return models.load_tokenizer(self.config.model)
    return self.trained_tokenizer()

  def trained_tokenizer(self):
    """One that knows the words of the data."""
    return words_of([row for part in self.questions[:5] for row in part], self.questions.refusals)

  @functools.cached_property
  def sets(self) -> dict[str, uj.Examples]:
    """Selections of one table, by name."""
    parts = dict(zip(Questions._fields[:5], self.questions[:5]))
    rows = [row for part in parts.values() for row in part]
    table = answers.answers_table(rows, self.tokenizer, refusals=self.questions.refusals, seed=self.seed)
    ends = np.cumsum([0, *map(len, parts.values())])
    return {name: table[a:b] for name, a, b in zip(parts, ends, ends[1:])}

  @functools.cached_property
  def request(self) -> uj.ForgetRequest:
    extra = {"general": self.sets[KNOWN[0]] + self.sets[KNOWN[1]]}
    if len(self.sets["holdout"]):
      extra["validation"] = self.sets["holdout"]
    return uj.ForgetRequest(self.sets["forget"], self.sets["retain"], reason=self.config.forget, extra=extra)

  @functools.cached_property
  def base(self) -> uj.Model:
    """What training starts from: random weights, or a checkpoint."""
    from unlearnjax import models

    if self.config.model != "scratch":
      return checkpoint(self.config.model)
    c = self.config
    fn = models.transformer("llama", vocab_size=self.tokenizer.vocab_size, dim=c.dim, depth=c.depth, heads=c.heads)
    return fn.init(self.key("base"))

  @functools.cached_property
  def original(self) -> tuple[uj.Model, dict[str, Any]]:
    return self.trained("original", "forget", "retain", *KNOWN)

  @functools.cached_property
  def oracle(self) -> tuple[uj.Model, dict[str, Any]]:
    return self.trained("retrain", "retain", *KNOWN)

  def trained(self, name: str, *parts: str) -> tuple[uj.Model, dict[str, Any]]:
    """(model, cost) of training on some of the sets; in the same directory the checkpoint is read."""
    from unlearnjax.training import trainer

    run = self.run.apart(f"seed{self.seed}", name)
    step, recipe = trainer(self.base.fn, self.config.recipe), self.config.recipe
    start = uj.UnlearnState.create(self.base.params, rng=self.key(name), model_state=self.base.state)
    source = functools.reduce(lambda a, b: a + b, (self.sets[part] for part in parts))
    plan = uj.zip_roles(train=source, batch_size=recipe.batch_size, epochs=recipe.epochs)
    state, _ = uj.fit(step, step.init(start), plan, run=run, name=name)
    return self.base.replace(params=state.params, state=state.model_state), run.cost.to_dict()

  def unlearned(self, name: str) -> tuple[uj.Model, dict[str, Any], int, curves.Recorder | None]:
    """(model, cost, trained parameters, what was seen on the way) after a method."""
    model, cost = {"original": self.original, "retrain": self.oracle}.get(name) or (None, None)
    if model is not None:
      return model, cost, _size(model.params), None
    run = self.run.apart(f"seed{self.seed}", name)
    method = method_of(name, self.config, self.tokenizer.vocab_size, self.tokenizer.encode("Who?")[-1])
    original, key = self.original[0], self.key(name)
    verbs = uj.core.bound(method, original.fn)
    refs = verbs.init(original, key)[1]  # of this key: those that `uj.forget` makes once more
    scale = 1.0 if name == "task_vector" else None
    recorder = curves.Recorder(self.meter, self.target, verbs, refs, original, scale)
    if self.config.curve_points:
      run.looks, run.on_look, run.on_history = self.config.curve_points, recorder.look, recorder.keep
    result = uj.forget(method, original, self.request, key=key, run=run)
    return result.model, result.cost, _size(result.state.params), recorder

  def row(self, name: str) -> dict[str, float | None]:
    """All numbers of a method."""
    model, cost, trained, recorder = self.unlearned(name)
    scores = self.scores(model)
    gold = self.gold
    quality = metrics.forget_quality(scores.pop("truth_ratios"), gold["truth_ratios"])
    auc, gold_auc = scores.pop("auc"), gold["auc"]
    compared = ("prob_forget", "rouge_forget", "em_forget", "utility")
    return {
      "gap": float(np.mean([abs(scores[k] - gold[k]) for k in compared])),
      "log10_p": quality.log10_p,
      "ks": quality.distance,
      "approximate": None if self.unseen is None else scores["nll_forget"] - self.unseen,
      "priv_leak": None if auc is None else metrics.priv_leak(auc, gold_auc),
      **scores,
      **attack.attacked(self, model),
      "trained_percent": 100 * trained / _size(self.original[0].params),
      **cost,
      "cost_percent": 100 * cost["gradient_evaluations"] / max(self.oracle[1]["gradient_evaluations"], 1),
      **self.way(model, recorder),
    }

  def way(self, model: uj.Model, recorder: curves.Recorder | None) -> dict[str, Any]:
    """The curve to a model, and the area under it; that of the original and of the oracle is one point."""
    if not self.config.curve_points:
      return {}
    last = self.meter.point(model, self.target)
    if recorder is None:
      return {"curve": {"step": [0], **{name: [last[name]] for name in curves.MEASURED}}}
    curve = recorder.curve(self.meter.point(self.original[0], self.target), last)
    return {"curve": curve, "way_utility": curves.area(curve, self.target["prob_forget"])}

  @functools.cached_property
  def meter(self) -> curves.Meter:
    return curves.Meter(self.sets, self.config.curve_retained)

  @functools.cached_property
  def target(self) -> dict[str, Any]:
    """What the curves lead to: the oracle's scores."""
    return self.meter.scores(self.oracle[0])

  @functools.cached_property
  def unseen(self) -> float | None:
    """Mean nll of a token that the original has on people whom it never saw: what retraining should be at."""
    holdout = self.sets["holdout"][: self.config.evaluated]
    if not len(holdout):
      return None
    return float(np.log(metrics.text_fit(metrics.answer_scores(self.original[0], holdout)).perplexity))

  @functools.cached_property
  def gold(self) -> dict[str, Any]:
    """Scores of the oracle."""
    return self.scores(self.oracle[0])

  def scores(self, model: uj.Model) -> dict[str, Any]:
    from experiments.language.scores import scores

    return scores(self, model)

  def key(self, name: str) -> jax.Array:
    return fold_name(jax.random.key(self.seed), name)


def words_of(rows: Sequence[authors.QA], refusals: Sequence[str]):
  """A tokenizer of the words of some questions and of the refusals."""
  from unlearnjax import models

  return models.train_words([*answers.texts_of(rows), *(f" {text}" for text in refusals)], 4096)


@functools.lru_cache(maxsize=1)
def checkpoint(directory: str) -> uj.Model:
  """A Hugging Face checkpoint, read once for all seeds."""
  from unlearnjax import models

  return models.load_hf(directory)


def sizes(directory: str) -> dict[str, int]:
  """The fields of a `Config` that a checkpoint decides."""
  config = checkpoint(directory).fn.config
  return {name: getattr(config, name) for name in ("dim", "depth", "heads")}


def _size(params: Any) -> int:
  return sum(x.size for x in jax.tree.leaves(params))
