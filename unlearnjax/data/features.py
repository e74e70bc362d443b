"""Features of fixed width of things that have none: spoken words and sentences."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np

from unlearnjax.core import check


def log_mel(
  audio: np.ndarray, *, rate: int = 8000, frames: int = 32, bands: int = 32, window: int = 256, hop: int = 80
) -> np.ndarray:
  """The logarithm of the energy in mel bands, of a recording of any length, on a fixed grid.

  Hann windows, power spectra, triangular filters equally wide on the mel scale (2595 log10(1 + f / 700)) from 0 to half
  the rate. The frames are then interpolated to a fixed number of them, so that short and long recordings are aligned.

  Args:
    audio: f[samples] or int16[samples]; int16 is divided by 32768.
    rate: samples a second.
    frames: rows of the result.
    bands: columns of the result.
    window: samples of a frame; shorter recordings are filled up with zeros.
    hop: samples between frames.

  Returns:
    f32[frames, bands], natural logarithm; silence is log 1e-6.

  Example:
    >>> t = np.arange(4000) / 8000
    >>> low, high = (log_mel(np.sin(2 * np.pi * f * t)).mean(0).argmax() for f in (300, 3000))
    >>> bool(low < high), log_mel(np.zeros(100)).shape
    (True, (32, 32))
  """
  for name, value in (("rate", rate), ("frames", frames), ("bands", bands), ("window", window), ("hop", hop)):
    check.positive(name, value)
  audio = np.asarray(audio)
  x = audio.astype(np.float64) / (32768 if audio.dtype == np.int16 else 1)
  x = np.pad(x, (0, max(0, window - len(x))))
  parts = np.lib.stride_tricks.sliding_window_view(x, window)[::hop] * np.hanning(window + 1)[:-1]
  energy = np.abs(np.fft.rfft(parts)) ** 2 @ mel_filters(rate, window, bands)
  logs = np.log(energy + 1e-6)
  at = np.linspace(0, len(logs) - 1, frames)
  below = np.minimum(at.astype(int), len(logs) - 1)
  above, share = np.minimum(below + 1, len(logs) - 1), (at - below)[:, None]
  return ((1 - share) * logs[below] + share * logs[above]).astype(np.float32)


def mel_filters(rate: int, window: int, bands: int) -> np.ndarray:
  """Triangles over the frequencies of a real FFT, f64[window // 2 + 1, bands]; each peaks at 1.

  Example:
    >>> mel_filters(8000, 256, 4).shape
    (129, 4)
  """
  top = 2595 * np.log10(1 + rate / 2 / 700)
  edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
  f = np.fft.rfftfreq(window, 1 / rate)[:, None]
  left, middle, right = edges[:-2], edges[1:-1], edges[2:]
  return np.maximum(0, np.minimum((f - left) / (middle - left), (right - f) / (right - middle)))


def words_of(text: str) -> list[str]:
  """Lower-case words and pairs of neighbours.

  Example:
    >>> words_of("What's my BALANCE?")
    ["what's", 'my', 'balance', "what's my", 'my balance']
  """
  words = re.findall(r"[a-z0-9']+", text.lower())
  return [*words, *map(" ".join, zip(words, words[1:]))]


def hashed_counts(texts: Sequence[str], width: int = 1024) -> np.ndarray:
  """How often words and pairs of words occur, f32[n, width]: the place of each and its sign come from its checksum.

  No vocabulary is kept, so that a text of tomorrow needs no other width.

  Args:
    texts: n of them.
    width: columns, >= 1; words that share one add up, half of them with the other sign.

  Example:
    >>> a, b, c = hashed_counts(["one card", "one card", "two cards"], 64)
    >>> bool((a == b).all()), bool((a == c).all()), float(np.abs(a).sum())
    (True, False, 3.0)
  """
  check.positive("width", width)
  found = np.zeros((len(texts), width), np.float32)
  for row, text in enumerate(texts):
    for word in words_of(text):
      code = zlib.crc32(word.encode())
      found[row, (code >> 1) % width] += 1 - 2 * (code & 1)
  return found


def tf_idf(train: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
  """Counts weighed by how rare a column is among the training rows, as rows of one length, sqrt(width).

  x_w (1 + log((1 + n) / (1 + n_w))), n_w of n training rows with a count in column w; rows of zeros stay. The other
  tables are weighed by the training rows too. With that length the mean square of a feature is 1.

  Args:
    train: f[n, width] counts.
    others: f[m, width], each.

  Returns:
    f32 tables in the order they were given.

  Example:
    >>> train, test = tf_idf(np.array([[2.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 3.0]]))
    >>> train[0].astype(float).round(3).tolist(), test.astype(float).round(3).tolist(), bool(train[1, 1] > train[1, 0])
    ([1.414, 0.0], [[0.0, 1.414]], True)
  """
  train = np.asarray(train, np.float64)
  weight = 1 + np.log((1 + len(train)) / (1 + (train != 0).sum(0)))
  found = []
  for table in (train, *others):
    x = table * weight
    length = np.linalg.norm(x, axis=1, keepdims=True)
    found.append((np.sqrt(x.shape[1]) * x / np.where(length > 0, length, 1)).astype(np.float32))
  return found
