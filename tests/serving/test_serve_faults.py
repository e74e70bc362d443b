"""Whatever happens in the middle, every accepted request is answered once, and the state is the same.

The process that is killed is this file, run as a script.
"""

from __future__ import annotations

import errno
import os
import pathlib
import random
import signal
import subprocess
import sys

import pytest

if __name__ == "__main__":
  sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[n]) for n in (1, 2)]

from serving.counting import EXPECTED, KEY, STREAM, answers, service

from unlearnjax import checkpoint, ledger
from unlearnjax.ledger import LedgerError, read
from unlearnjax.serving import Forget, faults, verify_directory

HERE = pathlib.Path(__file__).resolve()
SHORT = (STREAM[0], Forget([3, 4]), Forget([4, 999]), Forget([4]), Forget(where=lambda known: known.ids > 17))
TOTAL = sum(range(1, 21)) - 4 - 5 - 19 - 20


class Crash(BaseException):
  """What no code catches by mistake."""


@pytest.fixture
def bomb(monkeypatch):
  """Sets the fault hook: a crash at the n-th point that is reached; -1 only counts."""

  def arm(n):
    seen = []

    def hook(point):
      seen.append(point)
      if len(seen) - 1 == n:
        raise Crash(point)

    monkeypatch.setattr(faults, "hook", hook)
    return seen

  return arm


def check(out, receipts, total, expected, stream):
  """The receipts are those of an undisturbed run, in the ledger and as they were handed out."""
  assert total == expected
  report = verify_directory(out)
  assert not report.problems and report.entries == len(stream)
  receipts.sort(key=lambda r: r.seq)  # what a crash left over is answered before the stream comes to it
  assert [r.request for r in receipts] == [f"#{i}" for i in range(len(stream))]
  assert [r.seq for r in receipts] == list(range(len(stream)))
  assert sorted(p.name for p in (out / "checkpoints" / "serve").iterdir()) == ["state"]


def survives(n, out, whole, batch, bomb):
  """Crashes at the n-th point, starts again, and compares with the run that was not disturbed."""
  bomb(n)
  with pytest.raises(Crash):
    answers(out, SHORT, batch=batch)
  accepted = [e["request"] for e in read(out / "intents.jsonl")[1:]]
  assert accepted == [f"#{i}" for i in range(len(accepted))]
  bomb(-1)
  receipts, total, _ = answers(out, SHORT, batch=batch)
  check(out, receipts, total, TOTAL, SHORT)
  assert [r.state_after for r in receipts] == [r.state_after for r in whole]


def test_a_crash_at_each_kind_of_point(tmp_path, bomb):
  seen = bomb(-1)
  whole, _, _ = answers(tmp_path / "whole", SHORT)
  assert set(seen) == set(faults.POINTS)
  for point in faults.POINTS:  # of the second request, the first to forget
    survives([i for i, p in enumerate(seen) if p == point][1], tmp_path / point, whole, 1, bomb)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 3])
def test_a_crash_at_every_point(batch, tmp_path, bomb):
  seen = bomb(-1)
  whole, _, _ = answers(tmp_path / "whole", SHORT, batch=batch)
  for n in range(0, len(seen), batch):
    survives(n, tmp_path / str(n), whole, batch, bomb)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_crashes_one_after_another(seed, tmp_path, bomb):
  rng, crashes = random.Random(seed), 0
  for _ in range(200):
    bomb(rng.randrange(12))
    try:
      receipts, total, _ = answers(tmp_path, batch=1 + seed % 3)
      break
    except Crash:
      crashes += 1
  else:
    pytest.fail("it never ended")
  check(tmp_path, receipts, total, EXPECTED, STREAM)
  assert crashes > 0


def test_accepted_requests_are_done_although_the_stream_does_not_bring_them_again(tmp_path, bomb):
  seen = bomb(-1)
  answers(tmp_path / "count", SHORT)
  bomb([i for i, p in enumerate(seen) if p == "accepted"][1])
  with pytest.raises(Crash):
    answers(tmp_path / "a", SHORT)
  bomb(-1)
  receipts, total, _ = answers(tmp_path / "a", SHORT[:1])
  assert [r.request for r in receipts] == ["#0", "#1"] and total == sum(range(1, 21)) - 9  # of which #0 was done


@pytest.mark.parametrize("which", ["intents.jsonl", "ledger.jsonl"])
def test_a_line_that_is_torn_by_a_crash(which, tmp_path, monkeypatch, caplog):
  real = os.write

  def torn(file, data):
    if os.path.basename(os.readlink(f"/proc/self/fd/{file}")) == which and b'"#2"' in data:
      real(file, data[: len(data) // 2])
      raise Crash
    return real(file, data)

  monkeypatch.setattr(ledger.os, "write", torn)
  with pytest.raises(Crash):
    answers(tmp_path, SHORT)
  monkeypatch.undo()
  receipts, total, _ = answers(tmp_path, SHORT)
  assert "dropping an unfinished last line" in caplog.text
  check(tmp_path, receipts, total, TOTAL, SHORT)


@pytest.mark.parametrize("where", ["intents.jsonl", "state", "ledger.jsonl"])
def test_a_full_disk(where, tmp_path, monkeypatch):
  real_write, real_save, full = os.write, checkpoint.Store.save, True

  def write(file, data):
    if full and os.path.basename(os.readlink(f"/proc/self/fd/{file}")) == where and b'"#2"' in data:
      raise OSError(errno.ENOSPC, "No space left on device")
    return real_write(file, data)

  def save(self, step, state, meta):
    if full and where == "state" and step == 2:
      raise ValueError("RESOURCE_EXHAUSTED: No space left on device")  # in the words of tensorstore
    return real_save(self, step, state, meta)

  monkeypatch.setattr(ledger.os, "write", write)
  monkeypatch.setattr(checkpoint.Store, "save", save)
  running = service(tmp_path, SHORT[:2] + (Forget([4, 7]),))
  before = [next(running), next(running)]
  total = float(running.model.params["sum"])
  with pytest.raises(OSError, match="the disk is full") as raised:
    next(running)
  assert raised.value.errno == errno.ENOSPC and "Traceback" not in str(raised.value)
  assert float(running.model.params["sum"]) == total and len(read(tmp_path / "ledger.jsonl")) == 2
  full = False
  receipts, total, _ = answers(tmp_path, SHORT[:2] + (Forget([4, 7]),))
  assert sorted(receipts)[:2] == before and total == sum(range(1, 21)) - 4 - 5 - 8
  assert not verify_directory(tmp_path).problems


def test_receipts_that_were_cut_off_are_missed_by_the_state(tmp_path):
  answers(tmp_path, SHORT)
  path = tmp_path / "ledger.jsonl"
  lines = path.read_text().splitlines(keepends=True)
  path.write_text("".join(lines[:2]))
  with pytest.raises(LedgerError, match="the ledger ends after 2 of at least 4 receipts"):
    service(tmp_path, SHORT)
  path.write_text("".join([*lines[:2], lines[2].replace('"affected":0', '"affected":9'), *lines[3:]]))
  with pytest.raises(LedgerError, match="line 3 .'#2'. was changed"):
    service(tmp_path, SHORT)


def test_a_state_that_was_lost_is_missed_by_the_ledger(tmp_path):
  import shutil

  answers(tmp_path, SHORT)
  shutil.rmtree(tmp_path / "checkpoints")
  with pytest.raises(LedgerError, match="no readable state goes with them"):
    service(tmp_path, SHORT)


def test_a_state_that_is_older_than_the_ledger(tmp_path):
  import shutil

  answers(tmp_path, SHORT[:2])
  shutil.copytree(tmp_path / "checkpoints", tmp_path / "copy")
  answers(tmp_path, SHORT)
  shutil.rmtree(tmp_path / "checkpoints")
  shutil.move(tmp_path / "copy", tmp_path / "checkpoints")
  with pytest.raises(LedgerError, match="the state is that of receipt 1, but the ledger has done more up to receipt 4"):
    service(tmp_path, SHORT)


@pytest.mark.slow
def test_a_process_that_is_killed_again_and_again(tmp_path):
  rng, kills = random.Random(0), 0
  for _ in range(60):
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    child = subprocess.run([sys.executable, str(HERE), str(tmp_path), str(rng.randrange(3, 30))], env=env, timeout=120)
    if child.returncode == 0:
      break
    assert child.returncode == -signal.SIGKILL
    kills += 1
  receipts, total, _ = answers(tmp_path)
  check(tmp_path, receipts, total, EXPECTED, STREAM)
  assert 2 <= kills < 60 and KEY is not None


def main(out: str, at: str) -> None:
  left = int(at)

  def hook(point):
    nonlocal left
    left -= 1
    if left < 0:
      os.kill(os.getpid(), signal.SIGKILL)

  faults.hook = hook
  answers(pathlib.Path(out))


if __name__ == "__main__":
  main(*sys.argv[1:])
