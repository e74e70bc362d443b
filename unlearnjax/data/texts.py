"""Running text in chunks of tokens: books in the public domain, Shakespeare, WikiText-2.

For measuring verbatim memory in the manner of MUSE (Shi et al. 2024, arXiv:2407.06460): a book is forgotten, others are
kept, and unused chunks of the same book are the holdout.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from unlearnjax.core import Examples, check
from unlearnjax.data.files import text_files

PLAIN = ("tiny_shakespeare", "wikitext2_valid", "wikitext2_test")
"""Texts that are no book."""


def book_names(directory: str | os.PathLike | None = None) -> tuple[str, ...]:
  """The books that `load_text` finds.

  Args:
    directory: holds `text/gutenberg/`; that of `UNLEARNJAX_DATA` by default.

  Raises:
    FileNotFoundError: there are none.
  """
  (path,) = text_files("the list of books", ("text/gutenberg/books.json",), directory)
  return tuple(book["name"] for book in json.loads(path.read_text()))


def load_text(name: str, directory: str | os.PathLike | None = None) -> str:
  """A whole text, with single spaces in the place of line ends: `book_names`, or one of `PLAIN`.

  Args:
    name: "alice_in_wonderland", "tiny_shakespeare", ...
    directory: holds `text/`; that of `UNLEARNJAX_DATA` by default.

  Raises:
    FileNotFoundError: it is not there.
  """
  place = f"text/{name}.txt.gz" if name in PLAIN else f"text/gutenberg/{name}.txt.gz"
  (path,) = text_files(f"the text {name!r}", (place,), directory)
  with gzip.open(path, "rt", encoding="utf-8") as file:
    return " ".join(file.read().split())


def chunks_table(texts: Sequence[str], tokenizer: Any, *, length: int, most: int | None = None) -> Examples:
  """Texts cut into chunks of so many tokens; the last one of a text is filled up from its beginning, as MUSE does.

  Args:
    texts: running texts.
    tokenizer: with `encode`, see `unlearnjax.models.tokens`.
    length: tokens of a chunk.
    most: chunks that are taken of each text, from its beginning.

  Returns:
    Examples with `tokens` int32[N, length], `mask` bool[N, length] (all but the first token are scored), and `subject`
    int32[N], the number of the text.

  Raises:
    ValueError: no texts, or one without tokens.

  Example:
    >>> from unlearnjax.models import ByteTokenizer
    >>> table = chunks_table(["abcde"], ByteTokenizer(), length=3)
    >>> [ByteTokenizer().decode(row) for row in table.column("tokens")]
    ['abc', 'dea']
  """
  check.positive("length", length)
  if most is not None:
    check.positive("most", most)
  if isinstance(texts, str) or not texts:
    raise ValueError(f"texts must be a list of at least one text, got {texts!r:.40}")
  parts = []
  for number, text in enumerate(texts):
    ids = np.asarray(tokenizer.encode(text), np.int32)
    if not len(ids):
      raise ValueError(f"texts[{number}] has no tokens")
    parts.append(np.resize(ids, (-(-len(ids) // length), length))[:most])  # repeats from the beginning
  tokens = np.concatenate(parts)
  mask = np.ones(tokens.shape, bool)
  mask[:, 0] = False
  subject = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts])
  return Examples({"tokens": tokens, "mask": mask, "subject": subject})


def folds(source: Examples, count: int, *, seed: int | None = None) -> list[Examples]:
  """A table in so many parts of (nearly) one size, which together are the whole: for requests one after the other.

  Args:
    source: what is dealt out.
    count: parts, at most one a row.
    seed: deals at random; in order by default.

  Raises:
    ValueError: more parts than rows.

  Example:
    >>> [len(part) for part in folds(Examples({"x": np.zeros(5)}), 2)]
    [3, 2]
  """
  check.positive("count", count)
  if count > len(source):
    raise ValueError(f"count must be at most the number of rows, {len(source)}, got {count}")
  order = np.arange(len(source)) if seed is None else np.random.default_rng([seed, 19]).permutation(len(source))
  return [source[np.sort(part)] for part in np.array_split(order, count)]
