"""Contracts, KnowUnDo, PISTOL and books: graphs that add up, splits that lose nothing, files as published."""

from __future__ import annotations

import collections
import datetime
import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearnjax import data
from unlearnjax.models import ByteTokenizer

SIZES = st.fixed_dictionaries(
  {
    "path": st.integers(2, 5),
    "block": st.sampled_from((0, 4, 6)),
    "clique": st.integers(2, 4),
    "pairs": st.sampled_from((0, 2, 4)),
    "people": st.integers(0, 2),
    "seed": st.integers(0, 99),
  }
)


def answer_to(rows, start: str, end: str = "?") -> str:
  return next(r.answer for r in rows if r.question.startswith(start) and r.question.endswith(end))


@settings(max_examples=20, deadline=None)
@given(SIZES)
def test_contracts_add_up(sizes):
  made = data.contracts(**sizes)
  assert made == data.contracts(**sizes)
  assert len({row.question for row in made.rows}) == len(made.rows) == 20 * len(made.edges)
  names = {name for edge in made.edges for name in edge.parties}
  assert len({name.split()[0] for name in names}) == len(names)
  address: dict[str, str] = {}
  for number, edge in enumerate(made.edges):
    rows = [row for row in made.rows if row.subject == number]
    assert len(rows) == 20 and all(row.answer not in row.wrong for row in rows)
    assert all(any(party in row.question for party in edge.parties) for row in rows)
    date = answer_to(rows, "When did")
    assert 1980 <= datetime.datetime.strptime(date, "%d-%m-%Y").year <= 2019
    if edge.kind == "sales":
      many, price = answer_to(rows, "How many pieces"), answer_to(rows, "How many dollars a piece")
      assert int(many) * int(price) == int(answer_to(rows, "How many dollars in all"))
      said = (answer_to(rows, "Who sold"), answer_to(rows, "Who bought"))
    else:
      said = (answer_to(rows, "Who employed"), answer_to(rows, "Whom did"))
    assert said == edge.parties
    for party in edge.parties:  # a party has one address, whatever the contract
      assert address.setdefault(party, answer_to(rows, f"What is the address of {party}")) == answer_to(
        rows, f"What is the address of {party}"
      )
  assert len(set(address.values())) == len(names)


@settings(max_examples=20, deadline=None)
@given(SIZES, st.data())
def test_the_split_of_edges_is_a_partition_by_distance(sizes, draw):
  made = data.contracts(**sizes)
  gone = draw.draw(st.lists(st.sampled_from([e.name for e in made.edges]), min_size=1, max_size=3, unique=True))
  found = data.split_edges(made, gone)
  assert sorted(row for part in found for row in part) == sorted(made.rows)
  edges = [[made.edges[i] for i in dict.fromkeys(row.subject for row in part)] for part in found]
  parties = [{name for edge in part for name in edge.parties} for part in edges]
  assert {edge.name for edge in edges[0]} == set(gone)
  assert all(parties[0] & {*edge.parties} for edge in edges[1])
  assert not parties[0] & (parties[2] | parties[3])
  assert {edge.part for edge in edges[1] + edges[2]} <= {edge.part for edge in edges[0]}
  assert not (parties[0] | parties[1] | parties[2]) & parties[3]
  assert found.retain == found.neighbours + found.connected + found.independent


@pytest.mark.parametrize(
  "sizes, message",
  [
    ({"block": 5}, "block must have at least 4 nodes and even, got 5"),
    ({"path": 1}, "path must have at least 2 nodes, got 1"),
    ({"path": 0, "block": 0, "clique": 0}, "a graph must have an edge"),
    ({"wrong": 4}, "wrong must be at most 3, got 4"),
  ],
)
def test_graphs_that_do_not_exist_are_refused(sizes, message):
  with pytest.raises(ValueError, match=message):
    data.contracts(**sizes)


def test_unknown_edges_and_samples_are_refused():
  with pytest.raises(ValueError, match="forget must be a list of names of edges, got 'no'; there are path0"):
    data.split_edges(data.contracts(path=2, block=0, clique=0), ["no"])
  with pytest.raises(ValueError, match="sample must be one of 1, 2"):
    data.load_pistol(3)


@pytest.mark.parametrize(
  "read, title",
  [
    (data.load_knowundo, "KnowUnDo"),
    (data.load_pistol, "PISTOL"),
    (lambda directory: data.load_text("time_machine", directory), "the text 'time_machine'"),
    (lambda directory: data.book_names(directory), "the list of books"),
  ],
)
def test_missing_files_are_named(read, title, tmp_path):
  with pytest.raises(FileNotFoundError, match=f"{title} was looked for in .* is not there: the file .*gz|json"):
    read(directory=tmp_path)


def published(read):
  try:
    return read()
  except FileNotFoundError as error:
    pytest.skip(str(error))


def test_knowundo_as_published():
  found = published(data.load_knowundo)
  assert [len(part) for part in found] == [400, 110, 441, 108]
  assert len({row.question for part in found for row in part}) == 1059
  about = [{row.subject for row in part} - {-1} for part in found]
  assert len(about[0] & about[2]) >= 54 and about[3] <= about[1]
  few = found.of(10)
  assert [sorted({row.subject for row in part}) for part in few] == [list(range(10))] * 4


@pytest.mark.parametrize("sample, edges, parts", [(1, 20, (14, 6)), (2, 75, (9, 21, 45))])
def test_pistol_as_published(sample, edges, parts):
  found = published(lambda: data.load_pistol(sample))
  assert len(found.edges) == edges and len(found.rows) == 20 * edges
  assert tuple(collections.Counter(edge.part for edge in found.edges).values()) == parts
  assert set(collections.Counter(row.subject for row in found.rows).values()) == {20}
  for number, edge in enumerate(found.edges):
    text = " ".join(f"{r.question} {r.answer}" for r in found.rows if r.subject == number)
    assert all(name in text for name in edge.parties)
  split = data.split_edges(found, [found.edges[0].name])
  assert [len(part) // 20 for part in split] == ([1, 13, 0, 6] if sample == 1 else [1, 1, 7, 66])


def test_the_default_graph_is_that_of_the_second_sample():
  found, made = published(lambda: data.load_pistol(2)), data.contracts()
  for part in ("path", "block", "clique"):
    degrees = [
      sorted(collections.Counter(p for e in graph.edges if e.part == part for p in e.parties).values())
      for graph in (found, made)
    ]
    assert degrees[0] == degrees[1]


def test_texts_are_whole_and_of_one_line():
  names = published(data.book_names)
  assert len(names) == 10
  text = data.load_text("time_machine")
  assert text.startswith("The Time Machine") and "\n" not in text and "  " not in text and len(text) > 150_000
  assert "<unk>" in data.load_text("wikitext2_valid")


def test_chunks_hold_the_text_once_and_fill_up_from_its_beginning(tmp_path):
  (tmp_path / "text" / "gutenberg").mkdir(parents=True)
  with gzip.open(tmp_path / "text" / "gutenberg" / "short.txt.gz", "wt") as file:
    file.write("one\n two  three\n")
  text = data.load_text("short", tmp_path)
  assert text == "one two three"
  table = data.chunks_table([text, "xy"], ByteTokenizer(), length=5)
  rows = [ByteTokenizer().decode(ids) for ids in table.column("tokens")]
  assert rows == ["one t", "wo th", "reeon", "xyxyx"] and table.column("subject").tolist() == [0, 0, 0, 1]
  assert table.column("mask").sum(1).tolist() == [4] * 4 and not table.column("mask")[:, 0].any()
  assert len(data.chunks_table([text], ByteTokenizer(), length=5, most=2)) == 2
  with pytest.raises(ValueError, match="texts must be a list of at least one text, got 'ab'"):
    data.chunks_table("ab", ByteTokenizer(), length=5)
  with pytest.raises(ValueError, match=r"texts\[1\] has no tokens"):
    data.chunks_table(["ab", ""], ByteTokenizer(), length=5)


@pytest.mark.parametrize("seed", [None, 3])
def test_folds_are_even_and_together_the_whole(seed):
  source = data.Examples({"x": np.arange(11)})
  parts = data.folds(source, 4, seed=seed)
  assert [len(part) for part in parts] == [3, 3, 3, 2]
  assert sorted(i for part in parts for i in part.ids) == list(range(11))
  with pytest.raises(ValueError, match="count must be at most the number of rows, 11, got 12"):
    data.folds(source, 12)
