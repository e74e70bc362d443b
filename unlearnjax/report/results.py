"""`results.json`: what a benchmark measured, and under which conditions."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unlearnjax.info import versions
from unlearnjax.report.spec import Spec, checked, methods_of, spec_from_json, spec_to_json


@dataclasses.dataclass(frozen=True)
class Results:
  """What `results.json` holds.

  Attributes:
    bench: the name of the benchmark.
    config: its configuration as a JSON value.
    rows: one dict a method and seed; a row that failed has an `"error"` instead of numbers.
    summary: one dict a method; see `summarize`.
    spec: what the report is about.
    command: the command that made it, or None.
    commit: the revision of the code, or None.
    versions: of Python and the libraries.
  """

  bench: str
  config: dict[str, Any]
  rows: list[dict[str, Any]]
  summary: list[dict[str, Any]]
  spec: Spec
  command: str | None = None
  commit: str | None = None
  versions: dict[str, str | None] = dataclasses.field(default_factory=dict)

  @property
  def seeds(self) -> int:
    """How many seeds were run."""
    return len({row.get("seed") for row in self.rows})


def write_results(
  path: str | os.PathLike,
  bench: str,
  config: Any,
  rows: Sequence[Mapping[str, Any]],
  *,
  spec: Spec,
  command: str | None = None,
) -> Results:
  """Writes `results.json` in one piece: a crash leaves what was there before.

  Args:
    path: the file.
    bench: the name of the benchmark.
    config: a dataclass or a mapping.
    rows: `{"method", "seed", <metric>: number, ...}` each; `{"method", "seed", "error": text}` for one that failed.
    spec: columns and question.
    command: the command line that was run.

  Returns:
    what was written.

  Raises:
    ValueError: a row without a method.
    TypeError: something that JSON cannot hold.

  Example:
    >>> from unlearnjax.report import Column
    >>> spec = Spec("Forgetting", "Which one?", (Column("gap", "Gap", "lower", "%"),), cost="gap")
    >>> with tempfile.TemporaryDirectory() as out:
    ...   written = write_results(
    ...     f"{out}/results.json", "toy", {}, [{"method": "ssd", "seed": 0, "gap": 2.0}], spec=spec
    ...   )
    ...   read_results(f"{out}/results.json") == written
    True
  """
  checked(spec)
  for row in rows:
    if not row.get("method"):
      raise ValueError(f"every row must name its method, got {dict(row)}")
  rows = to_json(list(rows))
  summary = summarize(rows, [column.name for column in spec.columns])
  results = Results(bench, to_json(config), rows, to_json(summary), spec, command, git_commit(), versions())
  content = {
    "bench": results.bench,
    "command": results.command,
    "config": results.config,
    "commit": results.commit,
    "versions": results.versions,
    "spec": spec_to_json(spec),
    "rows": results.rows,
    "summary": results.summary,
  }
  write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
  return results


def read_results(path: str | os.PathLike) -> Results:
  """Reads what `write_results` wrote.

  Raises:
    ValueError: the file is not a `results.json`.
  """
  content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
  keys = ("bench", "config", "rows", "summary", "spec", "command", "commit", "versions")
  missing = [key for key in keys if key not in content]
  if missing:
    raise ValueError(f"{path} must be written by write_results, but it has no {', '.join(missing)}")
  return Results(**{key: spec_from_json(content[key]) if key == "spec" else content[key] for key in keys})


def summarize(rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> list[dict[str, Any]]:
  """Mean and 95 % interval of every metric over seeds, one dict a method.

  Rows that failed do not count, nor do numbers that are missing or not finite: `n` says how many seeds were averaged.

  Args:
    rows: see `write_results`.
    metrics: which numbers; those that no row has are left out.

  Returns:
    `[{"method", "seeds", <metric>: {"mean", "ci95", "n"}}]`, methods in order of appearance; `ci95` is the half-width
    of Student's interval, NaN for one seed.

  Example:
    >>> summarize([{"method": "a", "seed": 0, "UA": 1.0}, {"method": "a", "seed": 1, "UA": 3.0}], ["UA"])[0]["UA"][
    ...   "mean"
    ... ]
    2.0
  """
  from unlearnjax.metrics import mean_ci

  summary = []
  for method in methods_of(rows):
    mine = [row for row in rows if row["method"] == method and not row.get("error")]
    entry: dict[str, Any] = {"method": method, "seeds": len(mine)}
    for metric in metrics:
      values = [float(row[metric]) for row in mine if row.get(metric) is not None and math.isfinite(row[metric])]
      if values:
        mean, half = mean_ci(values)
        entry[metric] = {"mean": float(mean), "ci95": float(half), "n": len(values)}
    summary.append(entry)
  return summary


def failures(results: Results) -> list[tuple[str, str, str]]:
  """What failed: method, seeds and error, one entry for seeds that failed in the same way."""
  seeds: dict[tuple[str, str], list[str]] = {}
  for row in results.rows:
    if row.get("error"):
      seeds.setdefault((row["method"], str(row["error"])), []).append(str(row.get("seed")))
  return [(m, f"seed{'s' * (len(which) > 1)} {', '.join(which)}", e) for (m, e), which in seeds.items()]


def to_json(value: Any) -> Any:
  """A JSON value: arrays become lists, dataclasses and named tuples dicts, paths text, and what is not finite null.

  Raises:
    TypeError: on anything else.

  Example:
    >>> to_json({"a": np.float32("nan"), "b": (np.arange(2), pathlib.PurePosixPath("x/y"))})
    {'a': None, 'b': [[0, 1], 'x/y']}
  """
  if value is None or isinstance(value, (bool, int, str)):
    return value
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  if isinstance(value, Mapping):
    return {str(key): to_json(item) for key, item in value.items()}
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
  if isinstance(value, tuple) and hasattr(value, "_asdict"):
    return to_json(value._asdict())
  if isinstance(value, (list, tuple)):
    return [to_json(item) for item in value]
  if isinstance(value, os.PathLike):
    return os.fspath(value)
  if hasattr(value, "__array__"):
    return to_json(np.asarray(value).tolist())
  raise TypeError(f"results can hold numbers, text, lists and dicts, got {type(value).__name__}: {value!r}")


def write_text(path: str | os.PathLike, content: str) -> None:
  """Replaces a file in one step: readers see the old or the new content, never a part.

  Example:
    >>> with tempfile.TemporaryDirectory() as out:
    ...   write_text(f"{out}/deep/note.txt", "kept")
    ...   pathlib.Path(f"{out}/deep/note.txt").read_text()
    'kept'
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
  try:
    with os.fdopen(handle, "w", encoding="utf-8") as file:
      file.write(content)
      file.flush()
      os.fsync(file.fileno())
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
  except BaseException:
    pathlib.Path(temporary).unlink(missing_ok=True)
    raise


def git_commit() -> str | None:
  """The revision of the code that runs, with `-dirty` where files were changed; None outside its own checkout."""
  root = pathlib.Path(__file__).resolve().parents[2]
  if not (root / ".git").exists():
    return None
  try:
    head = _git(root, "rev-parse", "HEAD")
    return head + ("-dirty" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
  except (OSError, subprocess.CalledProcessError):
    return None


def _git(root: pathlib.Path, *arguments: str) -> str:
  command = ["git", "-C", str(root), *arguments]
  return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
