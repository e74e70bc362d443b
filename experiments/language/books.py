"""A book is forgotten word by word, in the manner of MUSE: verbatim memory, leak of privacy, utility, and two curves.

There are no questions about these books, so that MUSE's KnowMem asks for names: the beginning of a sentence of a learnt
chunk is read, without what comes before it, and the name that follows is the answer. Utility is that of running text.

  python -m experiments.language.run --config=books --methods=gradient_ascent,grad_diff,npo --out=runs/books
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

import unlearnjax as uj
from experiments.language import corpora
from experiments.language.scores import membership
from unlearnjax import data, metrics, models
from unlearnjax.report import Column, Spec


@dataclasses.dataclass(frozen=True)
class BooksConfig(corpora.CorpusConfig):
  """Attributes beside those of `Config`.

  forget: a book of `data.book_names`.
  chunks: of the forgotten book, and as many again as holdout; of each other book a third of them.
  general: chunks of WikiText-2 that are learnt (validation part) and measured (test part).
  length, prompt: tokens of a chunk, and of its beginning that a continuation is asked for.
  vocab_size: of the byte-pair tokens.
  questions: for names, about a chunk, at most.
  folds: parts of the forget set for the curves, 0 for no curves.
  """

  dataset: str = "books"
  forget: str = "war_of_the_worlds"
  chunks: int = 48
  general: int = 48
  length: int = 64
  prompt: int = 16
  vocab_size: int = 768
  questions: int = 3
  folds: int = 4


LEARNT = ("war_of_the_worlds", "alice_in_wonderland", "treasure_island", "time_machine")


class BooksSetting(corpora.Corpus):
  """Chunks of the book, of other books, and of general text."""

  learnt, kept = ("forget", "retain", "general"), ("retain", "general")
  compared = ("verbmem", "names_forget", "names_retain", "em_forget", "em_retain", "utility")

  def read(self) -> dict[str, str]:
    return self.texts

  @functools.cached_property
  def texts(self) -> dict[str, str]:
    names = dict.fromkeys((self.config.forget, *LEARNT))
    return {name: data.load_text(name) for name in (*names, *data.texts.PLAIN)}

  def trained_tokenizer(self):
    return models.train_bpe(
      [text for name, text in self.texts.items() if name != "wikitext2_test"], self.config.vocab_size
    )

  @functools.cached_property
  def request(self) -> uj.ForgetRequest:
    forget, retain = self.sets["forget"], self.sets["retain"]
    return uj.ForgetRequest(
      forget,
      retain,
      reason=self.config.forget,
      extra={"general": self.sets["general"], "validation": self.sets["holdout"]},
    )

  @functools.cached_property
  def sets(self) -> dict[str, uj.Examples]:
    """Chunks at random places; the holdout is of the same book and was never learnt."""
    c, rng = self.config, np.random.default_rng([self.seed, 23])
    ends = {}

    def some(name: str, count: int) -> np.ndarray:
      table = data.chunks_table([self.texts[name]], self.tokenizer, length=c.length)
      if count > len(table):
        raise ValueError(f"{name!r} has {len(table)} chunks of {c.length} tokens, but {count} are asked for")
      return table.column("tokens")[rng.permutation(len(table))[:count]]

    own = some(c.forget, 2 * c.chunks)
    found = {"forget": own[: c.chunks], "holdout": own[c.chunks :]}
    others = [name for name in self.texts if name not in (c.forget, *data.texts.PLAIN)]
    found["retain"] = np.concatenate([some(name, max(1, c.chunks // 3)) for name in others])
    for name, text in (("general", "wikitext2_valid"), ("unseen", "wikitext2_test"), ("far", "tiny_shakespeare")):
      found[name] = some(text, c.general)
    tokens = np.concatenate(list(found.values()))
    mask = np.ones(tokens.shape, bool)
    mask[:, 0] = False
    table = uj.Examples({"tokens": tokens, "mask": mask})
    places = np.cumsum([0, *map(len, found.values())])
    ends |= {name: table[a:b] for name, a, b in zip(found, places, places[1:])}
    return ends

  @functools.cached_property
  def clozes(self) -> tuple[uj.Examples, np.ndarray]:
    """(questions for names in learnt chunks, whether they are about the forgotten book)."""
    books = [text for name, text in self.texts.items() if name not in data.texts.PLAIN]
    names = frozenset().union(*map(data.names_in, books))
    rows, gone = [], []
    for role in ("forget", "retain"):
      chunks = [self.tokenizer.decode(ids) for ids in self.sets[role].column("tokens")]
      found = data.name_clozes(chunks, names, least=3, most=self.config.questions)
      rows, gone = rows + found, gone + [role == "forget"] * len(found)
    return data.answers_table(rows, self.tokenizer), np.array(gone)

  def named(self, model: uj.Model) -> np.ndarray:
    """MUSE's KnowMem of `clozes`, f[N] in percent, of as many words as a name has: the model never learnt to stop."""
    source = self.clozes[0]
    said, names = corpora.greedy(self, model, source, source.column("prompt"))
    said = [" ".join(text.split()[: len(name.split())]) for text, name in zip(said, names)]
    return 100 * metrics.knowledge_memorization(said, names)

  def scores(self, model: uj.Model) -> dict[str, Any]:
    said = {name: metrics.answer_scores(model, source) for name, source in self.sets.items()}
    right = {name: 100 * float(one.correct.sum() / one.mask.sum()) for name, one in said.items()}
    perplexity = lambda one: float(np.exp(min(-one.logp.sum() / one.mask.sum(), 80)))
    forget = self.sets["forget"]
    continued = corpora.greedy(self, model, forget, np.full(len(forget), self.config.prompt))
    named, gone = self.named(model), self.clozes[1]
    return {
      "verbmem": 100 * float(metrics.verbatim_memorization(*continued).mean()),
      "names_forget": float(named[gone].mean()),
      "names_retain": float(named[~gone].mean()),
      "auc": 100 * membership(said["forget"], said["holdout"]),
      "em_forget": right["forget"],
      "em_retain": right["retain"],
      "utility": (right["retain"] + right["unseen"]) / 2,
      "nll_forget": float(said["forget"].mean_nll.mean()),
      "perplexity_wikitext": perplexity(said["unseen"]),
      "perplexity_shakespeare": perplexity(said["far"]),
    }

  def further(self, name, model, scores) -> dict[str, Any]:
    found = {"priv_leak": metrics.priv_leak(scores["auc"] / 100, self.gold["auc"] / 100)}
    if name in ("original", "retrain") or not self.config.folds:
      return found
    parts = data.folds(self.sets["forget"], self.config.folds)
    now = self.original[0]
    for k in range(1, len(parts) + 1):
      if k < len(parts):  # from the original, the first k parts at once
        first = functools.reduce(lambda a, b: a + b, parts[:k])
        at_once = self.after(name, self.original[0], self.request._replace(forget=first), f"first{k}").model
      else:
        at_once = model
      now = self.after(name, now, self.request._replace(forget=parts[k - 1]), f"then{k}").model
      found |= {f"at_once{k}": self.utility(at_once), f"in_turn{k}": self.utility(now)}
    return found

  def utility(self, model: uj.Model) -> float:
    """Percent of tokens of retained and of unseen general text that are the first choice, halved and added."""
    said = [metrics.answer_scores(model, self.sets[name]) for name in ("retain", "unseen")]
    return 50 * float(sum(one.correct.sum() / one.mask.sum() for one in said))


def _spec(config: BooksConfig) -> Spec:
  own = [
    Column("verbmem", "VerbMem", "reference", "%", "ROUGE-L F1 of greedy continuations of chunks of the book."),
    Column("names_forget", "names(F)", "reference", "%", "MUSE's KnowMem as a cloze: ROUGE-L F1 of names after the "
           "beginning of their clause, in learnt chunks of the book."),
    Column("names_retain", "names(R)", "higher", "%", "The same in learnt chunks of the other books."),
    Column("priv_leak", "PrivLeak", "reference", "%", "Min-40% AUC of the book's learnt against its unused chunks, "
           "relative to retraining: below 0 under-, above 0 over-unlearned."),
    Column("auc", "AUC", "reference", "%", "The AUC itself."),
    Column("em_forget", "EM(F)", "reference", "%", "Tokens of the book that are the first choice."),
    Column("em_retain", "EM(R)", "higher", "%", "Tokens of the retained books that are the first choice."),
    Column("utility", "utility", "higher", "%", "Mean of EM(R) and the same on general text that was never learnt."),
    Column("nll_forget", "nll(F)", "reference", "", "Mean nll of a token of the book, in nats."),
    Column("perplexity_wikitext", "ppl wikitext", "lower", "", "On unseen text of a kind that was learnt."),
    Column("perplexity_shakespeare", "ppl Shakespeare", "lower", "", "On text of a kind that was not."),
  ]  # fmt: skip
  for k in range(1, config.folds + 1):
    own.append(
      Column(f"at_once{k}", f"{k} at once", "higher", "%", f"Utility after {k} of {config.folds} parts at once.")
    )
  for k in range(1, config.folds + 1):
    own.append(Column(f"in_turn{k}", f"{k} in turn", "higher", "%", f"Utility after {k} parts, one after the other."))
  question = (
    "A model learnt books by heart. One must be forgotten. Which method comes closest to a model that never saw it, "
    "keeps the others and general text, and bears larger requests and further ones?"
  )
  return corpora.spec_of(f"Forgetting {config.forget.replace('_', ' ')}", question, own, "utility")


BOOKS = corpora.Kind(
  {"books": BooksConfig(dim=96, epochs=60, batch_size=16, speed=0.3)},
  BooksSetting,
  _spec,
  (
    "gap",
    "verbmem",
    "names_forget",
    "names_retain",
    "priv_leak",
    "em_retain",
    "utility",
    "at_once1",
    "in_turn4",
    "seconds",
  ),
  without=("idk", "idk_dpo", "llmu", "flat", "uld", "eco"),  # they need other answers, or prompts
)
