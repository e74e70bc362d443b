"""Contracts by their place in a graph (PISTOL), and private against public facts of one subject (KnowUnDo).

python -m experiments.language.run --config=contracts --out=runs/contracts          # needs no files
python -m experiments.language.run --config=pistol1 --forget=A_B --out=runs/pistol
python -m experiments.language.run --config=knowundo --out=runs/knowundo
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

import unlearnjax as uj
from experiments.language import configs, corpora
from experiments.language.corpora import CorpusConfig
from experiments.language.setting import words_of
from unlearnjax import data, losses, metrics
from unlearnjax.report import Column, Spec


@dataclasses.dataclass(frozen=True)
class ContractsConfig(CorpusConfig):
  """Attributes beside those of `Config`.

  forget: names of edges, with commas.
  path, block, clique, pairs, people: of the graph, see `data.contracts`.
  """

  dataset: str = "contracts"
  forget: str = "clique0"
  evaluated: int = 80
  path: int = 5
  block: int = 6
  clique: int = 5
  pairs: int = 4
  people: int = 0


@dataclasses.dataclass(frozen=True)
class KnowUnDoConfig(CorpusConfig):
  """`people`: so many of the 55, in the order of the files; 0 takes all."""

  dataset: str = "knowundo"
  forget: str = "private"
  people: int = 0


class Questions(corpora.Corpus):
  """Lists of questions by name, as one table."""

  @functools.cached_property
  def parts(self) -> dict[str, list[data.QA]]:
    return self.read()

  def trained_tokenizer(self):
    return words_of([row for rows in self.parts.values() for row in rows], data.REFUSALS)

  @functools.cached_property
  def sets(self) -> dict[str, uj.Examples]:
    rows = [row for part in self.parts.values() for row in part]
    table = data.answers_table(rows, self.tokenizer, refusals=data.REFUSALS, seed=self.seed)
    ends = np.cumsum([0, *map(len, self.parts.values())])
    return {name: table[a:b] for name, a, b in zip(self.parts, ends, ends[1:])}

  def accuracy(self, model: uj.Model, source: uj.Examples) -> tuple[float, Any]:
    """(percent of an answer's tokens that are the first choice, the end left out; all scores)."""
    said = metrics.answer_scores(model, source)
    right = metrics.exact_memorization(said.correct, losses.drop_last(said.mask))
    return 100 * float(np.mean(np.asarray(right))), said


PLACES = ("neighbours", "connected", "independent")


class ContractsSetting(Questions):
  """Which other contracts suffer when one is forgotten?"""

  learnt, kept = ("forget", *PLACES), PLACES
  compared = ("rouge_forget", *(f"rouge_{place}" for place in PLACES))

  def read(self) -> dict[str, list[data.QA]]:
    c = self.config
    if c.dataset.startswith("pistol"):
      graph = data.load_pistol(int(c.dataset.removeprefix("pistol")))
    else:
      sizes = {name: getattr(c, name) for name in ("path", "block", "clique", "pairs", "people")}
      graph = data.contracts(seed=self.seed, **sizes)
    parts = data.split_edges(graph, [name.strip() for name in c.forget.split(",")])._asdict()
    if not any(parts[place] for place in PLACES):
      raise ValueError(f"forget={c.forget} names every edge, which leaves nothing in the retain set")
    return parts

  @functools.cached_property
  def request(self) -> uj.ForgetRequest:
    retain = functools.reduce(lambda a, b: a + b, (self.sets[place] for place in PLACES))
    return uj.ForgetRequest(self.sets["forget"], retain, reason=self.config.forget)

  def scores(self, model: uj.Model) -> dict[str, Any]:
    chosen = {name: corpora.spread(self.sets[name], self.config.evaluated) for name in self.learnt}
    both = functools.reduce(lambda a, b: a + b, chosen.values())  # one program for all places
    found = corpora.answered(self, model, both, kind="rouge1")
    ends = np.cumsum([0, *map(len, chosen.values())])
    table: dict[str, Any] = {}
    for name, a, b in zip(chosen, ends, ends[1:]):
      table[f"rouge_{name}"] = float(found[a:b].mean()) if b > a else 100.0  # no such edge: nothing to lose
    table["nll_forget"] = float(metrics.answer_scores(model, self.sets["forget"]).mean_nll.mean())
    ranks = metrics.greedy_ranks(model, both)
    for name, part in (("forget", ranks[: ends[1]]), ("retain", ranks[ends[1] :])):
      table[f"mrr_{name}"] = 100 * float(metrics.mean_reciprocal_rank(part, part > 0))
      table[f"hit_{name}"] = 100 * float(metrics.top_hit_ratio(part, 100, part > 0))
    return table

  def further(self, name, model, scores) -> dict[str, Any]:
    return {f"drop_{place}": self.before[f"rouge_{place}"] - scores[f"rouge_{place}"] for place in PLACES}

  @functools.cached_property
  def before(self) -> dict[str, Any]:
    """Scores of the original."""
    return self.scores(self.original[0])


def _contracts_spec(config: ContractsConfig) -> Spec:
  place = {"neighbours": "that share a party with it", "connected": "further along", "independent": "out of its reach"}
  own = [Column("rouge_forget", "ROUGE-1(F)", "reference", "%", "Recall of words of greedy answers, forgotten edges.")]
  for name in PLACES:
    own.append(
      Column(f"rouge_{name}", name, "higher", "%", f"The same on edges {place[name]}; 100 where there are none.")
    )
  for name in PLACES:
    own.append(Column(f"drop_{name}", f"drop {name}", "lower", "", f"What edges {place[name]} lost, in points."))
  own.append(Column("nll_forget", "nll(F)", "reference", "", "Mean nll of a token of the forgotten answers, in nats."))
  greedy = "of the true answer's tokens among the model's choices while it answers greedily"
  for name, edges, better in (("forget", "forgotten", "reference"), ("retain", "all retained", "higher")):
    letter = name[0].upper()
    own.append(Column(f"mrr_{name}", f"MRR({letter})", better, "%", f"Mean 1 / rank {greedy}, {edges} edges."))
    own.append(Column(f"hit_{name}", f"hit@100({letter})", better, "%", "Share of them that rank among the first 100."))
  question = (
    "A model learnt contracts between parties. One must be forgotten. Which method comes closest to a model that never "
    "saw it, and what happens to the contracts of the same parties?"
  )
  return corpora.spec_of(f"Forgetting the contract {config.forget}", question, own, "rouge_neighbours")


GENERAL = tuple(name for name in configs.METHODS if name.endswith("_general"))  # they need text of another kind
UNSEEN = ("eco", "knowledge_unlearning", "knowledge_sequential")  # they need questions that nobody learnt
EPOCHS = 80  # of contracts and people, whose texts are longer
CONTRACTS = corpora.Kind(
  {
    "contracts": ContractsConfig(epochs=EPOCHS, speed=0.6),
    "contracts_tiny": ContractsConfig(
      path=2, block=0, clique=3, pairs=2, dim=32, depth=1, heads=2, epochs=2, evaluated=8, relearn_steps=1
    ),
    "pistol1": ContractsConfig(dataset="pistol1", forget="A_B", epochs=EPOCHS, speed=0.6),
    "pistol2": ContractsConfig(dataset="pistol2", forget="20_21", dim=128, epochs=EPOCHS, speed=0.6),
  },
  ContractsSetting,
  _contracts_spec,
  shown=("gap", "rouge_forget", "drop_neighbours", "drop_connected", "drop_independent", "nll_forget", "seconds"),
  without=(*UNSEEN, *GENERAL),
)


class KnowUnDoSetting(Questions):
  """What must be forgotten of a person, against what may stay; rows for validation are learnt and never shown again."""

  learnt = ("forget", "unlearn_val", "retain", "retention_val")
  kept = ("retain", "retention_val")
  compared = ("unlearn_success", "unlearn_success_val", "retention_success", "retention_success_val")

  def read(self) -> dict[str, list[data.QA]]:
    found = data.load_knowundo()
    found = found.of(self.config.people) if self.config.people else found
    return dict(zip(self.learnt, found))

  def scores(self, model: uj.Model) -> dict[str, Any]:
    chosen = {name: corpora.spread(self.sets[name], self.config.evaluated) for name in self.learnt}
    right, said = {}, {}
    for name, source in chosen.items():
      right[name], said[name] = self.accuracy(model, source)
    held = said["retention_val"]
    table = {
      "unlearn_success": 100 - right["forget"],
      "unlearn_success_val": 100 - right["unlearn_val"],
      "retention_success": right["retain"],
      "retention_success_val": right["retention_val"],
      "perplexity": float(np.exp(min(-held.logp.sum() / held.mask.sum(), 80))),
      "rouge_forget": float(corpora.answered(self, model, chosen["forget"]).mean()),
      "rouge_retain": float(corpora.answered(self, model, chosen["retain"]).mean()),
    }
    return {"success": float(np.mean([table[k] for k in self.compared])), **table}


def _knowundo_spec(config: KnowUnDoConfig) -> Spec:
  own = [
    Column("success", "success", "higher", "%", "Mean of the next four."),
    Column(
      "unlearn_success", "unlearned", "reference", "%", "Tokens of private answers that are not the first choice."
    ),
    Column("unlearn_success_val", "unlearned, val", "reference", "%", "The same on those that no method was shown."),
    Column("retention_success", "retained", "higher", "%", "Tokens of public answers that are the first choice."),
    Column("retention_success_val", "retained, val", "higher", "%", "The same on those that no method was shown."),
    Column("perplexity", "perplexity", "lower", "", "Of the public answers for validation, at most e^80."),
    Column("rouge_forget", "ROUGE(F)", "reference", "%", "ROUGE-L recall of greedy answers to private questions."),
    Column("rouge_retain", "ROUGE(R)", "higher", "%", "ROUGE-L recall of greedy answers to public questions."),
  ]
  question = (
    "A model learnt private and public facts about the same people. The private ones must be forgotten. Which method "
    "comes closest to a model that learnt the public ones alone?"
  )
  return corpora.spec_of("Private facts of KnowUnDo", question, own, "retention_success_val")


KNOWUNDO = corpora.Kind(
  {
    "knowundo": KnowUnDoConfig(dim=128, evaluated=110, epochs=EPOCHS),
    "knowundo_small": KnowUnDoConfig(people=12, evaluated=60, epochs=EPOCHS),
  },
  KnowUnDoSetting,
  _knowundo_spec,
  ("gap", "success", *KnowUnDoSetting.compared, "perplexity", "seconds"),
  without=("uld", *UNSEEN, *GENERAL),
)
