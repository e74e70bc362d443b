"""SSD: selective synaptic dampening. Foster et al., AAAI 2024, arXiv:2308.07707 (baseline B13)."""

from __future__ import annotations

from unlearnjax import curvature, edits, objectives
from unlearnjax.core import (
  Method,
  ModelFn,
  Verbs,
  as_examples,
  check,
  fold,
  need_retain,
  plain_init,
  plain_model,
  view_model,
)


def ssd(*, alpha: float = 10.0, lam: float = 1.0, kind: str = "batch_mean", batch_size: int = 64) -> Method:
  """Dampens the weights that matter much more to the forget set than to all data. No training.

  I = mean over batches of (gradient of the batch mean)^2, in eval mode, once over D = R + F and once over F;
  where I_F > alpha I_D: theta <- min(lam I_D / I_F, 1) theta. All parameters take part, biases and norms too.

  D is read as R and then F, in order. Batches of the forget set alone have larger squared means, and a forget set
  smaller than one batch larger ones still: `batch_size` is part of the method, not a matter of memory.

  Args:
    alpha: how much more a weight must matter, > 0; inf changes nothing. The default belongs to a ResNet-18 (5 or 25 to
      a ViT, 50 with lam 0.1 to faces); small networks need less.
    lam: > 0; smaller dampens more.
    kind: the importance, one of `curvature.fisher.KINDS`; the text of the paper means "per_sample", its code and
      figures "batch_mean".
    batch_size: rows of a batch.

  Raises:
    ValueError: alpha, lam or batch_size <= 0, an unknown kind, or a request without a retain set.

  Example:
    >>> ssd(alpha=5.0).name
    'ssd'
  """
  check.positive("alpha", alpha)
  check.positive("lam", lam)
  check.positive("batch_size", batch_size)
  check.one_of("kind", kind, curvature.fisher.KINDS)

  def bind(fn: ModelFn) -> Verbs:
    of_loss = kind in ("per_sample", "batch_mean")
    of = objectives.cross_entropy(fn, train=False) if of_loss else fn
    importance = curvature.fisher_diag(of, kind=kind, batch_size=batch_size)

    def forget(state, refs, request, run):
      gone = as_examples(request.forget)
      everything = as_examples(need_retain("ssd", request)) + gone
      model = view_model(fn, state)

      def dampened():
        i_all = fold(importance, model, everything, run, name="importance_all", rng=state.rng)
        i_forget = fold(importance, model, gone, run, name="importance_forget", rng=state.rng)
        return edits.ssd(state.params, i_all, i_forget, alpha=alpha, lam=lam)

      return state.replace(params=run.once("dampened", dampened)), refs

    return Verbs(plain_init(), plain_model(fn), forget=forget)

  return Method("ssd", bind)
