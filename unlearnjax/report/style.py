"""The look of `report.html`, and the lines that sort its table."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light; --ink: #1f2933; --soft: #52606d; --line: #e4e7eb; --paper: #ffffff; --wash: #f7f8fa;
  --blue: #0072b2; --pick: #d55e00; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--wash); color: var(--ink); line-height: 1.55; -webkit-font-smoothing: antialiased;
  font: 15px/1.55 Inter, system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 44px 24px 72px; }
header { margin-bottom: 26px; }
.bench { margin: 0 0 4px; color: var(--blue); font-weight: 600; font-size: 13px; letter-spacing: .02em; }
h1 { margin: 0; font-size: 30px; line-height: 1.2; letter-spacing: -.015em; text-wrap: balance; }
h2 { margin: 0 0 14px; font-size: 18px; letter-spacing: -.005em; }
h3 { margin: 0 0 8px; font-size: 14px; color: var(--soft); font-weight: 600; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 22px 24px;
  margin-bottom: 18px; }
.answer { border-left: 5px solid var(--pick); }
.question { margin: 0 0 10px; color: var(--soft); font-size: 16px; max-width: 78ch; }
.short { margin: 0 0 12px; font-size: 20px; line-height: 1.4; font-weight: 600; max-width: 62ch; text-wrap: pretty; }
.note { margin: 0 0 10px; color: var(--soft); font-size: 13.5px; max-width: 100ch; }
.note:last-child { margin-bottom: 0; }
.scroll { overflow-x: auto; margin: 0 -24px; padding: 0 24px; }
table { border-collapse: separate; border-spacing: 0; width: 100%;
  font-size: 14px; font-variant-numeric: tabular-nums; }
thead th { position: sticky; top: 0; background: var(--paper); padding: 0; border-bottom: 2px solid var(--ink);
  vertical-align: bottom; }
thead button { all: unset; box-sizing: border-box; cursor: pointer; display: block; width: 100%; padding: 6px 10px;
  text-align: right;
  font-weight: 600; white-space: nowrap; }
thead th:first-child button { text-align: left; padding-left: 12px; }
thead button:hover { color: var(--blue); }
thead button:focus-visible { outline: 2px solid var(--blue); border-radius: 4px; }
thead small { display: block; font-weight: 400; color: var(--soft); font-size: 12px; min-height: 1.5em; }
th[aria-sort=ascending] button::after { content: " ▲"; font-size: 9px; }
th[aria-sort=descending] button::after { content: " ▼"; font-size: 9px; }
tbody th { text-align: left; font-weight: 500; white-space: nowrap; padding: 7px 14px 7px 12px; position: sticky;
  left: 0; background: var(--paper); }
tbody td { text-align: right; padding: 6px 10px; vertical-align: middle; line-height: 1.35; white-space: nowrap; }
tbody tr > * { border-bottom: 1px solid var(--line); }
tbody tr:last-child > * { border-bottom: 0; }
tr.picked th { font-weight: 700; box-shadow: inset 4px 0 0 var(--pick); }
tr.gold > * { background: var(--wash); }
th em { font-style: normal; font-size: 11.5px; font-weight: 500; color: var(--soft); border: 1px solid var(--line);
  border-radius: 20px; padding: 1px 8px; margin-left: 8px; background: var(--paper); }
th em.pick { color: #fff; background: var(--pick); border-color: var(--pick); }
th em.failed { color: #8a2c0d; border-color: #e7b8a6; }
td small { color: var(--soft); font-size: 12px; }
td .delta { display: block; line-height: 1.2; }
td.none { color: #9aa5b1; }
.failures { margin-top: 18px; padding: 12px 16px; background: #fdf3ee; border-radius: 8px; }
.failures ul { margin: 0; padding-left: 18px; }
figure { margin: 0; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { color: var(--soft); font-size: 13.5px; margin-top: 12px; max-width: 92ch; }
dl { margin: 0; display: grid; }
.legend { grid-template-columns: max-content 1fr; gap: 8px 20px; }
.legend dt { font-weight: 600; }
dd { margin: 0; overflow-wrap: anywhere; }
.pairs { grid-template-columns: max-content 1fr; gap: 3px 18px; font-size: 13.5px; font-variant-numeric: tabular-nums; }
.pairs dt { color: var(--soft); }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 28px; }
pre { background: #1f2933; color: #f5f7fa; padding: 12px 16px; border-radius: 8px; overflow-x: auto; margin: 0 0 18px; }
code { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
@media (max-width: 640px) { main { padding: 24px 12px; } section { padding: 16px; }
  .scroll { margin: 0 -16px; padding: 0 16px; }
  .legend, .pairs { grid-template-columns: 1fr; } .legend dd, .pairs dd { margin-bottom: 8px; } }
@media print { body { background: #fff; } section { break-inside: avoid; border: 0; padding: 8px 0; } }
"""

SCRIPT = """
for (const head of document.querySelectorAll("thead th")) head.firstElementChild.onclick = () => {
  const body = head.closest("table").tBodies[0], index = head.cellIndex;
  const fresh = !head.ariaSort || head.ariaSort === "none";
  const down = fresh ? head.dataset.better === "higher" : head.ariaSort === "ascending";
  const value = row => row.cells[index].dataset.value;
  const compare = (a, b) => isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
    return down ? compare(y, x) : compare(x, y);
  });
  for (const other of head.parentElement.cells) other.ariaSort = "none";
  head.ariaSort = down ? "descending" : "ascending";
  body.append(...rows);
};
"""
