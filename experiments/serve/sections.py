"""The parts of the report that only this benchmark has: curves over requests, and the receipts."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from unlearnjax.report import figure, number


def of(out: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
  """Writes `requests.png` and returns the sections: the curves, and a table of the first seed's receipts."""
  rows = [row for row in rows if row.get("receipts")]
  if not rows:
    return {}
  first = min(row["seed"] for row in rows)
  rows = [row for row in rows if row["seed"] == first]
  picture = curves(rows)
  (out / "requests.png").write_bytes(picture)
  caption = (
    f"Seed {first}. Above: test accuracy after each request; dotted lines are requests to learn. Below: examples that "
    "went through a backward pass for each deletion. Deletions at no cost lie on the bottom line."
  )
  return {
    "Over the stream": figure(picture, "Accuracy and cost over requests", caption),
    "Receipts": receipts(rows),
  }


def curves(rows: Sequence[Mapping[str, Any]]) -> bytes:
  """Test accuracy and gradient evaluations over requests, as PNG."""
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot as plt

  plot, (above, below) = plt.subplots(2, 1, figsize=(8.6, 6.4), sharex=True)
  for place, receipt in enumerate(rows[0]["receipts"]):
    if receipt["kind"] == "learn":
      above.axvline(place, color="#C5CBD3", linestyle=":", linewidth=0.8)
  for index, row in enumerate(rows):
    color = "#8A9099" if row["method"] == "from_scratch" else f"C{index}"
    said = [(i, r["test"]) for i, r in enumerate(row["receipts"]) if r["test"] is not None]
    above.plot(*zip(*said), color=color, marker=".", linewidth=1.2, label=row["method"])
    spent = [(i, r["gradient_evaluations"]) for i, r in enumerate(row["receipts"]) if r["kind"] == "forget"]
    below.plot(*zip(*spent), color=color, marker="o", markersize=3.5, linestyle="none")
  below.set_yscale("symlog", linthresh=100)
  below.set_ylim(bottom=-20)
  above.set_ylabel("test accuracy, %")
  below.set_ylabel("gradient evaluations of a deletion")
  below.set_xlabel("request")
  above.legend(frameon=False, fontsize=8, ncols=4)
  for axis in (above, below):
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#E7EAEE")
  written = io.BytesIO()
  plot.savefig(written, format="png", dpi=170, bbox_inches="tight")
  plt.close(plot)
  return written.getvalue()


def receipts(rows: Sequence[Mapping[str, Any]]) -> str:
  """What every system promised for every request, and what it spent, as an HTML table."""
  head = "".join(f"<th><button>{escape(row['method'])}</button></th>" for row in rows)
  body = []
  for place, receipt in enumerate(rows[0]["receipts"]):
    name = f"{receipt['request']} {receipt['kind']}: {receipt['reason']}"
    cells = "".join(f"<td>{_cell(row['receipts'][place])}</td>" for row in rows)
    body.append(f"<tr><th scope='row'>{escape(name)}<em>{receipt['affected']}</em></th>{cells}</tr>")
  return (
    "<p class='note'>For each request: the number of examples that it reached, what the system promises, and how many "
    "examples went through a backward pass. The ledgers hold the whole receipts: "
    "<code>python -m unlearnjax ledger show DIR/services/sisa-0</code>.</p>"
    f"<div class='scroll'><table><thead><tr><th><button>Request</button></th>{head}</tr></thead>"
    f"<tbody>{''.join(body)}</tbody></table></div>"
  )


def _cell(receipt: Mapping[str, Any]) -> str:
  if receipt["outcome"] != "done":
    return f"<small>{escape(receipt['outcome'])}</small>"
  what = receipt["guarantee"] or "learned"
  return f"{escape(what)} <small>{number(receipt['gradient_evaluations'], 'count')}</small>"
