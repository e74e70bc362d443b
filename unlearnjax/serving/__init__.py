"""Requests in production: a stream of `Learn` and `Forget` against one state, with a ledger of receipts.

See `serve`. What the directory of a service holds:

  intents.jsonl   every accepted request, written before work starts
  ledger.jsonl    one receipt for each, chained by hashes; `python -m unlearnjax ledger verify DIR`
  checkpoints/    the newest state, committed together with the receipts that it earned
"""

from unlearnjax.ledger import LedgerError
from unlearnjax.lock import Busy
from unlearnjax.serving.api import serve
from unlearnjax.serving.audits import accuracies
from unlearnjax.serving.holdings import Holdings
from unlearnjax.serving.learning import with_learning
from unlearnjax.serving.reading import verify_directory
from unlearnjax.serving.requests import Forget, Learn, Receipt, ids_digest, tree_digest
from unlearnjax.serving.service import Service

__all__ = [
  "Busy",
  "Forget",
  "Holdings",
  "Learn",
  "LedgerError",
  "Receipt",
  "Service",
  "accuracies",
  "ids_digest",
  "serve",
  "tree_digest",
  "verify_directory",
  "with_learning",
]
