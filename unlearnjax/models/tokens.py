"""Text to token numbers and back.

All tokenizers have `encode(text) -> list of int`, `decode(ids) -> text`, `vocab_size`, `pad_id`, `bos_id`, `eos_id`
(None where there is none) and `save(directory)`. `ByteTokenizer` and `WordTokenizer` need nothing; those of Hugging
Face (`load_tokenizer`, `train_bpe`) are in the extra `lm`.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from unlearnjax.core import check

SPECIAL = ("<pad>", "<bos>", "<eos>")
WORDS_FILE = "words.json"
_PIECES = re.compile(r" ?\w+| ?[^\w\s]|\s")


@dataclasses.dataclass(frozen=True)
class WordTokenizer:
  """Whole words where they are known and bytes where not: every text comes back as it was.

  Ids are `<pad>` 0, `<bos>` 1, `<eos>` 2, the 256 bytes, then `words`. A word is a run of letters and digits, or one
  other sign, with the space before it.

  Args:
    words: the known ones; `train_words` finds them. Without any this is a tokenizer of bytes.

  Example:
    >>> tokenizer = WordTokenizer(("The", " cat"))
    >>> tokenizer.encode("The cat!", eos=True)
    [259, 260, 36, 2]
    >>> tokenizer.decode([259, 260, 36, 2])
    'The cat!'
  """

  words: tuple[str, ...] = ()

  pad_id = 0
  bos_id = 1
  eos_id = 2

  def __post_init__(self):
    object.__setattr__(self, "_ids", {word: 259 + i for i, word in enumerate(self.words)})

  @property
  def vocab_size(self) -> int:
    return 259 + len(self.words)

  def encode(self, text: str, *, bos: bool = False, eos: bool = False) -> list[int]:
    ids = [self.bos_id] if bos else []
    for piece in _PIECES.findall(text):
      known = self._ids.get(piece)
      ids += [3 + b for b in piece.encode()] if known is None else [known]
    return ids + ([self.eos_id] if eos else [])

  def decode(self, ids: Iterable[int]) -> str:
    """The text; special tokens are left out, bytes that are no text become a replacement sign."""
    ids = [int(i) for i in ids]
    parts = [self.words[i - 259].encode() if i >= 259 else bytes([i - 3]) for i in ids if i >= 3]
    return b"".join(parts).decode(errors="replace")

  def save(self, directory: str | pathlib.Path) -> None:
    path = pathlib.Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    (path / WORDS_FILE).write_text(json.dumps({"words": self.words}, ensure_ascii=False))


def train_words(texts: Iterable[str], vocab_size: int) -> WordTokenizer:
  """A `WordTokenizer` of the most frequent words; ties go by the alphabet.

  Args:
    texts: to count in.
    vocab_size: at most so many tokens in all, at least the 259 of bytes and special tokens.

  Example:
    >>> train_words(["a cat and a dog", "a dog"], 261).words
    (' dog', ' a')
  """
  if vocab_size < 259:
    raise ValueError(f"vocab_size must be at least 259 (special tokens and bytes), got {vocab_size}")
  counts = collections.Counter(piece for text in texts for piece in _PIECES.findall(text))
  useful = (piece for piece in counts if len(piece.encode()) > 1)
  return WordTokenizer(tuple(sorted(useful, key=lambda piece: (-counts[piece], piece))[: vocab_size - 259]))


def ByteTokenizer() -> WordTokenizer:
  """Bytes and three special tokens: `vocab_size` 259.

  Example:
    >>> ByteTokenizer().encode("hi", bos=True)
    [1, 107, 108]
  """
  return WordTokenizer()


@dataclasses.dataclass(frozen=True)
class HFTokenizer:
  """A tokenizer of the `tokenizers` package; see `load_tokenizer` and `train_bpe`.

  Attributes:
    inner: the `tokenizers.Tokenizer`.
    pad_id, bos_id, eos_id: special tokens, None where there is none.
  """

  inner: Any
  pad_id: int | None = None
  bos_id: int | None = None
  eos_id: int | None = None

  @property
  def vocab_size(self) -> int:
    """One more than the largest id."""
    return max(self.inner.get_vocab(with_added_tokens=True).values()) + 1

  def encode(self, text: str, *, bos: bool = False, eos: bool = False) -> list[int]:
    for name, wanted, found in (("bos", bos, self.bos_id), ("eos", eos, self.eos_id)):
      if wanted and found is None:
        raise ValueError(f"{name}=True, but the tokenizer has no {name} token")
    ids = self.inner.encode(text, add_special_tokens=False).ids
    return [self.bos_id] * bos + ids + [self.eos_id] * eos

  def decode(self, ids: Iterable[int]) -> str:
    """The text, without special tokens."""
    return self.inner.decode([int(i) for i in ids], skip_special_tokens=True)

  def save(self, directory: str | pathlib.Path) -> None:
    """`tokenizer.json`, and `tokenizer_config.json` with the special tokens."""
    path = pathlib.Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    self.inner.save(str(path / "tokenizer.json"))
    named = {name: getattr(self, f"{name}_id") for name in ("pad", "bos", "eos")}
    special = {f"{name}_token": self.inner.id_to_token(i) for name, i in named.items() if i is not None}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **special}
    (path / "tokenizer_config.json").write_text(json.dumps(config, indent=2))


def load_tokenizer(directory: str | pathlib.Path) -> HFTokenizer | WordTokenizer:
  """The tokenizer of a directory: `tokenizer.json`, or what `WordTokenizer.save` wrote.

  Raises:
    FileNotFoundError: neither is there.
    ValueError: ids that the model of the same directory (`config.json`) has no embedding for, or a damaged file.
    ImportError: `tokenizers` is not installed.
  """
  path = pathlib.Path(directory)
  if (path / WORDS_FILE).is_file():
    found = WordTokenizer(tuple(json.loads((path / WORDS_FILE).read_text())["words"]))
  elif (path / "tokenizer.json").is_file():
    package = _tokenizers()
    try:
      inner = package.Tokenizer.from_file(str(path / "tokenizer.json"))
    except Exception as error:  # the package has no narrower class
      raise ValueError(f"{path / 'tokenizer.json'} is damaged: {error}") from None
    found = HFTokenizer(inner, **{f"{n}_id": _special(path, inner, n) for n in ("pad", "bos", "eos")})
  else:
    raise FileNotFoundError(f"directory must hold a tokenizer, but {path} has no tokenizer.json and no {WORDS_FILE}")
  config = _json(path / "config.json")
  if "vocab_size" in config:
    check_vocabulary(found, config["vocab_size"])
  return found


def train_bpe(texts: Iterable[str], vocab_size: int) -> HFTokenizer:
  """Byte-level BPE trained on `texts`, with `<pad>`, `<bos>` and `<eos>`. Sennrich et al., arXiv:1508.07909.

  Args:
    texts: to train on.
    vocab_size: tokens in all, at least 259; fewer where the texts hold no more pairs.

  Raises:
    ImportError: `tokenizers` is not installed.
  """
  if vocab_size < 259:
    raise ValueError(f"vocab_size must be at least 259 (special tokens and bytes), got {vocab_size}")
  tk = _tokenizers()
  inner = tk.Tokenizer(tk.models.BPE())
  inner.pre_tokenizer = tk.pre_tokenizers.ByteLevel(add_prefix_space=False)
  inner.decoder = tk.decoders.ByteLevel()
  alphabet = tk.pre_tokenizers.ByteLevel.alphabet()
  trainer = tk.trainers.BpeTrainer(
    vocab_size=vocab_size, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
  )
  inner.train_from_iterator(texts, trainer)
  return HFTokenizer(inner, *(inner.token_to_id(token) for token in SPECIAL))


def check_vocabulary(tokenizer: Any, vocab_size: int) -> None:
  """Raises a ValueError where the tokenizer has ids that a model with `vocab_size` embeddings does not know.

  Models often have a few embeddings more than tokens, for round sizes.
  """
  if tokenizer.vocab_size > vocab_size:
    raise ValueError(
      f"the tokenizer has {tokenizer.vocab_size} tokens, the model's vocab_size is {vocab_size}: they do not belong "
      "together"
    )


def pad_tokens(
  sequences: Sequence[Sequence[int]], *, length: int | None = None, side: str = "right", pad_id: int = 0
) -> dict[str, np.ndarray]:
  """Sequences of different lengths as one batch of model inputs.

  Args:
    sequences: token ids, none of them empty.
    length: T; that of the longest by default. Longer sequences are an error.
    side: where the padding goes: "right", or "left" for generation.
    pad_id: the token that fills up; no other token sees it.

  Returns:
    {"tokens": int32[B, T], "segment_ids": int32[B, T]}, with segment 1 for tokens and 0 for padding.

  Example:
    >>> pad_tokens([[5, 6, 7], [8]], side="left")["tokens"].tolist()
    [[5, 6, 7], [0, 0, 8]]
  """
  check.one_of("side", side, ("left", "right"))
  longest = max(map(len, sequences), default=0)
  length = longest if length is None else length
  if longest > length:
    raise ValueError(f"length must be at least that of the longest sequence, {longest}, got {length}")
  tokens = np.full((len(sequences), length), pad_id, np.int32)
  segments = np.zeros_like(tokens)
  for row, ids in enumerate(sequences):
    where = slice(length - len(ids), length) if side == "left" else slice(0, len(ids))
    tokens[row, where], segments[row, where] = ids, 1
  return {"tokens": tokens, "segment_ids": segments}


def _special(path: pathlib.Path, inner: Any, name: str) -> int | None:
  """The id of a special token: by its text in `tokenizer_config.json`, else by its number in `config.json`."""
  text = _json(path / "tokenizer_config.json").get(f"{name}_token")
  text = text.get("content") if isinstance(text, dict) else text
  if text is not None:
    return inner.token_to_id(text)
  number = _json(path / "config.json").get(f"{name}_token_id")
  return number[0] if isinstance(number, list) else number


def _json(path: pathlib.Path) -> dict[str, Any]:
  return json.loads(path.read_text()) if path.is_file() else {}


def _tokenizers():
  try:
    import tokenizers
    import tokenizers.decoders
    import tokenizers.models
    import tokenizers.pre_tokenizers
    import tokenizers.trainers
  except ImportError as e:
    raise ImportError("this tokenizer needs the package tokenizers: pip install 'unlearnjax[lm]'") from e
  return tokenizers
