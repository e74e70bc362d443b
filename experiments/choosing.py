"""The table of docs/choosing.md, made from the tables of RESULTS.md."""

from __future__ import annotations

import re


def tables(results: str) -> dict[str, list[dict[str, str]]]:
  """Title -> rows of every benchmark in RESULTS.md; a row is a dict of strings by column.

  Example:
    >>> found = tables("## Forgetting a\\n\\n| method | gap |\\n| --- | ---: |\\n| **ssd** | 0.6 ±1.5 |\\n")
    >>> found
    {'Forgetting a': [{'method': 'ssd', 'gap': '0.6 ±1.5'}]}
  """
  found = {}
  for title, body in re.findall(r"^## (Forgetting .+?)\n(.*?)(?=^## |\Z)", results, re.M | re.S):
    lines = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", body, re.M)]
    found[title] = [dict(zip(lines[0], cells)) for cells in lines[2:]]
  return found


def markdown(results: str, page: str = "../RESULTS.md") -> str:
  """The gap to retraining of the methods that were measured in every benchmark, nearest first.

  Raises:
    ValueError: `results` holds no table.
  """
  found = {title: table for title, table in tables(results).items() if {"gap", "UA", "cost"} <= table[0].keys()}
  if not found:
    raise ValueError("results must hold a section '## Forgetting ...' with a table, found none")
  rows = {title: {row["method"]: row for row in table} for title, table in found.items()}
  measured = lambda name, table: name in table and table[name]["gap"][0].isdigit()  # one that failed has no number
  first = next(iter(rows.values()))
  everywhere = [name for name in first if name != "retrain" and all(measured(name, table) for table in rows.values())]
  number = lambda name, column: [float(table[name][column].split()[0]) for table in rows.values()]
  mean = {name: sum(number(name, "gap")) / len(rows) for name in everywhere}
  lines = [
    "| method | " + " | ".join(f"[{_short(title)}]({page}#{_anchor(title)})" for title in rows) + " | cost |",
    "| --- |" + " ---: |" * (len(rows) + 1),
  ]
  for name in sorted(everywhere, key=mean.get):
    low, high = min(number(name, "cost")), max(number(name, "cost"))
    cost = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    cost = "–" if name == "original" else cost
    gaps = " | ".join(table[name]["gap"] for table in rows.values())
    lines.append(f"| {name} | {gaps} | {cost} |")
  text = (
    "Distance to the retrained model in points: the mean over UA, RA, TA and MIA with 95 % intervals over seeds;\n"
    "lower is better. Cost in percent of retraining. `original` is the model that forgot nothing."
  )
  return "\n".join([text, "", *lines])


def _short(title: str) -> str:
  return title.removeprefix("Forgetting ").replace(" of ", ", ").replace("_", "-")


def _anchor(title: str) -> str:
  return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
