"""The commands that the documentation prints."""

from __future__ import annotations

import functools
import pathlib
import re
import shlex

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted(page for place in (".", "docs", "docs/axes", "colab", "launch") for page in (ROOT / place).glob("*.md"))
COMMAND = re.compile(r"python -m ((?:experiments|launch|unlearnjax)[\w.]*)([^`\n|#]*)")


@functools.cache
def commands() -> tuple[tuple[str, str, tuple[str, ...]], ...]:
  """(page, module, words) of every command of this repository that a page prints."""
  found = []
  for page in PAGES:
    for module, rest in COMMAND.findall(page.read_text().replace("\\\n", " ")):
      found.append((page.name, module.rstrip("."), tuple(shlex.split(rest))))
  return tuple(found)


def split_job(module: str, words: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
  """A launcher's command is two: its own, and that of the job after `--`."""
  if "--" not in words:
    return [(module, words)]
  at = words.index("--")
  job = next(word.removeprefix("--job=") for word in words if word.startswith("--job="))
  return [(module, words[:at]), ("experiments.classify.run" if job == "..." else job, words[at + 1 :])]
