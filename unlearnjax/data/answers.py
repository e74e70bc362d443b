"""Questions and answers as a table of tokens, in the columns that `objectives.tokens` describes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unlearnjax.core import Examples, check
from unlearnjax.data.authors import QA


def answers_table(
  rows: Sequence[QA], tokenizer: Any, *, length: int | None = None, refusals: Sequence[str] = (), seed: int = 0
) -> Examples:
  """Tokens of questions with their answers, one row a question.

  A row is question, space, answer, end token; `mask` marks the answer and the end token. Every wording of an answer is
  a set of columns of its own, read with `answers=` by objectives and metrics: "paraphrase", "wrong0", "wrong1", ... and
  "alt", a refusal. A question without a paraphrase, or with fewer wrong answers than others, has its plain answer
  there.

  Args:
    rows: questions.
    tokenizer: with `encode`, `eos_id` and `pad_id`, see `unlearnjax.models.tokens`.
    length: T; by default that of the longest row, all wordings counted.
    refusals: one is drawn for each question; without any there are no columns "alt".
    seed: of that draw.

  Returns:
    Examples with `tokens` int32[N, T], `mask` bool[N, T], `prompt` int32[N] (tokens of the question), `subject`
    int32[N], and the further wordings.

  Raises:
    ValueError: no rows, an answer without text, a tokenizer without an end token, or a row that is longer than
      `length`.

  Example:
    >>> from unlearnjax.models import ByteTokenizer
    >>> table = answers_table([QA("Who?", "Me.")], ByteTokenizer(), length=10)
    >>> table.column("mask")[0].astype(int).tolist(), int(table.column("prompt")[0])
    ([0, 0, 0, 0, 1, 1, 1, 1, 1, 0], 4)
  """
  if not rows:
    raise ValueError("rows must hold at least one question")
  if tokenizer.eos_id is None:
    raise ValueError("the tokenizer has no end token (eos_token): answers would not end")
  wrong = max(len(row.wrong) for row in rows)
  wordings = {"": [row.answer for row in rows], "paraphrase": [row.paraphrase or row.answer for row in rows]}
  for j in range(wrong):
    wordings[f"wrong{j}"] = [row.wrong[j] if j < len(row.wrong) else row.answer for row in rows]
  if refusals:
    drawn = np.random.default_rng([seed, 13]).integers(len(refusals), size=len(rows))
    wordings["alt"] = [refusals[i] for i in drawn]
  prompts = [tokenizer.encode(row.question) for row in rows]
  encoded = {}
  for name, texts in wordings.items():
    if empty := [row.question for row, text in zip(rows, texts) if not text]:
      raise ValueError(f"the question {empty[0]!r} has no answer")
    encoded[name] = [[*p, *tokenizer.encode(" " + text), tokenizer.eos_id] for p, text in zip(prompts, texts)]
  longest = max(len(ids) for sequences in encoded.values() for ids in sequences)
  length = longest if length is None else length
  check.positive("length", length)
  if longest > length:
    raise ValueError(f"a row has {longest} tokens, but length is {length}")
  columns = {"prompt": np.array([len(p) for p in prompts], np.int32)}
  columns["subject"] = np.array([row.subject for row in rows], np.int32)
  for name, sequences in encoded.items():
    tokens = np.full((len(rows), length), tokenizer.pad_id or 0, np.int32)
    mask = np.zeros((len(rows), length), bool)
    for i, ids in enumerate(sequences):
      tokens[i, : len(ids)] = ids
      mask[i, len(prompts[i]) : len(ids)] = True
    prefix = f"{name}_" if name else ""
    columns |= {f"{prefix}tokens": tokens, f"{prefix}mask": mask}
  return Examples(columns)


def texts_of(rows: Sequence[QA]) -> list[str]:
  """Everything that is said in these rows, for training a tokenizer.

  Example:
    >>> texts_of([QA("Who?", "Me.", "It is me.", ("You.",))])
    ['Who? Me.', ' It is me.', ' You.']
  """
  texts = []
  for row in rows:
    further = (f" {text}" for text in (row.paraphrase, *row.wrong) if text)
    texts += [f"{row.question} {row.answer}", *further]
  return texts
