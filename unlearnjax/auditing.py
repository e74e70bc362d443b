"""Auditing a model that claims to have forgotten, against one that never knew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from unlearnjax import attacks, metrics
from unlearnjax.core import ForgetRequest, Model, Run, as_examples, check, outputs
from unlearnjax.core.tree import paths


class Predictions(NamedTuple):
  """What a model says about the forget, retain and test examples: the only thing that scores are computed from.

  Attributes:
    probs: f[n, C] class probabilities by set name.
    labels: int[n] by set name.
  """

  probs: Mapping[str, np.ndarray]
  labels: Mapping[str, np.ndarray]

  def confidence(self, name: str) -> np.ndarray:
    """Probability of the true class, f[n]."""
    return self.probs[name][np.arange(len(self.labels[name])), self.labels[name]]

  def accuracy(self, name: str) -> float:
    """Fraction of correct predictions."""
    return float(np.mean(self.probs[name].argmax(-1) == self.labels[name]))


class Audit(NamedTuple):
  """The scores of a model and of its reference.

  Attributes:
    scores: in percent, except the distances.
    reference: the same scores of the retrained model; None without one.
    confidences: probability of the true class by set, for histograms.
  """

  scores: dict[str, float]
  reference: dict[str, float] | None
  confidences: dict[str, np.ndarray]

  def table(self) -> str:
    """The scores beside those of the reference, and the gaps."""
    head = f"{'':<22}{'model':>10}" + (f"{'retrained':>12}{'gap':>10}" if self.reference else "")
    lines = [head]
    for name, value in self.scores.items():
      line = f"{name:<22}{value:>10.2f}"
      if self.reference and name in self.reference:
        line += f"{self.reference[name]:>12.2f}{value - self.reference[name]:>+10.2f}"
      lines.append(line)
    return "\n".join(lines)


def predict(model: Model, request: ForgetRequest, run: Run | None = None) -> Predictions:
  """Class probabilities on the sets of a request: `forget`, `retain` and every classification set in `extra`."""
  sources = {"forget": request.forget, "retain": request.retain, **request.extra}
  probs, labels = {}, {}
  for name, source in sources.items():
    if source is None or not len(source):
      continue
    source = as_examples(source)
    if "y" not in source.columns:
      continue
    logits = outputs(model, source, run, name=f"audit_{name}")["logits"].astype(np.float64)
    labels[name] = source.column("y").astype(int)
    if logits.ndim != 2 or labels[name].max() >= logits.shape[1]:
      raise ValueError(
        f"logits must be [n, classes] with more than {labels[name].max()} classes, got shape {logits.shape} on {name!r}"
      )
    if not np.isfinite(logits).all():
      raise ValueError(f"logits must be finite, got {np.sum(~np.isfinite(logits))} that are not on {name!r}")
    probs[name] = np.exp(logits - np.logaddexp.reduce(logits, -1, keepdims=True))
  return Predictions(probs, labels)


def audit(
  model: Model,
  request: ForgetRequest,
  *,
  reference: Model | Predictions | None = None,
  original: Model | Predictions | None = None,
  stranger: Model | Predictions | None = None,
  run: Run | None = None,
  seed: int = 0,
) -> Audit:
  """Scores a model on a request, and measures its distance to retraining.

  Args:
    model: the model after the request.
    request: with a retain set and `extra["test"]`; `extra["test_forget"]` holds test rows of forgotten classes.
    reference: the model retrained without the forget set; brings the gaps, ToW and the distances.
    original: the model before the request; brings AUS.
    stranger: a randomly initialized model; brings ZRF.
    run: batch size, mesh and ledger of the passes.
    seed: of the attacks' subsampling.

  Raises:
    ValueError: a request without test or retain examples, a model whose logits are not finite or not as wide as the
      labels need, or models of different widths.

  Example:
    >>> import unlearnjax as uj
    >>> data = uj.data.load("digits")
    >>> fn = uj.models.make("mlp", input_shape=data.input_shape, num_outputs=10)
    >>> model = fn.init(jax.random.key(0))
    >>> found = audit(model, uj.data.forget_class(data, 3), reference=model)
    >>> found.scores["gap"], found.scores["ToW"]
    (0.0, 100.0)
  """
  check.kind("model", model, Model, "the Model after the request")
  check.kind("request", request, ForgetRequest, "a ForgetRequest such as uj.data.forget_class(data, 3)")
  for name, other in (("reference", reference), ("original", original), ("stranger", stranger)):
    check.kind(name, other, (Model, Predictions, type(None)), "a Model, Predictions of one, or None")
  for name, source in (("retain", request.retain), ("extra['test']", request.extra.get("test"))):
    if source is None or not len(source):
      raise ValueError(f"an audit needs examples in request.{name}, got {'none' if source is None else 'an empty set'}")
  said = predict(model, request, run)
  scores = basic_scores(said, seed=seed)
  against = None
  if reference is not None:
    gold = reference if isinstance(reference, Predictions) else predict(reference, request, run)
    against = basic_scores(gold, seed=seed)
    scores |= _gap_scores(said, gold, scores, against)
    against |= _gap_scores(gold, gold, against, against)
    if isinstance(reference, Model):
      scores["distance"] = weight_distance(model.params, reference.params)
  if original is not None:
    before = original if isinstance(original, Predictions) else predict(original, request, run)
    kind = "class" if request.classes else "random"
    aus = lambda p: (
      100 * float(metrics.aus(before.accuracy("test"), p.accuracy("test"), p.accuracy("forget"), setting=kind))
    )
    scores["AUS"] = aus(said)
    if against is not None:
      against["AUS"] = aus(gold)
  if stranger is not None:
    random = stranger if isinstance(stranger, Predictions) else predict(stranger, request, run)
    scores["ZRF"] = 100 * float(metrics.zrf(said.probs["forget"], random.probs["forget"]))
    if against is not None:
      against["ZRF"] = 100 * float(metrics.zrf(gold.probs["forget"], random.probs["forget"]))
  return Audit(scores, against, {k: said.confidence(k) for k in ("forget", "retain", "test")})


def basic_scores(said: Predictions, *, seed: int = 0) -> dict[str, float]:
  """UA, RA, TA, the SVC attack in its five kinds and the loss attack, all in percent.

  The loss attack is left out where fewer than 10 examples are forgotten or held out: it could not be judged.
  """
  scores = {
    "UA": 100 * (1 - said.accuracy("forget")),
    "RA": 100 * said.accuracy("retain"),
    "TA": 100 * said.accuracy("test"),
  }
  if "test_forget" in said.probs:
    scores["TFA"] = 100 * said.accuracy("test_forget")
  sets = [x for name in ("retain", "test", "forget") for x in (said.probs[name], said.labels[name])]
  kinds = attacks.svc_mia(*sets, seed=seed)
  scores["MIA"] = kinds["confidence"]
  scores |= {f"MIA_{kind}": value for kind, value in kinds.items() if kind != "confidence"}
  held_out = "test_forget" if "test_forget" in said.probs else "test"
  forget, others = (-np.log(np.maximum(said.confidence(name), 1e-30)) for name in ("forget", held_out))
  if min(len(forget), len(others)) >= 10:
    scores["MIA_loss"] = 100 * float(np.mean(attacks.loss_mia(forget, others, seed=seed)))
  return scores


def _gap_scores(said: Predictions, gold: Predictions, scores, against) -> dict[str, float]:
  names = ("UA", "RA", "TA", "MIA")
  fractions = lambda p: [p.accuracy(name) for name in ("forget", "retain", "test")]
  return {
    "gap": float(metrics.average_gap([scores[n] for n in names], [against[n] for n in names])),
    "ToW": 100 * float(metrics.tow(fractions(said), fractions(gold))),
    "activation_distance": float(metrics.activation_distance(said.probs["forget"], gold.probs["forget"])),
    "agreement": 100 * float(np.mean(said.probs["forget"].argmax(-1) == gold.probs["forget"].argmax(-1))),
  }


def weight_distance(a: Any, b: Any) -> float:
  """Euclidean distance of two parameter trees of one structure."""
  if paths(a) != paths(b):
    raise ValueError("the two models have different parameters")
  return float(
    np.sqrt(
      sum(
        np.sum((np.asarray(x, np.float64) - np.asarray(y)) ** 2) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b))
      )
    )
  )
