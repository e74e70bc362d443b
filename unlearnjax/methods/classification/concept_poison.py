"""Concept poisoning: a class loses the spots that define it. Chang et al. 2024 (paper 16)."""

from __future__ import annotations

import jax
import numpy as np
import optax

from unlearnjax import objectives
from unlearnjax.core import (
  Examples,
  Method,
  ModelFn,
  Verbs,
  as_examples,
  check,
  descend,
  fit,
  need_retain,
  plain_init,
  plain_model,
  view_model,
  zip_roles,
)
from unlearnjax.curvature.windows import class_concepts, concept_peaks
from unlearnjax.data.corrupt import generator
from unlearnjax.data.patches import PLACES, part, paste_donors
from unlearnjax.methods.parts import restart, sample

LABELS = ("targeted", "random", "keep")


def concept_poison(
  *,
  place: str = "localised",
  labels: str = "targeted",
  concepts: int = 1,
  samples: int = 2000,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 20,
  batch_size: int = 32,
  site: str = "head:in",
  over: tuple[str, ...] | None = ("head",),
) -> Method:
  """Pastes another class's concept over the spot that defines the class, relabels, and fine-tunes the classifier.

  The concepts are those of the network itself (the paper takes them from CLIP): one linear SVM a class on the features,
  and a sparse linear head W on the margins; those that define class y are the largest entries of W[y]. A concept is
  located by a window that slides over the image, a mean image around it: the peak is the window whose features reach
  furthest along the concept. The donor of concept k is the class that stays with the largest W[., k]; a random image of
  it gives its own window, at the peak of its own concept. Then min CE over R and the poisoned F, shuffled. Batch
  statistics stay: the model runs in eval mode.

  What forgets is the label; the place hardly matters. `labels="keep"` and `place="full"` are the paper's controls.

  Args:
    place: "localised" at the peak, window 2/7 of the side; "center" and "random", the donor's centre, 3/7; "full", the
      whole donor shrunk to 5/7; "none".
    labels: "targeted" (that of the donor), "random" (uniform over all classes, the true one included), "keep".
    concepts: how many of the class's concepts are pasted over, each by its own donor; 10 is known to fail.
    samples: examples that the concepts are learnt from.
    tx: optimizer; SGD 0.001 with momentum 0.9 by default.
    epochs: passes over the union.
    batch_size: rows of a step.
    site: features, f[B, d].
    over: path of the weights that are trained, the classifying layer by default; None for all.

  Raises:
    ValueError: an unknown place or label, a request that does not forget whole classes, without a retain set, or whose
      sets are not selections of one table; inputs that are not images.

  Example:
    >>> concept_poison(place="none").name
    'concept_poison'
  """
  check.one_of("place", place, PLACES)
  check.one_of("labels", labels, LABELS)
  check.positive("concepts", concepts)
  tx = optax.sgd(1e-3, momentum=0.9) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    step = descend({"train": objectives.cross_entropy(fn, train=False)}, tx, over=over)

    def forget(state, refs, request, run):
      if not request.classes:
        raise ValueError("concept_poison forgets whole classes only, and the request names none in request.classes")
      gone, kept = as_examples(request.forget), as_examples(need_retain("concept_poison", request))
      model, rng = view_model(fn, state), generator(jax.random.fold_in(state.rng, 1))
      if gone.columns["x"].ndim != 4:
        raise ValueError(f"concept_poison needs images x[n, H, W, channels], got shape {gone.columns['x'].shape}")

      def poisoned():
        learnt_from = sample(gone + kept, min(1.0, samples / len(gone + kept)), jax.random.fold_in(state.rng, 2))
        vectors, head = class_concepts(model, learnt_from, run, site=site)
        original, y, fill = gone.column("x"), gone.column("y"), kept.column("x").mean(0)
        size, stride = part(min(fill.shape[:2]), 2), max(1, round(min(fill.shape[:2]) / 14))

        def peaks(images, concept):
          if place != "localised":
            return None
          return concept_peaks(model, images, vectors[concept], fill, run, size=size, stride=stride, site=site)

        labels_kept = kept.column("y")
        staying = np.isin(np.arange(len(head)), labels_kept) & ~np.isin(np.arange(len(head)), request.classes)
        ranked, x, donor_of = np.argsort(-head, axis=1), original, []
        for turn in range(concepts):
          concept = ranked[y, turn]
          donor = np.argmax(np.where(staying, head.T[concept], -np.inf), axis=1)
          donors = kept.column("x")[[rng.choice(np.flatnonzero(labels_kept == d)) for d in donor]]
          at, donor_at = peaks(original, concept), peaks(donors, ranked[donor, 0])
          x = paste_donors(x, donors, place, at=at, donor_at=donor_at, rng=rng)
          donor_of.append(donor)
        target = {"targeted": donor_of[0], "random": rng.integers(len(head), size=len(y)), "keep": y}[labels]
        return {"x": x, "y": target.astype(np.int32)}

      found = {k: np.asarray(v) for k, v in run.once("poison", poisoned).items()}
      union = Examples(gone.replace(**found).columns, (gone + kept).rows)
      plan = zip_roles(train=union, batch_size=batch_size, epochs=epochs)
      return fit(step, restart(state, step), plan, refs, run)[0], refs

    return Verbs(plain_init(step), plain_model(fn), forget=forget)

  return Method("concept_poison", bind)
