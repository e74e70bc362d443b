"""Figures that go into a receipt."""

from __future__ import annotations

import numpy as np

from unlearnjax.core import ForgetRequest, Model, outputs

SMALLEST = 10


def accuracies(model: Model, request: ForgetRequest) -> dict[str, float]:
  """Accuracy on the forgotten, the retained and the test examples in percent, and the loss attack's.

  `loss_attack` is the accuracy of telling forgotten from test examples by their loss, 50 being chance; it needs ten of
  each. Sets without labels `y`, and models that are no classifiers, give nothing.

  Returns:
    some of "forget", "retain", "test", "loss_attack", in percent.
  """
  from unlearnjax import attacks

  found, losses = {}, {}
  for name, source in {"forget": request.forget, "retain": request.retain, "test": request.extra.get("test")}.items():
    if source is None or not len(source) or "y" not in source.columns:
      continue
    labels = source.column("y")
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
      continue
    logits = outputs(model, source)["logits"].astype(np.float64)
    if logits.ndim != 2 or logits.shape[1] <= labels.max():
      continue
    found[name] = 100 * float(np.mean(logits.argmax(-1) == labels))
    logs = logits - np.logaddexp.reduce(logits, -1, keepdims=True)
    losses[name] = -logs[np.arange(len(labels)), labels]
  if "test" in losses and min(len(losses["test"]), len(losses.get("forget", ()))) >= SMALLEST:
    found["loss_attack"] = 100 * float(np.mean(attacks.loss_mia(losses["forget"], losses["test"])))
  return found
