from __future__ import annotations

import numpy as np
import pytest

from unlearnjax.data import forget_class, forget_random, forget_range, load, parse_forget


@pytest.fixture(scope="module")
def digits():
  return load("digits")._replace(classes=tuple("zero one two three four five six seven eight nine".split()))


@pytest.mark.parametrize(
  "spec, classes", [("class:3", 3), ("class: 1, 2", (1, 2)), ("class:three", 3), ("class:nine,0", (0, 9))]
)
def test_classes(spec, classes, digits):
  found, expected = parse_forget(digits, spec), forget_class(digits, classes)
  assert found.classes == expected.classes
  np.testing.assert_array_equal(found.ids, expected.ids)


def test_fraction_and_band(digits):
  np.testing.assert_array_equal(parse_forget(digits, "random:0.1", seed=3).ids, forget_random(digits, 0.1, seed=3).ids)
  band = parse_forget("diabetes", "range:0:0.25")
  np.testing.assert_array_equal(band.ids, forget_range("diabetes", quantile=(0, 0.25)).ids)


def test_ids_from_text_and_files(digits, tmp_path):
  ids = digits.train.ids[[1, 5, 9]]
  text, array = tmp_path / "ids.txt", tmp_path / "ids.npy"
  text.write_text("\n".join(map(str, ids)) + "\n")
  np.save(array, ids)
  for value in (",".join(map(str, ids)), text, array):
    np.testing.assert_array_equal(parse_forget(digits, f"ids:{value}").ids, ids)


@pytest.mark.parametrize("spec", ["", "class", "class:", "3", "klass:3", "retain:0.1"])
def test_other_forms_are_refused_with_the_list_of_forms(spec, digits):
  with pytest.raises(ValueError, match="must look like class:3, .*random:0.1.*range:0:0.25"):
    parse_forget(digits, spec)


def test_errors_of_values(digits, tmp_path):
  with pytest.raises(ValueError, match="class must be one of zero, one, .*got 'ten'"):
    parse_forget(digits, "class:ten")
  with pytest.raises(ValueError, match=r"class must be in \[0, 10\), got -1"):
    parse_forget(digits, "class:-1")
  with pytest.raises(ValueError, match="classes must name at least one class"):
    parse_forget(digits, "class:,")
  with pytest.raises(ValueError, match="random: expects numbers, got 'many'"):
    parse_forget(digits, "random:many")
  with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\), got 2.0"):
    parse_forget(digits, "random:2")
  with pytest.raises(FileNotFoundError, match="there is no file 'nowhere.txt'"):
    parse_forget(digits, "ids:nowhere.txt")
  (tmp_path / "ids.txt").write_text("1 two")
  with pytest.raises(ValueError, match="must hold whole numbers, got 'two'"):
    parse_forget(digits, f"ids:{tmp_path / 'ids.txt'}")
  with pytest.raises(ValueError, match="two quantiles such as range:0:0.25, got 'range:0.2'"):
    parse_forget("diabetes", "range:0.2")
  with pytest.raises(ValueError, match="needs a regression data set"):
    parse_forget(digits, "range:0:0.25")
