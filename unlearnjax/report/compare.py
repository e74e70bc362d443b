"""Which method to use, and how far each is from the reference: computed from the numbers by a stated rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from unlearnjax.report.spec import Spec, half_width, interval, number


class Choice(NamedTuple):
  """The answer of a report.

  Attributes:
    method: the one to use, None where no method qualifies.
    tied: methods that the intervals cannot tell from it, cheapest first.
    over_budget: methods that cost more than the budget, or whose cost is not known.
    budget: the largest cost that was allowed, None without a limit.
    answer: the result in words.
    rule: how it was found, in words.
  """

  method: str | None
  tied: tuple[str, ...]
  over_budget: tuple[str, ...]
  budget: float | None
  answer: str
  rule: str


def choose(summary: Sequence[Mapping[str, Any]], spec: Spec) -> Choice:
  """The method with the best mean score among those within the budget.

  Methods whose 95 % interval overlaps that of the best are tied with it; the best of equal means is the one with the
  narrower interval, then the cheaper. The reference and the anchors do not take part.

  Args:
    summary: from `summarize`.
    spec: names score, cost, reference, anchors and budget.

  Example:
    >>> from unlearnjax.report.spec import Column
    >>> spec = Spec("t", "q", (Column("gap", "Gap", "lower", "%"), Column("cost", "cost")), cost="cost")
    >>> def entry(method, gap, cost):
    ...   return {"method": method, "gap": {"mean": gap, "ci95": 0.5}, "cost": {"mean": cost, "ci95": None}}
    >>> rows = [entry("retrain", 0, 10), entry("a", 2, 5), entry("b", 1.5, 3), entry("c", 0.1, 30)]
    >>> choice = choose(rows, spec)
    >>> choice.method, choice.tied, choice.over_budget
    ('b', ('a',), ('c',))
  """
  score, cost = spec.column(spec.score), spec.column(spec.cost)
  by_name = {entry["method"]: entry for entry in summary}
  budget, reason = spec.budget, "the budget"
  if budget is None and spec.reference in by_name:
    budget, reason = _mean(by_name[spec.reference], cost.name), f"that of {spec.reference}"
  entries = [e for e in summary if e["method"] not in (spec.reference, *spec.anchors) and score.name in e]
  costs = {e["method"]: _mean(e, cost.name) for e in entries}
  over = tuple(m for m, c in costs.items() if budget is not None and (c is None or c > budget))
  inside = [e for e in entries if e["method"] not in over]

  sign = -1.0 if score.better == "higher" else 1.0
  word = "highest" if score.better == "higher" else "smallest"
  limit = f" that cost no more than {number(budget, cost.unit)} {cost.label.lower()} ({reason})" if budget else ""
  rule = (
    f"Rule: the {word} mean of “{score.label}” among the methods{limit}; methods whose 95 % intervals overlap with "
    "that of the best are tied with it."
  )
  if not inside:
    return Choice(None, (), over, budget, "No method with a score lies within the budget.", rule)

  def key(entry):
    half = half_width(entry[score.name])
    price = costs[entry["method"]]
    return sign * entry[score.name]["mean"], math.inf if half is None else half, math.inf if price is None else price

  best = min(inside, key=key)
  reach = half_width(best[score.name]) or 0.0
  tied = [
    e for e in inside
    if e is not best
    and abs(e[score.name]["mean"] - best[score.name]["mean"]) <= reach + (half_width(e[score.name]) or 0.0)
  ]  # fmt: skip
  tied = tuple(e["method"] for e in sorted(tied, key=lambda e: key(e)[2]))
  answer = _words(best, tied, costs, by_name, spec)
  return Choice(best["method"], tied, over, budget, answer, rule)


def deviations(rows: Sequence[Mapping[str, Any]], metric: str, reference: str) -> dict[str, dict[str, float]]:
  """Signed distance of every method from the reference, paired by seed, with its 95 % interval.

  A seed without a reference is compared with the mean reference.

  Args:
    rows: rows of one benchmark, `{"method", "seed", metric: value}`.
    metric: the number that is compared.
    reference: the method to compare with.

  Returns:
    `{method: {"mean", "ci95", "n"}}` in the unit of the metric; empty where the reference has no value.

  Example:
    >>> rows = [{"method": "retrain", "seed": 0, "UA": 90.0}, {"method": "a", "seed": 0, "UA": 87.5}]
    >>> round(deviations(rows, "UA", "retrain")["a"]["mean"], 6)
    -2.5
  """
  from unlearnjax.metrics import mean_ci

  known = [row for row in rows if not row.get("error") and row.get(metric) is not None and math.isfinite(row[metric])]
  gold = {row.get("seed"): float(row[metric]) for row in known if row["method"] == reference}
  if not gold:
    return {}
  usual = sum(gold.values()) / len(gold)
  values: dict[str, list[float]] = {}
  for row in known:
    if row["method"] != reference:
      values.setdefault(row["method"], []).append(float(row[metric]) - gold.get(row.get("seed"), usual))
  found = {}
  for method, differences in values.items():
    mean, half = mean_ci(differences)
    found[method] = {"mean": float(mean), "ci95": float(half), "n": len(differences)}
  return found


def ranked(summary: Sequence[Mapping[str, Any]], spec: Spec) -> list[str]:
  """Methods as a reader wants them: the reference, the others from best to worst score, those without a score last.

  Example:
    >>> from unlearnjax.report.spec import Column
    >>> spec = Spec("t", "q", (Column("gap", "Gap", "lower"),), cost="gap")
    >>> ranked(
    ...   [{"method": "b", "gap": {"mean": 2.0}}, {"method": "retrain"}, {"method": "a", "gap": {"mean": 1.0}}], spec
    ... )
    ['retrain', 'a', 'b']
  """
  sign = -1.0 if spec.column(spec.score).better == "higher" else 1.0

  def key(entry):
    mean = _mean(entry, spec.score)
    return entry["method"] != spec.reference, math.inf if mean is None else sign * mean

  return [entry["method"] for entry in sorted(summary, key=key)]


def _words(best, tied, costs, by_name, spec: Spec) -> str:
  score, cost = spec.column(spec.score), spec.column(spec.cost)
  text = f"Use {best['method']}: {score.label.lower()} {interval(best[score.name], score.unit)}"
  text += " points" if score.unit == "%" else ""
  price = costs[best["method"]]
  gold = _mean(by_name.get(spec.reference, {}), cost.name)
  if price is not None and gold:
    text += f" at {100 * price / gold:.3g} % of the cost of {spec.reference}"
  elif price is not None:
    text += f" at {number(price, cost.unit)} {cost.label.lower()}"
  text += "."
  if tied:
    cheapest = tied[0]
    text += f" {_listed(tied)} cannot be told from it"
    saves = price is not None and costs[cheapest] is not None and costs[cheapest] < price
    text += f", and {cheapest} costs less ({number(costs[cheapest], cost.unit)})." if saves else "."
  if half_width(best[score.name]) is None:
    text += " One seed gives no interval: take close ranks as equal."
  return text


def _listed(names: Sequence[str]) -> str:
  return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _mean(entry: Mapping[str, Any], name: str) -> float | None:
  return entry[name]["mean"] if name in entry else None
