"""Tokenizers come back to the text, save and load, and refuse a model they do not belong to."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearnjax.models import ByteTokenizer, load_tokenizer, pad_tokens, train_bpe, train_words

TEXTS = ["The cat sat on the mat.", "The dog, too: à côté!\n", "cat and dog and cat"]


@pytest.fixture(scope="module")
def words():
  return train_words(TEXTS, 264)


@settings(max_examples=20, deadline=None)
@given(st.text())
def test_every_text_comes_back(text):
  for tokenizer in (ByteTokenizer(), train_words(TEXTS, 270)):
    ids = tokenizer.encode(text, bos=True, eos=True)
    assert ids[0] == tokenizer.bos_id and ids[-1] == tokenizer.eos_id and max(ids) < tokenizer.vocab_size
    assert tokenizer.decode(ids) == text


def test_frequent_words_are_one_token(words):
  assert words.vocab_size == 264 and len(words.encode(" cat and dog")) == 3
  assert len(words.encode(" zebra")) == 6


def test_bpe_comes_back_and_is_saved(tmp_path):
  pytest.importorskip("tokenizers", reason="BPE needs the extra 'lm'")
  tokenizer = train_bpe(TEXTS, 280)
  text = "The cat, à la dog!"
  ids = tokenizer.encode(text, bos=True, eos=True)
  assert tokenizer.decode(ids) == text and tokenizer.vocab_size == 280 and len(ids) < len(text.encode())
  assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2) == (0, ids[0], ids[-1])
  tokenizer.save(tmp_path)
  again = load_tokenizer(tmp_path)
  assert again.encode(text, bos=True, eos=True) == ids and again.pad_id == 0


def test_bpe_is_read_by_transformers(tmp_path):
  pytest.importorskip("tokenizers", reason="BPE needs the extra 'lm'")
  hf = pytest.importorskip("transformers", reason="needs the extra 'parity'")
  tokenizer = train_bpe(TEXTS, 270)
  tokenizer.save(tmp_path)
  theirs = hf.PreTrainedTokenizerFast.from_pretrained(tmp_path)
  assert theirs.encode(TEXTS[1], add_special_tokens=False) == tokenizer.encode(TEXTS[1])
  assert theirs.eos_token_id == tokenizer.eos_id


def test_words_are_saved_and_loaded(words, tmp_path):
  words.save(tmp_path)
  assert load_tokenizer(tmp_path) == words


def test_special_tokens_by_number(tmp_path):
  pytest.importorskip("tokenizers", reason="BPE needs the extra 'lm'")
  train_bpe(TEXTS, 259).save(tmp_path)
  (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": {"content": "<bos>"}}))
  (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 300, "eos_token_id": [2, 5]}))
  found = load_tokenizer(tmp_path)
  assert (found.pad_id, found.bos_id, found.eos_id) == (None, 1, 2)


def test_a_tokenizer_of_another_model_is_refused(words, tmp_path):
  words.save(tmp_path)
  (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 100}))
  with pytest.raises(ValueError, match="the tokenizer has 264 tokens, the model's vocab_size is 100"):
    load_tokenizer(tmp_path)


def test_padding_on_both_sides():
  left = pad_tokens([[5, 6], [7]], side="left", length=3, pad_id=9)
  np.testing.assert_array_equal(left["tokens"], [[9, 5, 6], [9, 9, 7]])
  np.testing.assert_array_equal(left["segment_ids"], [[0, 1, 1], [0, 0, 1]])
  np.testing.assert_array_equal(pad_tokens([[5, 6], [7]])["tokens"], [[5, 6], [7, 0]])


def test_errors(tmp_path):
  with pytest.raises(FileNotFoundError, match="directory must hold a tokenizer"):
    load_tokenizer(tmp_path)
  with pytest.raises(ValueError, match="vocab_size must be at least 259"):
    train_words(TEXTS, 10)
  with pytest.raises(ValueError, match="vocab_size must be at least 259"):
    train_bpe(TEXTS, 10)
  with pytest.raises(ValueError, match="length must be at least that of the longest sequence, 3, got 2"):
    pad_tokens([[1, 2, 3]], length=2)
  with pytest.raises(ValueError, match="side must be one of left, right; got 'top'"):
    pad_tokens([[1]], side="top")
