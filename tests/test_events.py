"""Files for TensorBoard: every fit in a directory of its own, resumed fits without doubled points."""

from __future__ import annotations

import struct
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from unlearnjax.core import Examples, Run, UnlearnState, descend, fit, zip_roles
from unlearnjax.report import tensorboard


def events(directory):
  """Every event of the newest file, in order."""
  from tensorboardX.proto.event_pb2 import Event

  newest = max(directory.glob("events.*"), key=lambda path: (path.stat().st_mtime_ns, path.name))
  data, found = newest.read_bytes(), []
  while data:  # TFRecord: length, its checksum, the record, its checksum
    (length,) = struct.unpack("<Q", data[:8])
    found.append(Event.FromString(data[12 : 12 + length]))
    data = data[16 + length :]
  return found


def scalars(directory):
  return [(e.step, v.tag, v.simple_value) for e in events(directory) for v in e.summary.value]


def test_a_fit_writes_what_its_last_steps_logged(tmp_path):
  pytest.importorskip("tensorboardX")
  plan = zip_roles(forget=Examples({"x": np.ones((8, 2))}), anchor="forget", batch_size=4, epochs=12)
  step = descend({"forget": lambda params, batch, view: (jnp.sum(params["w"] ** 2), {})}, optax.sgd(0.1))
  state = step.init(UnlearnState.create({"w": jnp.ones(2)}, rng=jax.random.key(0)))
  run = Run(writer=tensorboard(tmp_path)).scope("salun")
  _, history = fit(step, state, plan, run=run, name="steps")
  written = [(at, value) for at, tag, value in scalars(tmp_path / "salun" / "steps") if tag == "forget/loss"]
  assert len(written) >= 2 and written[-1][0] == plan.steps
  assert [value for _, value in written] == pytest.approx([float(history["forget/loss"][at - 1]) for at, _ in written])


def test_a_resumed_fit_takes_later_points_back_and_nothing_non_finite_is_written(tmp_path):
  pytest.importorskip("tensorboardX")
  first = tensorboard(tmp_path)
  for step in (10, 20, 30):
    first("a/fit", step, {"loss": 1.0 / step, "resting": float("nan")})
  first("b/fit", 5, {"loss": 2.0})
  assert [(at, tag) for at, tag, _ in scalars(tmp_path / "a" / "fit")] == [(10, "loss"), (20, "loss"), (30, "loss")]
  assert [at for at, _, _ in scalars(tmp_path / "b" / "fit")] == [5]
  tensorboard(tmp_path)("a/fit", 20, {"loss": 0.5})
  from tensorboardX.proto.event_pb2 import SessionLog

  resumed = events(tmp_path / "a" / "fit")
  assert [e.step for e in resumed if e.session_log.status == SessionLog.START] == [20]


def test_without_tensorboardx_the_error_says_what_to_install(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
  with pytest.raises(ValueError, match=r"pip install 'unlearnjax\[tensorboard\]'"):
    tensorboard(tmp_path / "new")
  assert not (tmp_path / "new").exists()
