"""Serving: what receipts say, and what another start of the same service does."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from serving.counting import COUNTING, DATA, EXPECTED, KEY, MODEL, STREAM, answers, service, task

from unlearnjax import methods
from unlearnjax.core import Examples, Guarantee, Run, Verbs
from unlearnjax.ledger import LedgerError, read
from unlearnjax.lock import Busy
from unlearnjax.serving import Forget, Learn, ids_digest, serve, tree_digest, verify_directory


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  out = tmp_path_factory.mktemp("service")
  return out, *answers(out)


def test_every_request_gets_a_receipt(finished):
  out, receipts, total, _ = finished
  assert total == EXPECTED
  assert [(r.request, r.outcome, r.affected) for r in receipts] == [
    ("#0", "done", 20),
    ("#1", "done", 2),
    ("#2", "done", 1),
    ("#3", "already forgotten", 0),
    ("#4", "never learned", 0),
    ("#5", "done", 20),
    ("#6", "done", 2),
  ]
  assert receipts[2].detail == "1 forgotten, 1 already forgotten" and receipts[2].already_forgotten == 1
  assert receipts[6].ids_hash == ids_digest([38, 39])
  assert [r.seq for r in receipts] == list(range(7))
  assert all(r.params_before == before.params_after for before, r in zip(receipts, receipts[1:]))
  assert receipts[3].params_before == receipts[3].params_after and receipts[3].guarantee is None
  assert receipts[1].guarantee["kind"] == "exact" and receipts[1].audit == {"forget": 0.0}
  assert receipts[1].versions["jax"] and set(receipts[1].cost) >= {"gradient_evaluations", "seconds"}
  report = verify_directory(out)
  assert report.entries == 7 and not report.problems and not report.notes


def test_hashes_are_those_of_the_model(finished):
  _, receipts, _, state = finished
  assert receipts[-1].params_after == tree_digest({"params": state.params, "state": (), "refs": {}})
  assert receipts[-1].state_after == tree_digest({"state": state, "refs": {}})


def test_nothing_of_the_work_stays_on_the_disk(finished):
  out = finished[0]
  kept = sorted(p.name for p in (out / "checkpoints" / "serve").iterdir())
  assert kept == ["state"]
  assert [p.name for p in (out / "checkpoints" / "serve" / "state").iterdir() if p.name.isdigit()] == ["6"]


def test_the_same_stream_again_changes_nothing(finished):
  out, receipts, total, _ = finished
  before = {p: p.read_bytes() for p in out.glob("*.jsonl")}
  again, same, _ = answers(out)
  assert same == total and [r._asdict() for r in again] == [r._asdict() for r in receipts]
  assert {p: p.read_bytes() for p in out.glob("*.jsonl")} == before


def test_in_memory_it_does_the_same(finished):
  receipts, total, state = answers()
  assert total == EXPECTED
  assert [r.state_after for r in receipts] == [r.state_after for r in finished[1]]


@pytest.mark.parametrize("batch", [2, 10])
def test_a_batch_ends_in_the_same_state_at_less_work(batch, finished):
  receipts, total, state = answers(batch=batch)
  assert total == EXPECTED
  assert [r.affected for r in receipts] == [r.affected for r in finished[1]]
  assert [r.already_forgotten for r in receipts] == [r.already_forgotten for r in finished[1]]
  assert int(state.step) == 4 < int(finished[3].step) == 5
  assert receipts[1].batch == ("#1", "#2", "#3", "#4")[:batch] and receipts[5].batch == ("#5",)
  assert receipts[1].params_after == receipts[2].params_after


def test_a_named_stream_goes_on_with_new_requests(tmp_path):
  first = [Learn(task(0, 0, 20), name="learn"), Forget([1], name="ticket 1")]
  answers(tmp_path, first)
  receipts, total, _ = answers(tmp_path, [first[0], Forget([2], name="ticket 2")])
  assert [r.request for r in receipts] == ["learn", "ticket 2"]
  assert total == sum(range(1, 21)) - 2 - 3
  with pytest.raises(ValueError, match="needs the data of the requests \\['learn'\\]"):
    answers(tmp_path, [Forget([5], name="ticket 3")])
  assert len(read(tmp_path / "ledger.jsonl")) == 3


def test_another_request_of_the_same_name_is_refused(tmp_path):
  answers(tmp_path, STREAM[:2])
  with pytest.raises(ValueError, match="request '#1' was accepted before as another one \\(forget of 2 ids\\)"):
    answers(tmp_path, [STREAM[0], Forget([7])])
  with pytest.raises(ValueError, match="'#0' was accepted before as another one \\(learn of 20 ids\\)"):
    answers(tmp_path, [Forget([7])])


def test_another_service_is_refused(tmp_path):
  answers(tmp_path, STREAM[:2])
  with pytest.raises(LedgerError, match="belongs to another service \\(key: .* there"):
    list(serve(COUNTING, MODEL, STREAM, Run(out=tmp_path), key=jax.random.key(1)))


def test_the_second_writer_gets_a_clear_error_and_the_first_goes_on(tmp_path):
  running = service(tmp_path)
  next(running)
  with pytest.raises(Busy, match="one writer at a time"):
    service(tmp_path)
  assert len(list(running)) == 6 and float(running.model.params["sum"]) == EXPECTED
  assert len(answers(tmp_path)[0]) == 7  # an exhausted service lets the next one in


def test_a_request_that_fails_has_a_receipt_and_changes_nothing(tmp_path):
  stream = [STREAM[0], Forget([1], reason="poison"), Forget([2])]
  receipts, total, _ = answers(tmp_path, stream)
  assert [r.outcome for r in receipts] == ["done", "failed", "done"]
  assert receipts[1].detail == "this request cannot be honoured" and receipts[1].affected == 0
  assert total == sum(range(1, 21)) - 3
  again = answers(tmp_path, [*stream, Forget([1])])
  assert again[0][-1].outcome == "done" and again[1] == total - 2


def test_what_was_forgotten_can_be_learned_again():
  late = Learn(task(1, 0, 5))
  receipts, total, _ = answers(stream=[STREAM[0], Forget([0, 30]), late, Forget([0])])
  assert [(r.outcome, r.never_learned) for r in receipts] == [("done", 0), ("done", 1), ("done", 0), ("done", 0)]


def test_tasks_of_different_tables():
  other = Examples({"x": np.full((3, 1), 100.0, np.float32), "id": np.array([100, 101, 102])})
  receipts, total, _ = answers(stream=[STREAM[0], Learn(task(1, 0, 3, other)), Forget([101, 0])])
  assert receipts[-1].affected == 2 and total == sum(range(2, 21)) + 200
  clash = Examples({"x": np.full((3, 1), 100.0, np.float32)})
  receipts, _, _ = answers(stream=[STREAM[0], Learn(task(1, 0, 3, clash))])
  assert receipts[-1].outcome == "failed" and "ids must be unique over all tasks" in receipts[-1].detail


def test_requests_that_reach_nothing():
  empty = Forget(where=lambda known: known.ids > 1000)
  receipts, _, _ = answers(stream=[STREAM[0], Forget([1]), empty, Forget([]), Forget([1, 999]), Learn(task(1, 5, 5))])
  assert [r.outcome for r in receipts[2:]] == ["nothing to do"] * 4
  assert receipts[-1].params_after == receipts[1].params_after


def test_what_the_model_knew_before_can_be_forgotten():
  receipts, total, _ = answers(stream=[Forget([1, 2])], data=DATA[:10])
  assert receipts[0].affected == 2 and total == -5


def test_a_clock_that_goes_back_is_recorded_as_seen(tmp_path):
  ticks = iter(range(100, 0, -1))
  receipts, total, _ = answers(tmp_path, clock=lambda: next(ticks))
  assert total == EXPECTED and [r.seq for r in receipts] == list(range(7))
  assert receipts[0].finished > receipts[-1].finished
  report = verify_directory(tmp_path)
  assert not report.problems and "the clock went back" in report.notes[0]


def test_bad_requests_are_refused_before_they_are_accepted(tmp_path):
  for request, error, message in (
    ("#1", TypeError, "requests must be Learn or Forget, got str"),
    (Forget(), ValueError, "must have either ids or where, got neither"),
    (Forget([1], where=len), ValueError, "must have either ids or where, got both"),
  ):
    with pytest.raises(error, match=message):
      answers(tmp_path, [STREAM[0], request])
  assert len(read(tmp_path / "intents.jsonl")) == 2  # the service and the first request
  only = COUNTING._replace(bind=lambda fn: Verbs(*COUNTING.bind(fn)[:2], forget=COUNTING.bind(fn).forget))
  with pytest.raises(ValueError, match="can forget but not learn: give it a verb by serving.with_learning"):
    list(serve(only, MODEL, STREAM, key=KEY))
  with pytest.raises(ValueError, match="batch must be > 0"):
    service(batch=0)


def test_an_abandoned_service_lets_the_next_one_in(tmp_path):
  with service(tmp_path) as running:
    next(running)
  assert answers(tmp_path)[1] == EXPECTED


def test_receipts_state_the_guarantee_of_the_method_and_of_the_request():
  assert methods.certified_removal(epsilon=0.5, delta=1e-3).guarantee[:3] == ("certified", 0.5, 1e-3)
  assert methods.salun().guarantee.kind == "empirical" and methods.retrain(recipe=None).guarantee.kind == "exact"
  growing = lambda state, refs: Guarantee("certified", float(state.step) / 10, 1e-5, "it adds up")
  stream = [STREAM[0], Forget([1]), Forget([2])]
  receipts = list(serve(COUNTING._replace(guarantee=growing), MODEL, stream, key=KEY))
  assert [r.guarantee and round(r.guarantee["epsilon"], 3) for r in receipts] == [None, 0.2, 0.3]


def test_receipts_carry_the_numbers_of_the_factory():
  from unlearnjax.serving.requests import configuration

  found = configuration(methods.sisa(shards=3, slices=2))
  assert (found["shards"], found["slices"], found["recipe.epochs"]) == (3, 2, 20)
  assert json.dumps(found)
