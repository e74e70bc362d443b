"""Data: tables of examples, requests to forget some of them, and corruptions to undo.

`load` reads a data set into memory, `forget_*` name what is to be forgotten, `noisy_labels`, `backdoor` and
`interclass_confusion` damage training data for corrective unlearning, `surrogate` stands in for training data that
nobody may keep, and `prepare` writes a data set as a TFDS data set without TensorFlow. All selections share the columns
of one table: a request moves no data.
"""

from unlearnjax.core.source import Examples, as_examples
from unlearnjax.data.builders import make_builder, prepare, read_prepared
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
from unlearnjax.data.parse import parse_forget
from unlearnjax.data.splits import (
  forget_class,
  forget_ids,
  forget_random,
  forget_range,
  forget_subclass,
  validate,
)
from unlearnjax.data.surrogate import surrogate

__all__ = [
  "NAMES",
  "Dataset",
  "Examples",
  "as_examples",
  "available",
  "backdoor",
  "check_finite",
  "corrective_request",
  "forget_class",
  "forget_ids",
  "forget_random",
  "forget_range",
  "forget_subclass",
  "gaussian_relabel",
  "interclass_confusion",
  "load",
  "make_builder",
  "noisy_labels",
  "parse_forget",
  "patch_trigger",
  "prepare",
  "read_prepared",
  "relabel_random",
  "surrogate",
  "validate",
]
