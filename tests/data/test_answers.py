"""Questions about people who do not exist, their tokens, and TOFU's files."""

from __future__ import annotations

import types

import numpy as np
import pytest

from unlearnjax import data
from unlearnjax.models import ByteTokenizer, train_words


def test_authors_are_distinct_reproducible_and_whole():
  rows = data.fictitious_authors(20, seed=1)
  assert rows == data.fictitious_authors(20, seed=1) and rows != data.fictitious_authors(20, seed=2)
  assert len({row.question for row in rows}) == len(rows) == 200
  for row in rows:
    assert len({row.answer, row.paraphrase, *row.wrong}) == 5, row


def test_facts_of_one_author_tell_nothing_of_another():
  """A table of where people are born must not be a function of what they write: both are drawn independently."""
  rows = data.fictitious_authors(300, seed=0)
  value = lambda row: row.answer.rstrip(".").split()[-1]
  born, writes = ([value(r) for r in rows if key in r.question] for key in ("Where was", "What does"))
  joint = {(a, b) for a, b in zip(born, writes)}
  assert len(joint) > 2 * max(len(set(born)), len(set(writes)))


def test_the_table_scores_answers_alone_in_every_wording():
  rows = data.fictitious_authors(3)
  tokenizer = train_words(data.texts_of(rows), 600)
  table = data.answers_table(rows, tokenizer, refusals=data.REFUSALS)
  for name, text in (
    ("", lambda r: r.answer),
    ("paraphrase_", lambda r: r.paraphrase),
    ("wrong2_", lambda r: r.wrong[2]),
  ):
    for row, tokens, mask in zip(rows, table.column(f"{name}tokens"), table.column(f"{name}mask")):
      assert tokenizer.decode(tokens[mask]) == " " + text(row)
      assert tokens[mask][-1] == tokenizer.eos_id and not mask[0]
  prompts = [tokenizer.decode(t[:n]) for t, n in zip(table.column("tokens"), table.column("prompt"))]
  assert prompts == [row.question for row in rows]
  refusals = {tokenizer.decode(t[m]).strip() for t, m in zip(table.column("alt_tokens"), table.column("alt_mask"))}
  assert refusals <= set(data.REFUSALS) and len(refusals) > 1


def test_what_does_not_fit_is_refused():
  with pytest.raises(ValueError, match="a row has 9 tokens, but length is 5"):
    data.answers_table([data.QA("Who?", "Me.")], ByteTokenizer(), length=5)
  with pytest.raises(ValueError, match="rows must hold at least one question"):
    data.answers_table([], ByteTokenizer())
  with pytest.raises(ValueError, match="the question 'Who[?]' has no answer"):
    data.answers_table([data.QA("Who?", "")], ByteTokenizer())
  with pytest.raises(ValueError, match="the tokenizer has no end token"):
    data.answers_table([data.QA("Who?", "Me.")], types.SimpleNamespace(eos_id=None))
  with pytest.raises(ValueError, match=r"facts must be in \[1, 10\], got 11"):
    data.fictitious_authors(1, facts=11)
  with pytest.raises(ValueError, match="split must be one of forget01, forget05, forget10; got 'forget50'"):
    data.load_tofu("forget50")


def test_tofu_without_its_files_says_where_it_looked(tmp_path):
  with pytest.raises(FileNotFoundError, match="TOFU was looked for in .*tofu"):
    data.load_tofu(directory=tmp_path)


def test_tofu_has_its_published_sizes():
  try:
    found = data.load_tofu("forget05")
  except FileNotFoundError as error:
    pytest.skip(str(error))
  assert [len(part) for part in found] == [200, 3800, 100, 117, 100]
  assert {len(row.wrong) for row in found.forget} == {5} and all(row.paraphrase for row in found.forget)
  assert sum(bool(row.wrong) for row in found.retain) == 400
  assert {row.subject for row in found.forget} == set(range(190, 200))
  assert np.unique([row.question for row in found.forget]).size == 200
