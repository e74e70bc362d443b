"""Writes RESULTS.md and the generated parts of README.md and docs/choosing.md from the files that runs left behind.

python -m experiments.results --readme=runs/quickstart runs/fashion_class runs/fashion_random ...

Sections of runs that are not given stay in RESULTS.md as they are.
"""

from __future__ import annotations

import pathlib
import re
import sys

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("readme", None, "The run whose table and picture stand in README.md.")
ROOT = pathlib.Path(__file__).resolve().parents[1]
HEAD = """# Results

Every table is generated from the `results.json` of a run by `python -m experiments.results`; the command above a table
made it. Means over seeds, with 95 % intervals of Student's t. `gap` is the mean distance to the retrained model over
UA, RA, TA and MIA in points; UA, RA, TA and MIA are best where they equal those of `retrain`. `cost` is in percent of
retraining's gradient evaluations. Seconds were measured on two shared CPU cores: compare them within a table only.

"""


def main(argv: list[str]) -> None:
  from experiments import choosing
  from unlearnjax import catalog, report

  runs = [pathlib.Path(run) for run in argv[1:]]
  for run in (*runs, *([pathlib.Path(FLAGS.readme)] if FLAGS.readme else [])):
    if not (run / "results.json").exists():
      print(f"error: {run} holds no results.json: give directories of finished runs", file=sys.stderr)
      sys.exit(2)
  notes = ROOT / "docs" / "results_notes.md"
  old = (ROOT / "RESULTS.md").read_text() if (ROOT / "RESULTS.md").exists() else ""
  if runs:
    tables = merged(old, report.results_markdown([run / "results.json" for run in runs]))
    (ROOT / "RESULTS.md").write_text(HEAD + (notes.read_text() + "\n" if notes.exists() else "") + tables)
  readme = (ROOT / "README.md").read_text()
  if FLAGS.readme:
    run = pathlib.Path(FLAGS.readme)
    (ROOT / "docs" / "quickstart.png").write_bytes((run / "cost.png").read_bytes())
    table = report.results_markdown([run / "results.json"], level=3)
    readme = replaced(readme, "quickstart", f"{table}\n![Distance to retraining against cost](docs/quickstart.png)\n")
  works = [row for row in (*catalog.PAPERS, *catalog.BASELINES) if catalog.status(row) == "works"]
  readme = replaced(readme, "papers", catalog.markdown(works) + "\n")
  (ROOT / "README.md").write_text(readme)
  page = ROOT / "docs" / "choosing.md"
  page.write_text(replaced(page.read_text(), "choosing", choosing.markdown((ROOT / "RESULTS.md").read_text()) + "\n"))


def merged(old: str, new: str) -> str:
  """The generated sections of `old`, each replaced by that of `new` of the same title, and then the others of `new`.

  Example:
    >>> print(merged("# Results\\n## Notes\\n\\n## a\\n\\n```bash\\n1\\n", "## b\\n\\n```bash\\n2\\n"))
    ## a
    <BLANKLINE>
    ```bash
    1
    ## b
    <BLANKLINE>
    ```bash
    2
    <BLANKLINE>
  """
  parts = [re.split(r"^(?=## )", text, flags=re.M)[text[:3] != "## " :] for text in (old, new)]
  parts[0] = [part for part in parts[0] if re.match(r"## .*\n\n```bash\n", part)]
  return "".join({part.splitlines()[0]: part for part in (*parts[0], *parts[1]) if part}.values())


def replaced(text: str, name: str, content: str) -> str:
  """`text` with what stands between the marks of `name` replaced."""
  marks = f"<!-- {name} -->", f"<!-- /{name} -->"
  pattern = re.compile(re.escape(marks[0]) + ".*?" + re.escape(marks[1]), re.S)
  if not pattern.search(text):
    raise ValueError(f"the page has no marks {marks[0]} ... {marks[1]}")
  return pattern.sub(lambda _: f"{marks[0]}\n{content}{marks[1]}", text)


if __name__ == "__main__":
  app.run(main)
