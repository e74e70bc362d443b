"""Spoken digits and sentences as features: of fixed width, from the training part alone."""

from __future__ import annotations

import gzip
import json

import jax
import numpy as np
import optax
import pytest
from common_paths import data_dir

import unlearnjax as uj
from unlearnjax import data
from unlearnjax.core.chunk import run_chunk
from unlearnjax.data import features


def test_a_tone_lies_in_its_band_wherever_it_is_loud():
  t = np.arange(6000) / 8000
  tone = np.sin(2 * np.pi * 1000 * t)
  filters = features.mel_filters(8000, 256, 32)
  centre = np.argmax(filters[np.argmin(np.abs(np.fft.rfftfreq(256, 1 / 8000) - 1000))])
  found = features.log_mel(tone)
  assert found.shape == (32, 32) and (found.argmax(1) == centre).all()
  np.testing.assert_allclose(found, features.log_mel(tone[:3000]), atol=1.5)  # half as long, the same word
  np.testing.assert_allclose(features.log_mel((tone * 20000).astype(np.int16))[:, centre], (
    features.log_mel(tone * 20000 / 32768)[:, centre]), atol=1e-2)  # fmt: skip
  # loud for its second half only
  half = features.log_mel(np.where(t > t[-1] / 2, tone, 0.0))
  assert half[:14, centre].max() < half[18:, centre].min() - 5
  assert features.log_mel(np.zeros(5)).max() == pytest.approx(np.log(1e-6))
  np.testing.assert_allclose(filters.max(0), 1, atol=0.35)


def test_words_count_once_each_and_their_order_counts_in_pairs():
  a, b = features.hashed_counts(["my card is lost", "is my card lost"], 4096)
  assert np.abs(a).sum() == 7 and np.abs(a - b).sum() == 4  # they share the words and one pair of three
  again = features.hashed_counts(["my card is lost"], 4096)[0]
  np.testing.assert_array_equal(a, again)
  assert features.hashed_counts([""], 8).tolist() == [[0.0] * 8]


def test_rarity_is_that_of_the_training_rows():
  train = np.array([[1.0, 0, 1], [1, 0, 0], [1, 1, 0]])
  first, test = features.tf_idf(train, np.array([[1.0, 1, 1], [0, 0, 0]]))
  np.testing.assert_allclose(np.linalg.norm(first, axis=1), np.sqrt(3), rtol=1e-6)
  assert test[0, 1] == test[0, 2] > test[0, 0] and not test[1].any()
  np.testing.assert_array_equal(features.tf_idf(train)[0], first)  # other rows change nothing


def test_published_layouts_are_read(files, tmp_path):
  spoken = data.load("fsdd", data_dir=files)
  assert spoken.input_shape == (32, 32, 1) and spoken.coarse_classes == ("ann", "bob") and spoken.value_range is None
  assert len(spoken.train) == 20 and len(spoken.test) == 20
  x = spoken.train.column("x")
  assert abs(x.mean()) < 1e-5 and x.std() == pytest.approx(1, abs=1e-4) and abs(spoken.test.column("x").mean()) > 1e-6
  stream = data.grouped(spoken)
  assert [(t.name, t.classes) for t in stream] == [("0_ann", (0, 1)), ("1_bob", (0, 1))]
  clinc = data.load("clinc150", data_dir=files, train_size=12)
  assert clinc.classes == ("book", "pack", "pay", "save") and clinc.input_shape == (1024,)
  assert clinc.task == "classification"
  np.testing.assert_array_equal(clinc.train.column("coarse"), clinc.train.column("y") // 2)
  assert np.bincount(clinc.train.column("y")).tolist() == [3] * 4
  assert [t.classes for t in data.grouped(clinc)] == [(0, 1), (2, 3)]
  banking = data.load("banking77", data_dir=files)
  assert banking.classes == ("book", "pack", "pay", "save") and "coarse" not in banking.train.columns
  (files_less := files / "nowhere").mkdir(exist_ok=True)
  with pytest.raises(
    FileNotFoundError, match=r"clinc150/train.jsonl.gz.*lines of JSON with text and label.*UNLEARNJAX"
  ):
    data.load("clinc150", data_dir=files_less)


def test_strange_lines_are_refused(tmp_path):
  (tmp_path / "banking77").mkdir()
  write = lambda part, rows: gzip.open(tmp_path / "banking77" / f"{part}.jsonl.gz", "wt").write(rows)
  write("train", json.dumps({"text": "a", "label": "x"}))
  write("test", json.dumps({"text": "a", "label": "y"}))
  with pytest.raises(ValueError, match="labels that are not among its 1 classes: y"):
    data.load("banking77", data_dir=tmp_path)
  write("train", json.dumps({"text": "a"}))
  with pytest.raises(ValueError, match="must hold lines of JSON with the keys text and label"):
    data.load("banking77", data_dir=tmp_path)


@pytest.mark.parametrize("name, size, rows", [("clinc150", 150, (15000, 4500)), ("banking77", 77, (10003, 3080))])
def test_intents_as_they_were_published(name, size, rows):
  found = data.load(name, data_dir=data_dir(name).parent)
  assert found.num_classes == size and (len(found.train), len(found.test)) == rows
  x = found.train.columns["x"]
  assert x.dtype == np.float32 and float((x[:500] ** 2).mean()) == pytest.approx(1, abs=0.01)
  if name == "clinc150":
    stream = data.grouped(found)
    assert [len(t.classes) for t in stream] == [15] * 10 and stream.num_outputs == 150


@pytest.mark.slow
def test_a_stream_of_77_intents_compiles_once():
  found = data.load("banking77", data_dir=data_dir("banking77").parent, train_size=1540, test_size=770)
  stream = data.class_incremental(found, tasks=7)
  fn = uj.models.make("mlp", input_shape=found.input_shape, num_outputs=77, widths=(64,))
  method, before = uj.methods.er(capacity=154, tx=optax.sgd(0.03), epochs=2), run_chunk._cache_size()
  *_, last = uj.learn(method, fn.init(jax.random.key(0)), stream, key=jax.random.key(1))
  assert run_chunk._cache_size() - before == 1
  assert uj.metrics.accuracy_matrix([last], stream)[0].mean() > 0.1  # chance is 0.013


@pytest.mark.slow
def test_spoken_digits_as_they_were_published_and_one_program_for_all_speakers():
  spoken = data.load("fsdd", data_dir=data_dir("fsdd").parent)
  assert len(spoken.test) == 300 and np.bincount(spoken.test.column("y")).tolist() == [30] * 10
  stream = data.grouped(spoken)
  assert [len(t.train) for t in stream] == [450] * 6
  fn = uj.models.make("mlp", input_shape=spoken.input_shape, num_outputs=10, widths=(64,))
  method, before = uj.methods.sequential(tx=optax.sgd(0.03), epochs=3), run_chunk._cache_size()
  found = list(uj.learn(method, fn.init(jax.random.key(0)), stream, key=jax.random.key(1)))
  assert run_chunk._cache_size() - before == 1
  matrix = uj.metrics.accuracy_matrix(found, stream)
  assert np.diag(matrix).mean() > 0.9 and matrix[-1, :-1].mean() < np.diag(matrix)[:-1].mean() - 0.1
