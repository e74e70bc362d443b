"""Taps: reading, rewriting, and errors that help."""

from __future__ import annotations

import pytest

from unlearnjax.models.sites import Taps


def test_injection_comes_before_capture():
  taps = Taps(("a", "a:in"), {"a": lambda v: v + 1}, ("a",))
  assert taps.around("a", lambda v: 10 * v, (2,), {}) == 21
  assert taps.finish() == {"a:in": 2, "a": 21}


def test_the_first_keyword_stands_for_a_missing_positional_input():
  taps = Taps((), {"a:in": lambda v: -v}, ("a",))
  assert taps.around("a", lambda *, q, k: (q, k), (), {"q": 1, "k": 2}) == (-1, 2)


def test_unknown_sites_are_named_with_close_ones_first():
  with pytest.raises(ValueError, match="site 'block/0' does not exist; did you mean 'blocks/0'.*: blocks/0, head"):
    Taps(("block/0",), {}, ("blocks/0", "head"))
  with pytest.raises(ValueError, match="did you mean 'head:in'"):
    Taps((), {"haed:in": abs}, ("blocks/0", "head"))


def test_a_site_that_is_not_reached_is_an_error():
  taps = Taps(("b",), {}, ("a", "b"))
  taps("a", 1)
  with pytest.raises(ValueError, match="'b' was not reached in this forward pass"):
    taps.finish()


def test_a_string_or_a_value_in_the_wrong_place_is_refused():
  with pytest.raises(TypeError, match="capture must be a tuple of sites, got the string 'head:in'"):
    Taps("head:in", {}, None)
  with pytest.raises(TypeError, match=r"inject\['head:in'\] must be a function of the activation, got float"):
    Taps((), {"head:in": 1.0}, None)
