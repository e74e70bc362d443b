"""Tables, selections of them, and their copies on the device."""

from __future__ import annotations

import gc

import jax.numpy as jnp
import numpy as np
import pytest
from toy import toy_data

from unlearnjax.core import Examples, Model, Statistic, as_examples, fold, zip_roles
from unlearnjax.core.batches import _RESIDENT, tables_of

SUM = Statistic(lambda model: jnp.zeros(()), lambda acc, m, b, rng: acc + (b["valid"] * b["inputs"]["x"][:, 0]).sum())


def table(size=6):
  return Examples({"x": np.arange(size, dtype=np.float32)[:, None], "y": np.arange(size) % 3})


def test_selections_share_columns_and_keep_their_order():
  data = table()
  part = data[[4, 1, 5]]
  assert part.columns["x"] is data.columns["x"] and part.ids.tolist() == [4, 1, 5]
  assert part[1:].ids.tolist() == [1, 5] and part[-1]["id"] == 5 and len(part[:0]) == 0
  assert part[np.array([True, False, True])].ids.tolist() == [4, 5]
  assert (part + data[:2]).ids.tolist() == [4, 1, 5, 0]
  assert data.without(part).ids.tolist() == [0, 2, 3]
  assert part.without(data).ids.tolist() == [] and data.without(data[:0]).ids.tolist() == list(range(6))


def test_replace_leaves_the_other_columns_and_rows():
  data = table()
  part = data[[4, 1]]
  new = part.replace(y=np.array([7, 8]), score=np.array([0.5, 0.25]))
  assert new.columns["x"] is data.columns["x"] and new.columns["id"] is data.columns["id"]
  assert new.columns["y"].tolist() == [0, 8, 2, 0, 7, 2] and data.columns["y"].tolist() == [0, 1, 2, 0, 1, 2]
  assert new.columns["y"].dtype == data.columns["y"].dtype
  assert new.column("score").tolist() == [0.5, 0.25] and new.columns["score"].tolist() == [0, 0.25, 0, 0, 0.5, 0]
  soft = part.replace(y=np.full((2, 3), 1 / 3))  # another shape replaces the column whole
  assert soft.columns["y"].shape == (6, 3) and soft.column("y").sum() == pytest.approx(2)
  with pytest.raises(ValueError, match="column 'y' must have 2 rows, got 3"):
    part.replace(y=np.zeros(3))


def test_select_by_id():
  data = Examples({"x": np.zeros((4, 1)), "id": np.array([30, 10, 20, 0])})
  assert data.select([10, 30]).rows.tolist() == [1, 0]
  assert data.select(np.array([], int)).ids.tolist() == []
  assert data[1:].select(i for i in (0, 10)).ids.tolist() == [0, 10]
  with pytest.raises(ValueError, match=r"ids that do not exist in the data: \[7, 99\] \(2 in all\)"):
    data.select([10, 7, 99])
  with pytest.raises(ValueError, match=r"do not exist in the data: \[30\]"):
    data[1:].select([30])
  with pytest.raises(ValueError, match=r"do not exist in the data: \[1\]"):
    data[:0].select([1])


def test_bad_tables():
  x = np.zeros((3, 1))
  with pytest.raises(ValueError, match="columns must have one length, got {'x': 3, 'y': 2}"):
    Examples({"x": x, "y": np.zeros(2)})
  with pytest.raises(ValueError, match="columns must be a mapping .*got no column"):
    Examples({})
  with pytest.raises(ValueError, match="'id' must be unique"):
    Examples({"x": x, "id": np.array([0, 1, 1])})
  for ids in ([0, 1, 2**40], [-1, 0, 1], [0.5, 1, 2]):
    with pytest.raises(ValueError, match=r"'id' must hold integers in \[0, 2\*\*31\)"):
      Examples({"x": x, "id": np.array(ids)})
  with pytest.raises(ValueError, match=r"rows must lie in \[0, 3\), got 1..3"):
    Examples({"x": x}, np.array([1, 3]))
  with pytest.raises(ValueError, match=r"mask must have shape \(2,\), got \(3,\)"):
    Examples({"x": x})[:2].where(np.ones(3, bool))
  with pytest.raises(ValueError, match="only selections of one table can be added"):
    table() + table()


def test_ids_are_int32_and_lists_become_arrays():
  data = Examples({"x": [[1.0], [2.0]], "id": np.array([5, 3], np.int64)})
  assert data.ids.dtype == np.int32 and data.column("x").shape == (2, 1)
  assert data[::-1].columns["id"] is data.columns["id"]


def test_concatenate_renumbers_only_when_ids_clash():
  data = table()
  apart = Examples.concatenate(data[:2], data[4:])
  assert apart.ids.tolist() == [0, 1, 4, 5] and len(apart.columns["x"]) == 4
  clash = Examples.concatenate(data[:2], table()[1:3])
  assert clash.ids.tolist() == [0, 1, 2, 3] and clash.column("x").ravel().tolist() == [0, 1, 1, 2]
  assert set(Examples.concatenate(data, data[:1].replace(extra=np.ones(1))).columns) == {"x", "y", "id"}


def test_any_source_of_dicts_can_be_read():
  class Rows:
    def __len__(self):
      return 3

    def __getitem__(self, i):
      return {"x": np.full(2, i, np.float32), "id": 10 + i}

  data = as_examples(Rows())
  assert data.ids.tolist() == [10, 11, 12] and data.column("x").shape == (3, 2)
  assert as_examples(data) is data
  with pytest.raises(ValueError, match="the source is empty"):
    as_examples([])


def test_device_copies_are_shared_and_die_with_the_table():
  data = table(50)
  gc.collect()  # what other tests left behind
  before = len(_RESIDENT)
  layout, tables = tables_of({"forget": data[:5], "retain": data[5:]})
  assert len(tables) == 3 and len(_RESIDENT) == before + 3
  again, same = tables_of({"forget": data[7:9], "retain": data})
  assert again == layout and all(same[k] is tables[k] for k in tables)
  assert {t.shape[0] for t in tables.values()} == {64}
  del data
  gc.collect()
  assert len(_RESIDENT) == before


def test_no_stale_copies_when_addresses_are_reused():
  for i in range(30):
    data = Examples({"x": np.full((8, 1), i, np.float32)})
    assert float(fold(SUM, Model({}), data)) == 8 * i
    del data


def test_a_table_on_the_device_cannot_be_changed_in_place():
  data = table()
  fold(SUM, Model({}), data)
  with pytest.raises(ValueError, match="read-only"):
    data.columns["x"][0] = 9
  changed = data.replace(x=data.column("x") + 1)
  assert float(fold(SUM, Model({}), changed)) == 21 and float(fold(SUM, Model({}), data)) == 15


def test_column_names_that_end_in_digits_stay_apart():
  one = Examples({"x1": np.zeros((2, 1), np.float32), "x": np.zeros((2, 1), np.float32)})
  two = Examples({"x1": np.ones((2, 1), np.float32), "x": np.full((2, 1), 2, np.float32)})
  layout, tables = tables_of({"a": one, "b": two})
  assert len(tables) == 6
  where = {role: dict(columns) for role, columns in layout}
  assert float(tables[where["a"]["x1"]][0, 0]) == 0 and float(tables[where["b"]["x1"]][0, 0]) == 1


def test_device_errors():
  with pytest.raises(ValueError, match="capacity is 4, but a table has 6 rows"):
    tables_of({"retain": table()}, capacity=4)
  with pytest.raises(TypeError, match="columns must be numeric"):
    tables_of({"retain": Examples({"name": np.array(["a", "b"])})})


def test_plans_name_what_is_wrong():
  data = toy_data(12)
  for match, kwargs in {
    "at least one role": {"batch_size": 4},
    "'phase' is a reserved batch key": {"batch_size": 4, "phase": data},
    r"role 'forget' has no examples \(got None\)": {"batch_size": 4, "forget": None},
    "role 'forget' is empty": {"batch_size": 4, "forget": data[:0]},
    "batch_size of role 'forget' must be >= 1, got 0": {"batch_size": {"retain": 4}, "forget": data},
    "epochs must be >= 0, got -1": {"batch_size": 4, "forget": data, "epochs": -1},
    r"anchor must name the role .* \['forget', 'retain'\]": {"batch_size": 4, "forget": data, "retain": data},
    r"anchor must be one of the roles \['forget'\], got 'a'": {"batch_size": 4, "forget": data, "anchor": "a"},
    "phase 'max' advances role 'x'": {"batch_size": 4, "forget": data, "cycle": (("max", 1, ("x",)),)},
    "anchor 'forget' never advances": {
      "batch_size": 4, "forget": data, "retain": data, "anchor": "forget", "cycle": (("min", 2, ("retain",)),)
    },
    "must be selections of one table": {"batch_size": 4, "forget": [data, toy_data(12)]},
  }.items():  # fmt: skip
    with pytest.raises(ValueError, match=match):
      zip_roles(**kwargs)


def test_a_list_of_examples_is_a_source_and_a_list_of_sources_one_a_replica():
  rows = [{"x": np.full(2, i, np.float32)} for i in range(5)]
  assert len(zip_roles(retain=rows, batch_size=2).streams["retain"].sources[0]) == 5
  data = toy_data(12)
  assert [len(s) for s in zip_roles(retain=[data[:5], data[5:]], batch_size=2).streams["retain"].sources] == [5, 7]
  with pytest.raises(ValueError, match="role 'retain' is empty"):
    zip_roles(retain=[], batch_size=2)


def test_a_pass_over_the_anchor_counts_the_steps_in_which_it_rests():
  data = toy_data(24)
  plan = zip_roles(
    anchor="retain", forget=data[:8], retain=data[8:], batch_size=4, epochs=3,
    cycle=(("max", 1, ("forget",)), ("min", 2, ("retain",))),
  )  # fmt: skip
  assert plan.steps_per_epoch == 6 and plan.steps == 18
  for epoch in range(3):
    assert plan.active["retain"][6 * epoch : 6 * epoch + 6].sum() == 4


def test_positions_of_other_data_phases_or_seeds_do_not_fit():
  data = toy_data(24)
  make = lambda rows, **kwargs: zip_roles(retain=data[rows], batch_size=4, **kwargs).fingerprint()
  base = make(slice(12))
  assert base == make(slice(12))
  assert base != make(slice(1, 13)) != make(slice(12), epochs=2)
  phases = [zip_roles(a=data, b=data, batch_size=4, cycle=(("p", 2, r),)).fingerprint() for r in (("a",), ("a", "b"))]
  assert phases[0] != phases[1]
