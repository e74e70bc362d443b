"""The command line: `python -m unlearnjax papers`, `info` and `ledger`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

_EXAMPLES = """examples:
  python -m unlearnjax papers --status works
  python -m unlearnjax papers --group classification --markdown
  python -m unlearnjax papers 95
  python -m unlearnjax info --json
  python -m unlearnjax ledger verify runs/service
  python -m unlearnjax ledger show runs/service --last 5"""


class _Parser(argparse.ArgumentParser):
  def error(self, message: str):
    """One line, exit code 2."""
    self.exit(2, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
  """Runs one command; returns the exit code.

  Raises:
    SystemExit: with code 2 on a command or an option that does not exist.
  """
  arguments = _parser().parse_args(argv)
  return arguments.run(arguments)


def _parser() -> argparse.ArgumentParser:
  parser = _Parser(
    prog="python -m unlearnjax",
    description="Machine unlearning and continual learning in JAX.",
    epilog=_EXAMPLES,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

  papers = commands.add_parser("papers", help="the catalog: what each paper is made of, and what works today")
  papers.add_argument("key", nargs="?", help="a number, a short name or a factory: prints that one in full")
  papers.add_argument("--status", metavar="STATUS", help="works or planned")
  papers.add_argument("--group", metavar="GROUP", help="classification, language, ...; an unknown one lists them all")
  papers.add_argument("--baselines", action="store_true", help="the baselines instead of the papers")
  form = papers.add_mutually_exclusive_group()
  form.add_argument("--markdown", action="store_true", help="a Markdown table with all columns")
  form.add_argument("--json", action="store_true", help="JSON with all fields")
  papers.set_defaults(run=_papers, parser=papers)

  info = commands.add_parser("info", help="versions, devices, data sets and extras that were found")
  info.add_argument("--json", action="store_true", help="JSON")
  info.set_defaults(run=_info)

  ledger = commands.add_parser("ledger", help="the receipts of a service: check them, read them")
  ledger.add_argument("action", choices=("verify", "show"))
  ledger.add_argument("directory", help="the output directory of the service, or a ledger.jsonl")
  ledger.add_argument("--head", metavar="HASH", help="verify: a hash that was published when it was the last one")
  ledger.add_argument("--last", type=int, metavar="N", help="show: only the last N receipts")
  ledger.add_argument("--json", action="store_true", help="JSON with all fields")
  ledger.set_defaults(run=_ledger, parser=ledger)
  return parser


def _papers(arguments: argparse.Namespace) -> int:
  from unlearnjax import catalog

  what = "baselines" if arguments.baselines else "papers"
  try:
    if arguments.key is not None:
      rows = (catalog.find(arguments.key),)
    else:
      every = catalog.BASELINES if arguments.baselines else catalog.PAPERS
      rows = catalog.select(every, group=arguments.group, having=arguments.status)
  except ValueError as error:
    arguments.parser.error(str(error))
  if arguments.json:
    print(catalog.to_json(rows))
  elif arguments.markdown:
    print(catalog.markdown(rows, what))
  else:
    print(catalog.table(rows, what) if arguments.key is None else catalog.describe(rows[0]))
  return 0


def _info(arguments: argparse.Namespace) -> int:
  from unlearnjax import info

  found = info.collect()
  print(json.dumps(found, indent=2) if arguments.json else info.text(found))
  return 0


def _ledger(arguments: argparse.Namespace) -> int:
  from unlearnjax.ledger import read
  from unlearnjax.serving import reading

  try:
    if arguments.action == "show":
      entries = read(reading.path_of(arguments.directory))[-(arguments.last or 0) :]
      print(json.dumps(entries, indent=2) if arguments.json else reading.table(entries))
      return 0
    report = reading.verify_directory(arguments.directory, head=arguments.head)
  except OSError as error:
    arguments.parser.error(str(error))
  print(json.dumps(report._asdict(), indent=2) if arguments.json else reading.text(report))
  return 1 if report.problems else 0


if __name__ == "__main__":
  sys.exit(main())
