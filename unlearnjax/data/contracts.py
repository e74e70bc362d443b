"""Contracts between parties that do not exist: a graph compiled into questions. In the manner of PISTOL (Qiu et al.
2024, arXiv:2406.16810): nodes are companies and people with random names, edges are contracts of twenty facts each, and
what is measured is the damage that forgetting an edge does to the others, by their place in the graph."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from unlearnjax.core import check
from unlearnjax.data.authors import QA
from unlearnjax.data.contract_facts import DATES, FACTS, STREETS, SUFFIXES

SHAPES = ("path", "block", "clique", "pairs")


class Edge(NamedTuple):
  """A contract.

  Attributes:
    name: such as "clique3".
    parties: (seller, customer) or (employer, employee).
    kind: "sales" or "employment".
    part: the part of the graph that it lies in.
  """

  name: str
  parties: tuple[str, str]
  kind: str
  part: str


class Contracts(NamedTuple):
  """A graph as questions.

  Attributes:
    rows: twenty questions an edge, grouped by edge; a row's `subject` is the number of its edge.
    edges: in order.
  """

  rows: list[QA]
  edges: tuple[Edge, ...]


def shape_edges(shape: str, nodes: int) -> list[tuple[int, int]]:
  """Which nodes 0..n-1 of a part are joined.

  path: one after the other. block: two rows side by side, each node joined with those beside, across and diagonally
  across. clique: each with each. pairs: 0 with 1, 2 with 3, ... With ten nodes the first three are those of PISTOL's
  second sample: 9, 21 and 45 edges.

  Raises:
    ValueError: an unknown shape, too few nodes, or an odd number for block and pairs.

  Example:
    >>> [len(shape_edges(shape, 10)) for shape in ("path", "block", "clique", "pairs")]
    [9, 21, 45, 5]
  """
  check.one_of("shape", shape, SHAPES)
  least = 4 if shape == "block" else 2
  if nodes < least or (shape in ("block", "pairs") and nodes % 2):
    even = " and even" if shape in ("block", "pairs") else ""
    raise ValueError(f"{shape} must have at least {least} nodes{even}, got {nodes}")
  if shape == "path":
    return [(i, i + 1) for i in range(nodes - 1)]
  if shape == "clique":
    return list(itertools.combinations(range(nodes), 2))
  if shape == "pairs":
    return [(i, i + 1) for i in range(0, nodes, 2)]
  half = nodes // 2
  near = lambda i, j: abs(i % half - j % half) <= 1
  return [(i, j) for i, j in itertools.combinations(range(nodes), 2) if near(i, j)]


def contracts(
  *, path: int = 10, block: int = 10, clique: int = 10, pairs: int = 0, people: int = 0, seed: int = 0, wrong: int = 3
) -> Contracts:
  """Compiles a graph into questions that no model can answer before it was trained on them; needs no files.

  Args:
    path, block, clique, pairs: companies in the part of that shape (see `shape_edges`), 0 for none. Parts share no
      company; the pairs are controls. The default is the graph of PISTOL's second sample.
    people: employees of the first company of every part but the pairs, and one of the first of each pair: contracts of
      employment. 0 for none at all.
    seed: of names and facts.
    wrong: wrong answers of every question, for the metrics and methods that want them, 0 to 3.

  Raises:
    ValueError: sizes that a shape does not have, or no edge at all.

  Example:
    >>> made = contracts(path=3, block=0, clique=3, pairs=2)
    >>> [edge.name for edge in made.edges], len(made.rows)
    (['path0', 'path1', 'clique0', 'clique1', 'clique2', 'pairs0'], 120)
  """
  for name, number in (("people", people), ("wrong", wrong)):
    check.positive(name, number, zero=True)
  if wrong > 3:
    raise ValueError(f"wrong must be at most 3, got {wrong}")
  sizes = {"path": path, "block": block, "clique": clique, "pairs": pairs}
  joined = {part: shape_edges(part, size) for part, size in sizes.items() if size}
  if not joined:
    raise ValueError("path, block, clique and pairs are all 0: a graph must have an edge")
  rng = np.random.default_rng([seed, 17])
  fresh = _Fresh(rng)
  edges, addresses = [], {}
  for part, pairs_of in joined.items():
    companies = [fresh.company() for _ in range(sizes[part])]
    for number, (i, j) in enumerate(pairs_of):
      a, b = rng.permutation([i, j])
      edges.append(Edge(f"{part}{number}", (companies[a], companies[b]), "sales", part))
    employers = [companies[0]] * people if part != "pairs" else companies[::2] * bool(people)
    for number, company in enumerate(employers):
      edges.append(Edge(f"{part}_job{number}", (company, fresh.person()), "employment", part))
  for name in dict.fromkeys(name for edge in edges for name in edge.parties):
    addresses[name] = fresh.address()
  return Contracts(_rows(edges, addresses, fresh, rng, wrong), tuple(edges))


class EdgeSplit(NamedTuple):
  """Questions by where their edge lies, seen from the edges to forget. The four lists share nothing and miss nothing.

  Attributes:
    forget: of the edges to forget.
    neighbours: of edges that share a party with one of them.
    connected: of the other edges that a walk along edges reaches.
    independent: of edges that none reaches.
  """

  forget: list[QA]
  neighbours: list[QA]
  connected: list[QA]
  independent: list[QA]

  @property
  def retain(self) -> list[QA]:
    """All but the first."""
    return [*self.neighbours, *self.connected, *self.independent]


def split_edges(data: Contracts, forget: Sequence[str]) -> EdgeSplit:
  """Splits contracts by their distance from those to forget.

  Args:
    data: of `contracts` or `load_pistol`.
    forget: names of edges.

  Raises:
    ValueError: no name, or one that no edge has.

  Example:
    >>> made = contracts(path=4, block=0, clique=3)
    >>> [len(part) // 20 for part in split_edges(made, ["path0"])]
    [1, 1, 1, 3]
  """
  names = [edge.name for edge in data.edges]
  if isinstance(forget, str) or not forget or (strange := [name for name in forget if name not in names]):
    got = forget if isinstance(forget, str) or not forget else strange[0]
    raise ValueError(f"forget must be a list of names of edges, got {got!r}; there are {', '.join(names)}")
  gone = {i for i, name in enumerate(names) if name in forget}
  reached = {party for i in gone for party in data.edges[i].parties}
  near = {i for i, edge in enumerate(data.edges) if reached & {*edge.parties}} - gone
  while more := {p for e in data.edges if reached & {*e.parties} for p in e.parties} - reached:
    reached |= more
  far = {i for i, edge in enumerate(data.edges) if reached & {*edge.parties}} - near - gone
  rest = set(range(len(names))) - gone - near - far
  return EdgeSplit(*([row for row in data.rows if row.subject in part] for part in (gone, near, far, rest)))


class _Fresh:
  """Random strings that never come twice."""

  def __init__(self, rng: np.random.Generator):
    self.rng, self.given = rng, set()

  def once(self, make: Callable[[], str]) -> str:
    text = make()
    while text in self.given:
      text = make()
    self.given.add(text)
    return text

  def letters(self, count: int) -> str:
    return "".join(chr(97 + i) for i in self.rng.integers(26, size=count)).capitalize()

  def company(self) -> str:
    return f"{self.once(lambda: self.letters(6))} {self.rng.choice(SUFFIXES)}"

  def person(self) -> str:
    return self.once(lambda: f"{self.letters(4)} {self.letters(4)}")

  def address(self) -> str:
    return self.once(lambda: f"{self.rng.integers(1000):03d} {self.letters(6)} {self.rng.choice(STREETS)}")

  def date(self) -> str:
    return self.once(lambda: str(self.rng.choice(DATES)))


def _rows(edges, addresses: Mapping[str, str], fresh: _Fresh, rng, wrong: int) -> list[QA]:
  """Twenty questions an edge; a wrong answer is another value of the same kind."""
  names = lambda kind, side: tuple(dict.fromkeys(e.parties[side] for e in edges if e.kind == kind))
  places, rows = tuple(addresses.values()), []
  for number, edge in enumerate(edges):
    a, b = edge.parties
    facts, pools = {"a": a, "b": b, "date": fresh.date()}, {"date": DATES}
    first, second = ("seller", "customer") if edge.kind == "sales" else ("employer", "employee")
    for side, (role, party) in enumerate(((first, a), (second, b))):
      facts |= {role: party, f"{role}_address": addresses[party]}
      pools |= {role: names(edge.kind, side), f"{role}_address": places}
    open_place = "delivery" if edge.kind == "sales" else "place"
    facts[open_place], pools[open_place] = fresh.address(), places
    for key, (_, values) in FACTS[edge.kind].items():
      if values is not None:
        facts[key], pools[key] = str(rng.choice(values)), values
    if edge.kind == "sales":
      facts["total_price"] = str(int(facts["quantity"]) * int(facts["unit_price"]))
      pools["total_price"] = tuple(str(int(facts["quantity"]) * price) for price in range(2, 100))
    for key, (question, _) in FACTS[edge.kind].items():
      others = [value for value in pools[key] if value != facts[key]]
      false = rng.choice(others, min(wrong, len(others)), replace=False) if others else ()
      rows.append(QA(question.format(**facts), facts[key], "", tuple(map(str, false)), number))
  return rows
