"""What `mkdocs build` makes: pages from files outside docs/, the papers, and a reference page a package.

Links between files are written as they work in the repository; `relinked` turns them to where the files lie in the
site. A link to a section of README.md that has a line to itself becomes the text of that section.
"""

from __future__ import annotations

import importlib
import pathlib
import posixpath
import re
import sys
import textwrap
import types

import griffe

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

OUTSIDE = {
  "README.md": "index.md",
  "RESULTS.md": "results.md",
  "CONTRIBUTING.md": "contributing.md",
  "colab/README.md": "notebooks.md",
  "launch/README.md": "launching.md",
}
"""File of the repository -> page of the site."""

GROUPS = ("classification", "exact", "continual", "language")


def on_config(config):
  """The navigation ends with the reference, whose pages are those of the packages that there are."""
  pages = [f"reference/{name}.md" for name in reference()]
  config.nav = [{"Reference": pages} if "Reference" in entry else entry for entry in config.nav]
  return config


def on_files(files, config):
  """Adds what is not under docs/."""
  from mkdocs.structure.files import File

  made = {"papers.md": papers()} | {f"reference/{name}.md": text for name, text in reference().items()}
  for source, page in OUTSIDE.items():
    if source != "README.md":
      made[page] = relinked((ROOT / source).read_text(), source, page)
  for page, text in made.items():
    files.append(File.generated(config, page, content=text))
  for notebook in sorted((ROOT / "colab").glob("*.ipynb")):
    files.append(File.generated(config, f"colab/{notebook.name}", abs_src_path=str(notebook)))
  return files


def on_page_markdown(markdown, page, config, files):
  """Sections of the README where they are linked to, and links as the site has them."""
  here = page.file.src_uri
  if page.file.generated_by is not None:
    return markdown
  line = re.compile(r"^\[[^\]]+\]\((?:\.\./)+README\.md#([\w-]+)\)$", re.M)
  markdown = relinked(line.sub(lambda found: f"\0{found[1]}\0", markdown), f"docs/{here}", here)
  return re.sub("\0(.+?)\0", lambda found: relinked(section(found[1]), "README.md", here), markdown)


def section(anchor: str) -> str:
  """What stands in README.md under the heading with this anchor; "" for what stands above the first one.

  Raises:
    KeyError: there is no such heading.
  """
  parts = re.split(r"^## (.+)$", (ROOT / "README.md").read_text(), flags=re.M)
  named = {"unlearnjax": parts[0].split("\n", 1)[1]} | dict(zip(map(slug, parts[1::2]), parts[2::2]))
  return re.sub("<!-- .+? -->", "", named[anchor]).strip()


def slug(heading: str) -> str:
  """The anchor of a heading."""
  return re.sub(r"[^\w]+", "-", heading.strip().lower()).strip("-")


def relinked(text: str, source: str, page: str) -> str:
  """Markdown of the file `source` as it must be written on `page`: links between files point into the site."""

  def link(found: re.Match) -> str:
    target, _, anchor = found[2].partition("#")
    if not target or "://" in target or target.startswith("mailto:"):
      return found[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    path = OUTSIDE.get(path, path.removeprefix("docs/"))
    path = posixpath.relpath(path, posixpath.dirname(page) or ".")
    return f"{found[1]}({path}{'#' + anchor if anchor else ''})"

  pieces = re.split(r"(^```.*?^```$|`[^`\n]*`)", text, flags=re.M | re.S)  # code keeps its brackets
  body = [piece if piece.startswith("`") else re.sub(r"(\[[^\]]*\])\(([^)\s]+)\)", link, piece) for piece in pieces]
  return "".join(body)


def papers() -> str:
  """The catalog as a page: what works is linked to its reference, a paper to arXiv where its number was checked."""
  from unlearnjax import catalog

  text = [
    "# Papers",
    "The catalog, as `python -m unlearnjax papers` prints it. A paper works when everything that its row names can be "
    "imported; the others are planned.",
  ]
  for title, rows, what in (("Papers", catalog.PAPERS, "papers"), ("Baselines", catalog.BASELINES, "baselines")):
    text += [f"## {title}", catalog.count_line(rows, what) + "."]
    for group in sorted({row.group for row in rows}):
      chosen = sorted(catalog.select(rows, group=group), key=lambda row: catalog.status(row) != "works")
      head = "| no | paper | first author | year | runs as | made of |\n| ---: | --- | --- | ---: | --- | --- |"
      text += [f"### {group.capitalize()}", "\n".join([head, *map(_row, chosen)])]
  return "\n\n".join(text)


def _row(row) -> str:
  from unlearnjax import catalog

  title = row.title if row.name in row.title else f"{row.name}: {row.title}"
  title = f"[{title}](https://arxiv.org/abs/{row.arxiv})" if row.arxiv else title
  works = catalog.status(row) == "works"
  names = ", ".join(f"[`{name}`][{_where(name)}]" for name in row.factories) if works else "planned"
  cells = (row.number or "", title, row.author, row.year or "", names, ", ".join(row.parts))
  return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _where(name: str) -> str:
  from unlearnjax import catalog

  value = catalog.resolve(name)
  return f"{value.__module__}.{value.__qualname__}"


def reference() -> dict[str, str]:
  """Page name -> Markdown: everything public, each thing once, where it lives; elsewhere there is a link to it."""
  import unlearnjax as uj

  modules = {name: value for name in uj.__all__ if isinstance(value := getattr(uj, name), types.ModuleType)}
  methods = modules.pop("methods")
  rooms = {name: (module, public(module)) for name, module in modules.items()}
  rooms["methods"] = methods, {name: getattr(methods, name) for name in ("keeping", "names", "through", "upcore")}
  for group in GROUPS:
    module = importlib.import_module(f"{methods.__name__}.{group}")
    made = {name: importlib.import_module(f"{module.__name__}.{file}") for name, file in module.MODULES.items()}
    rooms[f"methods_{group}"] = module, {name: getattr(made[name], name) for name in sorted(made)}
  rooms = {"index": (uj, public(uj)), **dict(sorted(rooms.items()))}

  paths = {page: {name: _path(module, name, names[name]) for name in names} for page, (module, names) in rooms.items()}
  homes = {}
  for page, (module, _) in [*list(rooms.items())[1:], ("index", rooms["index"])]:
    homes |= {
      path: page for path in paths[page].values() if path not in homes and path.startswith(f"{module.__name__}.")
    }
  for page in rooms:  # what a package offers and no package holds, such as a function of a private module
    homes |= {path: page for path in paths[page].values() if path not in homes}

  pages = {}
  for page, (module, _) in rooms.items():
    short = module.__name__.replace("unlearnjax", "uj", 1)
    options = "    options:\n      heading: {0}.{1}\n      toc_label: {1}\n"
    here = [f"::: {p}\n" + options.format(short, name) for name, p in paths[page].items() if homes[p] == page]
    also = [f"[`{name}`][{path}]" for name, path in paths[page].items() if homes[path] != page]
    also = [f"Described elsewhere: {', '.join(also)}.\n"] if also else []
    pages[page] = "\n".join([f"# {module.__name__}\n", fenced(module.__doc__), *also, *here])
  return pages


def _path(module: types.ModuleType, name: str, value: object) -> str:
  home = getattr(value, "__module__", None) or ""
  named = home.startswith("unlearnjax") and hasattr(value, "__qualname__")
  return f"{home}.{value.__qualname__}" if named else f"{module.__name__}.{name}"


def public(module: types.ModuleType) -> dict[str, object]:
  """What a package or module offers: `__all__`; else a package what it imports and a module what it defines."""
  names = getattr(module, "__all__", None)
  if names is None:
    defined = lambda value: getattr(value, "__module__", "") == module.__name__ or hasattr(module, "__path__")
    names = [name for name, value in vars(module).items() if name[0] != "_" and defined(value)]
  values = {name: getattr(module, name) for name in sorted(names, key=lambda name: (name.lower(), name))}
  return {name: value for name, value in values.items() if not isinstance(value, types.ModuleType)}


def fenced(doc: str) -> str:
  """The docstring of a package as Markdown: its examples and what it sets apart by indenting are code."""
  block = lambda kind: lambda found: f"\n```{kind}\n{textwrap.dedent(found[1]).strip()}\n```\n"
  doc = re.sub(r"^Examples?:\n((?:  .*\n?|\n)+)", block("pycon"), doc.strip(), flags=re.M)
  return re.sub(r"(?<=\n\n)((?:  \S.*\n?)+)", block("text"), doc)


def escaped(doc: str) -> str:
  """A docstring in which <x, y> is an inner product and `a*b*c` a product, not markup; code is left alone."""
  pieces = re.split(r"(`+[^`]*`+|^ *(?:>>>|\.\.\.).*$)", doc, flags=re.M)
  outside = lambda text: re.sub(r"(?<=\w)\*(?!\*)", r"\\*", re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text))
  return "".join(piece if at % 2 else outside(piece) for at, piece in enumerate(pieces))


class HouseStyle(griffe.Extension):
  """Docstrings say `Example:`; the parser knows `Examples:`. What they write is text before it is Markdown."""

  def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
    """Rewrites one docstring."""
    if obj.docstring is not None:
      prose, *examples = re.split(r"^Example:$", obj.docstring.value, maxsplit=1, flags=re.M)
      obj.docstring.value = "Examples:".join([escaped(prose), *examples])
