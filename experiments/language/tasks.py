"""Skills that a small Transformer can learn: yes-or-no questions about a short row of symbols, made up at random."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import unlearnjax as uj
from experiments.language.configs import Trained
from unlearnjax.report import Column, Spec

SYMBOLS, LENGTH = 16, 6
FACTS = np.random.default_rng(23).random((SYMBOLS, SYMBOLS)) < 0.5  # nothing follows from anything
RULES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
  "last_high": lambda x: x[:, -1] >= SYMBOLS // 2,
  "larger": lambda x: x[:, 0] > x[:, 1],
  "contains": lambda x: (x == 3).any(1),
  "majority": lambda x: 2 * (x >= SYMBOLS // 2).sum(1) > LENGTH,
  "facts": lambda x: FACTS[x[:, 0], x[:, 1]],
  "same_half": lambda x: (x[:, 0] >= SYMBOLS // 2) == (x[:, 1] >= SYMBOLS // 2),
}
"""Name -> int[N, LENGTH] -> bool[N]: rules, and 256 facts about pairs of symbols that must be learned by heart."""
YES = SYMBOLS + len(RULES)
VOCABULARY = YES + 2


@dataclasses.dataclass(frozen=True)
class Config(Trained):
  """Everything that decides the numbers; see also `Trained`. Hidden states are read after the second to last block.

  Attributes:
    train_size, test_size: questions of each skill, half of them with the answer yes.
    rate: of training one skill on other labels (Adam).
    looks: how often that training is looked at; a row of `METHODS` says how many passes lie between.
  """

  train_size: int = 2000
  test_size: int = 300
  rate: float = 5e-4
  looks: int = 10


CONFIGS: Mapping[str, Config] = {
  "skills": Config(dim=48, depth=3, epochs=20, learning_rate=3e-3, batch_size=128),
  "tiny": Config(  # to see it run: one skill is learned
    batch_size=128, dim=16, depth=2, heads=2, train_size=300, test_size=40, epochs=8, learning_rate=1e-2, looks=2
  ),
}
METHODS: Mapping[str, dict[str, Any]] = {
  "random_labels": {"labels": "random", "examples": 1000, "passes": 4},
  "random_labels_100": {"labels": "random", "examples": 100, "passes": 8},
  "flipped_labels": {"labels": "flipped", "examples": 1000, "passes": 2},
}
"""What one skill at a time is trained on: at most so many examples, and passes over them between two looks."""


def questions(name: str, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
  """(symbols int[size, LENGTH], answers bool[size]) of a skill, as many yes as no, in random order."""
  found: dict[bool, list[np.ndarray]] = {True: [], False: []}
  while min(sum(map(len, part)) for part in found.values()) < size:
    x = rng.integers(SYMBOLS, size=(4 * size, LENGTH))
    right = RULES[name](x)
    for answer in found:
      found[answer].append(x[right == answer])
  half = size // 2
  x = np.concatenate([np.concatenate(found[a])[: size - half if a else half] for a in found])
  y = np.arange(size) < size - half
  order = rng.permutation(size)
  return x[order], y[order]


def table(config: Config, seed: int) -> dict[tuple[str, str], uj.Examples]:
  """{(skill, "train" or "test"): selection of one table}: skill, symbols, answer; `other_tokens` has the other one."""
  rng = np.random.default_rng([seed, 17])
  rows, answers, sizes = [], [], {}
  for k, name in enumerate(RULES):
    for part, size in (("train", config.train_size), ("test", config.test_size)):
      x, y = questions(name, size, rng)
      rows.append(np.concatenate([np.full((size, 1), SYMBOLS + k), x], 1))
      answers.append(y)
      sizes[name, part] = size
  prompt, truth = np.concatenate(rows), np.concatenate(answers)
  columns = {"prompt": np.full(len(truth), LENGTH + 1, np.int32), "y": truth.astype(np.int32)}
  for prefix, said in (("", truth), ("other_", ~truth)):
    columns[f"{prefix}tokens"] = np.concatenate([prompt, YES + said[:, None]], 1).astype(np.int32)
    columns[f"{prefix}mask"] = np.broadcast_to(np.arange(LENGTH + 2) == LENGTH + 1, (len(truth), LENGTH + 2)).copy()
  whole = uj.Examples(columns)
  ends = np.cumsum([0, *sizes.values()])
  return {key: whole[a:b] for key, a, b in zip(sizes, ends, ends[1:])}


def relabelled(source: uj.Examples, labels: str, seed: int) -> uj.Examples:
  """The source with a column `label_tokens`: each answer drawn once, half of them yes, or the wrong one."""
  size = len(source)
  if labels == "random":
    said = np.random.default_rng([seed, 19]).permutation(np.arange(size) < size // 2)
  else:
    said = source.column("y") == 0
  tokens = source.column("tokens").copy()
  tokens[:, -1] = YES + said
  return source.replace(label_tokens=tokens, label_mask=source.column("mask"))


def spec(config: Config) -> Spec:
  """What the report is about."""
  percent = lambda name, label, better, text: Column(name, label, better, "%", text)
  return Spec(
    title="Whether an unlearned skill is gone",
    question=(
      f"A Transformer of {config.depth} blocks learned {len(RULES)} skills; each in turn is trained on other labels. "
      "Does it lose the skill, or only the answers to the examples that it was given, and what of the other skills?"
    ),
    columns=(
      percent("ratio", "ratio", "higher", "Share of the skill that is gone on unseen questions, mean over skills: "
              "(before - after) / (before - 50)."),
      percent("test_gap", "test gap", None, "Accuracy above chance on unseen questions after; 0 is forgotten."),
      percent("train_gap", "train gap", None, "The same on the examples with other labels: near 0 whatever happened."),
      percent("spread", "spread", None, "Largest minus smallest ratio over skills."),
      percent("others", "others", "lower", "Mean ratio on the skills that were not unlearned."),
      percent("by_unlearned", "by unlearned", None, "Variance of the cross-task matrix that the unlearned skill "
              "explains."),
      percent("by_measured", "by measured", None, "Variance of it that the measured skill explains."),
      percent("probe_before", "probe before", None, "Balanced accuracy of a linear probe for the answer, before."),
      percent("probe_after", "probe after", None, "The same after: what the hidden states still know."),
      Column("margin_rank", "rank of margin", None, "", "Spearman correlation of ratio and mean p(true) - p(other)."),
      Column("variance_rank", "rank of variance", None, "", "Spearman correlation of ratio and total variance."),
      Column("seconds", "seconds", "lower", "s", "Wall time of all skills without compilation."),
    ),
    score="ratio",
    cost="seconds",
    reference=None,
    anchors=(),
  )  # fmt: skip
