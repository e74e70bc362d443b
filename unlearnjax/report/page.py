"""`report.html`: one file that needs nothing else."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import shlex
from collections.abc import Mapping
from html import escape
from typing import Any

from unlearnjax.core.types import EMPTY
from unlearnjax.report.compare import Choice, choose, ranked
from unlearnjax.report.plots import figures
from unlearnjax.report.results import Results, failures, write_text
from unlearnjax.report.spec import Column, direction, half_width, number
from unlearnjax.report.style import SCRIPT, STYLE

_CAPTIONS = {
  "distance": (
    "Distance from the reference",
    "Each bar is the signed difference from {reference}, averaged over seeds; whiskers are 95 % intervals. Zero is "
    "the goal: bars to either side are errors.",
  ),
  "cost": (
    "What it costs",
    "Each point is a method; the recommended one is orange-red, references are grey. The dotted line is the budget. "
    "Methods that cost nothing have no place on a logarithmic axis and are left out.",
  ),
  "confidence": (
    "Confidence in the true class",
    "Share of examples by the probability that the model gives to their true class, on a square-root scale. Forgetting "
    "is complete when the forget curve looks like that of {reference}; a spike at zero is over-forgetting.",
  ),
}


def write_report(
  directory: str | os.PathLike,
  results: Results,
  histograms: Mapping[str, Mapping[str, Any]] | None = None,
  sections: Mapping[str, str] = EMPTY,
) -> pathlib.Path:
  """Writes `report.html` and its plots as PNG files.

  Args:
    directory: where to write; it is made if need be.
    results: from `write_results` or `read_results`.
    histograms: `{method: {"forget" | "retain" | "test": f[n]}}`, probabilities of the true class in [0, 1].
    sections: further parts of the page before its legend: HTML by title.

  Returns:
    the path of the page.

  Example:
    >>> import tempfile
    >>> from unlearnjax.report import Column, Spec, write_results
    >>> spec = Spec("Forgetting", "Which one?", (Column("gap", "Gap", "lower", "%"),), cost="gap")
    >>> with tempfile.TemporaryDirectory() as out:
    ...   results = write_results(
    ...     f"{out}/results.json", "toy", {}, [{"method": "ssd", "seed": 0, "gap": 2.0}], spec=spec
    ...   )
    ...   page = write_report(out, results).read_text()
    >>> "Use ssd: gap 2.0 points" in page
    True
  """
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  choice = choose(results.summary, results.spec)
  plots = figures(results, choice, histograms)
  for name, png in plots.items():
    (directory / f"{name}.png").write_bytes(png)
  path = directory / "report.html"
  write_text(path, html_page(results, choice, plots, sections))
  return path


def html_page(results: Results, choice: Choice, plots: Mapping[str, bytes], sections: Mapping[str, str] = EMPTY) -> str:
  """The page as text; every string that came from outside is escaped, `sections` are taken as they are."""
  spec = results.spec
  parts = [
    _answer(results, choice),
    _section("Results", _table(results, choice) + _failures(results)),
    *(_plot(name, png, spec.reference) for name, png in plots.items()),
    *(_section(title, body) for title, body in sections.items()),
    _section("How to read", _legend(results)),
    _section("How it was made", _provenance(results)),
  ]
  return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(spec.title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<header><p class="bench">{escape(results.bench)}</p><h1>{escape(spec.title)}</h1></header>
{"".join(parts)}
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _section(title: str, body: str) -> str:
  return f"<section><h2>{escape(title)}</h2>{body}</section>\n"


def _answer(results: Results, choice: Choice) -> str:
  spec = results.spec
  over = ""
  if choice.over_budget:
    over = f"<p class='note'>Over the budget: {escape(', '.join(choice.over_budget))}.</p>"
  return (
    f"<section class='answer'><p class='question'>{escape(spec.question)}</p>"
    f"<p class='short'>{escape(choice.answer)}</p><p class='note'>{escape(choice.rule)}</p>{over}</section>\n"
  )


def _table(results: Results, choice: Choice) -> str:
  spec, entries = results.spec, {entry["method"]: entry for entry in results.summary}
  columns = [c for c in spec.columns if any(c.name in entry for entry in entries.values())]
  ideals = {c.name: _ideal(c, entries, spec.reference) for c in columns}
  scales = {c.name: _scale(c, entries, ideals[c.name]) for c in columns}
  head = "".join(
    f"<th data-better='{c.better or ''}' title='{escape(c.description)}' aria-sort='none'><button>{escape(c.label)}"
    f"<small>{escape(_hint(c, spec.reference))}</small></button></th>"
    for c in columns
  )
  body = []
  for method in ranked(results.summary, spec):
    entry, tag, kind = entries[method], "", ""
    if method == choice.method:
      tag, kind = "<em class='pick'>use this</em>", " class='picked'"
    elif method == spec.reference:
      tag, kind = "<em>reference</em>", " class='gold'"
    elif method in spec.anchors:
      tag = "<em>baseline</em>"
    elif not entry["seeds"]:
      tag = "<em class='failed'>failed</em>"
    cells = "".join(_cell(entry, c, ideals[c.name], scales[c.name], method == spec.reference) for c in columns)
    body.append(f"<tr{kind}><th scope='row' data-value='{escape(method)}'>{escape(method)}{tag}</th>{cells}</tr>")
  seeds = f"{results.seeds} seeds, mean ± 95 % interval" if results.seeds > 1 else "One seed"
  delta = (
    f"; second lines are distances from {escape(spec.reference)}"
    if any(c.better == "reference" and ideals[c.name] is not None for c in columns)
    else ""
  )
  return (
    f"<p class='note'>{seeds}. Click a head to sort. Blue is near the best or the reference, orange is far{delta}.</p>"
    f"<div class='scroll'><table><thead><tr><th><button>Method</button></th>{head}</tr></thead>"
    f"<tbody>{''.join(body)}</tbody></table></div>"
  )


def _cell(entry: Mapping[str, Any], column: Column, ideal: float | None, scale: float, is_gold: bool) -> str:
  value = entry.get(column.name)
  if value is None:
    return "<td class='none'>–</td>"
  text, shade, order = number(value["mean"], column.unit), "", value["mean"]
  half = half_width(value)
  if half:
    text += f"<small> ±{number(half, column.unit)}</small>"
  if ideal is not None and not is_gold:
    far = value["mean"] - ideal
    if scale > 0:
      shade = f" style='background:{_shade(min(abs(far) / scale, 1.0))}'"
    if column.better == "reference":
      text, order = text + f"<small class='delta'>{_signed(far, column.unit)}</small>", abs(far)
  elif column.better == "reference":
    order = 0.0 if is_gold else order
  return f"<td{shade} data-value='{order!r}'>{text}</td>"


def _ideal(column: Column, entries: Mapping[str, Mapping[str, Any]], reference: str | None) -> float | None:
  """What the shade of a cell is measured from: the reference, or the best value; costs have no shade."""
  means = [entry[column.name]["mean"] for entry in entries.values() if column.name in entry]
  if column.better == "reference":
    gold = entries.get(reference, {})
    return gold[column.name]["mean"] if column.name in gold else None
  if column.better is None or column.unit in ("s", "count"):
    return None
  return min(means) if column.better == "lower" else max(means)


def _scale(column: Column, entries: Mapping[str, Mapping[str, Any]], ideal: float | None) -> float:
  """The distance that gets the strongest shade: that of the worst method, at most 20 points for percentages."""
  if ideal is None:
    return 0.0
  worst = max(abs(entry[column.name]["mean"] - ideal) for entry in entries.values() if column.name in entry)
  return min(worst, 20.0) if column.unit == "%" else worst


def _signed(value: float, unit: str) -> str:
  text = number(abs(value), unit)
  return text if float(number(abs(value), unit).rstrip("kMG")) == 0 else ("+" if value > 0 else "−") + text


def _shade(share: float) -> str:
  """Blue at 0, white in between, orange at 1; both ends differ in lightness from white, not only in hue."""
  if share < 0.25:
    return f"rgba(0,114,178,{0.20 * (1 - share / 0.25):.3f})"
  return f"rgba(230,159,0,{0.55 * (share - 0.25) / 0.75:.3f})"


def _hint(column: Column, reference: str | None) -> str:
  unit = {"%": "%", "s": "s"}.get(column.unit, "")
  arrow = {"lower": "↓", "higher": "↑", "reference": f"→ {reference}" if reference else ""}.get(column.better or "", "")
  return " ".join(word for word in (unit, arrow) if word)


def _failures(results: Results) -> str:
  items = "".join(
    f"<li><b>{escape(method)}</b>, {escape(seeds)}: <code>{escape(error)}</code></li>"
    for method, seeds, error in failures(results)
  )
  return f"<div class='failures'><h3>Did not finish</h3><ul>{items}</ul></div>" if items else ""


def _plot(name: str, png: bytes, reference: str | None) -> str:
  title, caption = _CAPTIONS[name]
  return _section(title, figure(png, title, caption.format(reference=reference or "the reference")))


def figure(png: bytes, title: str, caption: str) -> str:
  """A picture with its caption as HTML that needs no other file."""
  data = base64.b64encode(png).decode("ascii")
  width = round(0.65 * int.from_bytes(png[16:20], "big"))  # of the PNG header; letters get the size of the page's
  image = f"<img width='{width}' src='data:image/png;base64,{data}' alt='{escape(title)}'>"
  return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _legend(results: Results) -> str:
  items = []
  for column in results.spec.columns:
    way = direction(column, results.spec.reference)
    text = " ".join(part for part in (column.description, f"{way[0].upper()}{way[1:]}." if way else "") if part)
    items.append(f"<dt>{escape(column.label)}</dt><dd>{escape(text) or 'No description.'}</dd>")
  return f"<dl class='legend'>{''.join(items)}</dl>"


def _provenance(results: Results) -> str:
  command = f"<pre><code>{escape(results.command)}</code></pre>" if results.command else ""
  versions = {"commit": results.commit or "not a checkout"} | {k: v for k, v in results.versions.items() if v}
  return (
    f"{command}<div class='pair'><div><h3>Configuration</h3>{_pairs(_flat(results.config))}</div>"
    f"<div><h3>Versions</h3>{_pairs(versions)}</div></div>"
  )


def _pairs(pairs: Mapping[str, Any]) -> str:
  rows = "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(_plain(v))}</dd>" for k, v in pairs.items())
  return f"<dl class='pairs'>{rows}</dl>"


def _flat(config: Any, prefix: str = "") -> dict[str, Any]:
  if not isinstance(config, Mapping):
    return {prefix or "config": config}
  flat: dict[str, Any] = {}
  for key, value in config.items():
    name = f"{prefix}.{key}" if prefix else str(key)
    flat |= _flat(value, name) if isinstance(value, Mapping) and value else {name: value}
  return flat


def _plain(value: Any) -> str:
  return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def command_line(argv: list[str], module: str) -> str:
  """The command that runs a module with these arguments, quoted for a shell.

  Example:
    >>> command_line(["--out", "my runs"], "experiments.classify.run")
    "python -m experiments.classify.run --out 'my runs'"
  """
  return shlex.join(["python", "-m", module, *argv])
