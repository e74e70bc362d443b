"""Data: tables of examples, requests to forget some of them, and corruptions to undo.

`load` reads a data set into memory, `forget_*` name what is to be forgotten, `noisy_labels`, `backdoor` and
`interclass_confusion` damage training data for corrective unlearning, `surrogate` stands in for training data that
nobody may keep, `upcore` leaves the outliers of a forget set out, `class_incremental` and its neighbours deal data out
over tasks, `fictitious_authors`, `contracts`, `load_tofu`, `load_knowundo` and `load_pistol` are questions for language
models, `chunks_table` cuts running text such as the books of `load_text`, and `prepare` writes a data set as a TFDS
data set without TensorFlow. All selections share the columns of one table: a request or a task moves no data.
"""

from unlearnjax.core.source import Examples, as_examples
from unlearnjax.data.answers import answers_table, texts_of
from unlearnjax.data.authors import QA, REFUSALS, fictitious_authors, known_facts
from unlearnjax.data.builders import make_builder, prepare, read_prepared
from unlearnjax.data.cloze import name_clozes, names_in
from unlearnjax.data.contracts import Contracts, Edge, EdgeSplit, contracts, shape_edges, split_edges
from unlearnjax.data.coreset import DETECTORS, Coreset, core_rows, upcore
from unlearnjax.data.corrupt import (
  backdoor,
  corrective_request,
  gaussian_relabel,
  interclass_confusion,
  noisy_labels,
  patch_trigger,
  relabel_random,
)
from unlearnjax.data.datasets import NAMES, Dataset, available, check_finite, load
from unlearnjax.data.knowundo import KnowUnDo, load_knowundo
from unlearnjax.data.parse import parse_forget
from unlearnjax.data.pistol import load_pistol
from unlearnjax.data.scenarios import SCENARIOS, make_stream
from unlearnjax.data.splits import (
  forget_class,
  forget_ids,
  forget_random,
  forget_range,
  forget_subclass,
  validate,
)
from unlearnjax.data.stream_blurs import blurry, task_free
from unlearnjax.data.stream_groups import grouped, overlapping
from unlearnjax.data.stream_inputs import instances, permuted, rotate, rotated
from unlearnjax.data.streams import TaskStream, class_incremental, domain_incremental, split, task_incremental
from unlearnjax.data.surrogate import surrogate
from unlearnjax.data.texts import book_names, chunks_table, folds, load_text
from unlearnjax.data.tofu import Tofu, load_tofu
from unlearnjax.data.worst import worst_case

__all__ = [
  "DETECTORS",
  "NAMES",
  "QA",
  "REFUSALS",
  "SCENARIOS",
  "Contracts",
  "Coreset",
  "Dataset",
  "Edge",
  "EdgeSplit",
  "Examples",
  "KnowUnDo",
  "TaskStream",
  "Tofu",
  "answers_table",
  "as_examples",
  "available",
  "backdoor",
  "blurry",
  "book_names",
  "check_finite",
  "chunks_table",
  "class_incremental",
  "contracts",
  "core_rows",
  "corrective_request",
  "domain_incremental",
  "fictitious_authors",
  "folds",
  "forget_class",
  "forget_ids",
  "forget_random",
  "forget_range",
  "forget_subclass",
  "gaussian_relabel",
  "grouped",
  "instances",
  "interclass_confusion",
  "known_facts",
  "load",
  "load_knowundo",
  "load_pistol",
  "load_text",
  "load_tofu",
  "make_builder",
  "make_stream",
  "name_clozes",
  "names_in",
  "noisy_labels",
  "overlapping",
  "parse_forget",
  "patch_trigger",
  "permuted",
  "prepare",
  "read_prepared",
  "relabel_random",
  "rotate",
  "rotated",
  "shape_edges",
  "split",
  "split_edges",
  "surrogate",
  "task_free",
  "task_incremental",
  "texts_of",
  "upcore",
  "validate",
  "worst_case",
]
