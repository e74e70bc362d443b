"""JiT: just-in-time forgetting by Lipschitz smoothing. Foster et al. 2024, arXiv:2402.01401."""

from __future__ import annotations

import optax

from unlearnjax import objectives
from unlearnjax.core import Method, ModelFn, Verbs, check, descend, fit, plain_init, plain_model, zip_roles
from unlearnjax.methods.arguments import clip_range
from unlearnjax.methods.parts import restart


def jit_lipschitz(
  *,
  sigma: float = 0.01,
  samples: int = 25,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 128,
  value_range: tuple[float, float] | None = (0.0, 1.0),
) -> Method:
  """Flattens the model around the forget examples, so that it no longer singles them out. Needs no retain set.

  theta <- theta - tx(grad sum_b mean_k |f(x_b) - f(x_bk)| / |x_b - x_bk|), x_bk = clip(x_b + sigma N(0, I)); the noisy
  branch has no gradient. The model runs in eval mode, both branches alike.

  Args:
    sigma: standard deviation of the noise in the units of the input, > 0. Published values reach from .01 (residual
      networks) through .5 (VGG, whole classes) to 30 (one-shot ViT).
    samples: noisy copies of each example.
    tx: plain SGD 0.01 by default. The loss is a sum over the batch, so the learning rate belongs to `batch_size`.
      Published code never clears its gradients between batches: that is `optax.sgd(lr, momentum=1.0)`.
    epochs: passes over the forget set; the paper makes one.
    batch_size: forget rows of a step.
    value_range: (low, high) that noisy inputs are clipped to, e.g. `pixels.value_range`; None does not clip.

  Raises:
    ValueError: sigma <= 0, fewer than one sample, or an empty range.

  Example:
    >>> jit_lipschitz(sigma=0.5).name
    'jit_lipschitz'
  """
  check.positive("sigma", sigma)
  check.positive("samples", samples)
  low, high = clip_range(value_range)
  tx = optax.sgd(0.01) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    smooth = objectives.lipschitz(fn, sigma=sigma, samples=samples, low=low, high=high, train=False)
    step = descend({"forget": smooth}, tx)

    def forget(state, refs, request, run):
      plan = zip_roles(forget=request.forget, batch_size=batch_size, epochs=epochs)
      return fit(step, restart(state, step), plan, refs, run)[0], refs

    return Verbs(plain_init(step), plain_model(fn), forget=forget)

  return Method("jit_lipschitz", bind)
