"""The ledger: durable lines, a chain that shows every change, one writer."""

from __future__ import annotations

import errno
import json
import os

import pytest

from unlearnjax import ledger
from unlearnjax.__main__ import main
from unlearnjax.ledger import GENESIS, LedgerError, Log, read, verify
from unlearnjax.lock import Busy, Lock


@pytest.fixture
def path(tmp_path):
  with Log(tmp_path / "ledger.jsonl") as log:
    for i in range(4):
      log.append({"request": f"r{i}", "finished": float(i), "affected": i})
  return tmp_path / "ledger.jsonl"


def test_lines_are_numbered_and_chained(path):
  entries = read(path)
  assert [e["seq"] for e in entries] == [0, 1, 2, 3]
  assert [e["previous"] for e in entries] == [GENESIS, *(e["hash"] for e in entries[:-1])]
  report = verify(path)
  assert (report.entries, report.head, report.problems, report.notes) == (4, entries[-1]["hash"], (), ())
  with Log(path) as log:
    assert log.append({"request": "r4"})["seq"] == 4
  assert verify(path, head=entries[-1]["hash"]).problems == ()


@pytest.mark.parametrize(
  "change, message",
  [
    (
      lambda lines: [lines[0], lines[1].replace('"affected":1', '"affected":0'), *lines[2:]],
      r"line 2 \('r1'\) was changed",
    ),
    (lambda lines: [lines[0], *lines[2:]], r"line 2 \('r2'\) does not follow line 1"),
    (lambda lines: [lines[1], lines[0], *lines[2:]], "line 1 .* does not follow line 0"),
    (lambda lines: [*lines[:3], "nonsense", lines[3]], "line 4 is not an entry"),
    (lambda lines: lines[1:], "line 1 .* does not follow line 0"),
  ],
)
def test_every_change_is_found_and_named(path, change, message):
  path.write_text("".join(line + "\n" for line in change(path.read_text().splitlines())))
  before = path.read_bytes()
  with pytest.raises(AssertionError, match=message):
    assert not verify(path).problems, verify(path).problems[0]
  with pytest.raises(LedgerError, match=message):
    Log(path)
  assert path.read_bytes() == before


def test_lines_cut_off_the_end_are_found_by_a_published_head(path):
  head = verify(path).head
  path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[:2]))
  assert verify(path).problems == ()
  assert "lines were removed from the end" in verify(path, head=head).problems[0]


@pytest.mark.parametrize("cut", [1, 20])
def test_an_unfinished_last_line_is_dropped_with_a_message(path, cut, caplog):
  path.write_bytes(path.read_bytes()[:-cut])
  assert verify(path).entries == 3 and "unfinished last line" in verify(path).notes[0]
  with Log(path) as log:
    assert "dropping an unfinished last line" in caplog.text
    assert len(log.entries) == 3 and log.append({"request": "again"})["seq"] == 3
  assert verify(path).notes == () and verify(path).entries == 4


def test_a_full_disk_leaves_the_file_as_it_was(path, monkeypatch):
  before, real = path.read_bytes(), os.write

  def full(file, data):
    if len(data) < 100:
      raise OSError(errno.ENOSPC, "No space left on device")
    return real(file, data[: len(data) - 30])  # part of the line fits

  with Log(path) as log:
    monkeypatch.setattr(ledger.os, "write", full)
    with pytest.raises(OSError, match="could not be written .the disk is full.; it is as it was") as raised:
      log.append({"request": "r4"})
    assert raised.value.errno == errno.ENOSPC and path.read_bytes() == before and len(log.entries) == 4
    monkeypatch.undo()
    assert log.append({"request": "r4"})["seq"] == 4
  assert verify(path).entries == 5


def test_the_second_writer_is_told_who_is_first(tmp_path):
  first = Lock(tmp_path)
  with pytest.raises(Busy, match=f"is being written by process {os.getpid()} on .*: one writer at a time"):
    Lock(tmp_path)
  first.close()
  Lock(tmp_path).close()


def test_a_clock_that_goes_back_is_a_note_and_no_problem(tmp_path):
  with Log(tmp_path / "ledger.jsonl") as log:
    for now in (10.0, 5.0, 6.0):
      log.append({"finished": now})
  report = verify(tmp_path / "ledger.jsonl")
  assert report.problems == () and "went back at line 2;" in report.notes[0]


def test_entries_must_be_json_and_leave_the_chain_alone(tmp_path):
  with Log(tmp_path / "a.jsonl") as log:
    with pytest.raises(ValueError, match="cannot hold \\['hash'\\]"):
      log.append({"hash": "x"})
    with pytest.raises(ValueError):
      log.append({"figure": float("nan")})
    (entry,) = log.seal({"a": 1})
    log.append({"a": 0})
    with pytest.raises(LedgerError, match="entry 0 does not follow entry 0"):
      log.append_sealed(entry)
    assert len(log.entries) == 1


def test_the_command_line(path, capsys):
  assert main(["ledger", "verify", str(path.parent)]) == 0
  assert capsys.readouterr().out.splitlines()[-1] == "intact"
  assert main(["ledger", "verify", str(path), "--json"]) == 0
  assert json.loads(capsys.readouterr().out)["entries"] == 4
  assert main(["ledger", "show", str(path.parent), "--last", "2"]) == 0
  shown = capsys.readouterr().out
  assert "r3" in shown and "r2" in shown and "r1" not in shown
  path.write_text(path.read_text().replace('"affected":2', '"affected":7'))
  assert main(["ledger", "verify", str(path.parent)]) == 1
  assert "PROBLEM  line 3 ('r2') was changed" in capsys.readouterr().out
  with pytest.raises(SystemExit) as end:
    main(["ledger", "verify", str(path.parent / "nowhere")])
  assert end.value.code == 2 and "does not exist" in capsys.readouterr().err
