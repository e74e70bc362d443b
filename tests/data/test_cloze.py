"""Questions for names: what passes for a name, and what is asked."""

from __future__ import annotations

import pytest

from unlearnjax import data
from unlearnjax.models import ByteTokenizer

TEXT = "Alice met the Cat. The cat saw Alice; then Alice ran. 'No,' said Alice to Mr. Dodo, and Mr. Dodo wept. I'll go."


def test_names_are_never_small_and_never_only_first():
  assert data.names_in(TEXT, least=1) == {"Alice", "Dodo"}  # there is a small cat; "I'll" and "Mr" are no names
  assert data.names_in(TEXT, least=3) == {"Alice"}
  assert not data.names_in("Paris. Paris. Paris.", least=1)


def test_questions_begin_with_their_clause_and_do_not_hold_the_answer():
  names = {"Alice", "Mary", "Ann", "Dodo"}
  passages = [
    "ran off; and so it went to Mary Ann, who knew that it was Alice's. Then they all said to Mr. Dodo: no.",
    "they told Alice again that Alice was here, and not Mary",
    "nobody at all was there",
    "it was Alice",
  ]
  rows = data.name_clozes(passages, names, most=9)
  assert [(row.subject, row.question, row.answer) for row in rows] == [
    (0, "and so it went to", "Mary Ann"),
    (0, "and so it went to Mary Ann, who knew that it was", "Alice"),
    (0, "Then they all said to Mr.", "Dodo"),
    (1, "they told Alice again that Alice was here, and not", "Mary"),
  ]
  assert [row.answer for row in data.name_clozes(passages, names)] == ["Mary Ann", "Mary"]
  assert data.name_clozes(passages[3:], names, least=2)[0].question == "it was"
  table = data.answers_table(rows, ByteTokenizer())
  assert ByteTokenizer().decode(table.column("tokens")[0][table.column("mask")[0]]).strip("\0") == " Mary Ann"


def test_one_text_is_no_list():
  with pytest.raises(ValueError, match="passages must be a list of texts, got 'ab'"):
    data.name_clozes("ab", {"Alice"})
  with pytest.raises(ValueError, match="least must be"):
    data.names_in("ab", least=0)
