"""Label-agnostic forgetting: no objective here reads a label. Shen et al., ICLR 2024, arXiv:2404.00506.

The paper sums over batches, so its learning rates belong to its batch size; sums report no weight and cannot be
microbatched. Both pairs of objectives run the model in eval mode, as the reference implementation does.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from unlearnjax import losses
from unlearnjax.core import check
from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import Array, ModelFn, Objective, Params
from unlearnjax.objectives.bind import column, forward, frozen, mean, ref, total

Autoencoder = Callable[[Params, Array, Array], tuple[Array, Array, Array]]
"""`(params, features f[B, d], key) -> (reconstruction f[B, d], latent mean f[B, k], latent log-variance f[B, k])`."""


def feature_vae(
  fn: ModelFn,
  autoencode: Autoencoder,
  *,
  site: str = "head:in",
  reference: str = "teacher",
  kl_weight: float = 0.025,
  cached: str | None = None,
) -> Objective:
  """Trains a VAE on features of a frozen model: mean of `losses.vae` over valid rows. Its params are the VAE's.

  Args:
    fn: the classifier.
    autoencode: the VAE.
    site: activation f[B, d] that serves as features.
    reference: the original model's name in refs.
    kl_weight: >= 0.
    cached: column with the features, to be used instead of running the model.
  """
  check.positive("kl_weight", kl_weight, zero=True)

  def objective(params, batch, view):
    if cached is None:
      features = frozen(fn, batch, view, reference, capture=(site,)).hidden[site]
    else:
      features = column(batch, cached)
    out, latent_mean, log_variance = autoencode(params, features, fold_name(view.rng, "latent"))
    return mean(losses.vae(out, features, latent_mean, log_variance, kl_weight), batch)

  return objective


def extraction(
  fn: ModelFn,
  autoencode: Autoencoder,
  *,
  site: str = "head:in",
  retain: str = "vae",
  forget: str = "vae_forget",
) -> dict[str, Objective]:
  """Keeps retained features well reconstructed by one VAE, drives forgotten ones away from what another models.

  L = sum_retain exp(m / (m + 1)) - sum_forget exp(m' / (m' + 1)), m = |h(e) - e|^2. The VAEs are frozen, gradients
  flow through them.

  Args:
    fn: the classifier; only the layers below `site` receive a gradient.
    autoencode: the VAE.
    site: activation f[B, d] that serves as features.
    retain: name in refs of the parameters of the VAE of all data.
    forget: name in refs of the parameters of the VAE of the forget set.

  Returns:
    {"retain": objective, "forget": objective}.
  """

  def side(name: str, sign: float) -> Objective:
    def objective(params, batch, view):
      features = forward(fn, params, batch, view, train=False, capture=(site,)).hidden[site]
      out = autoencode(ref(view, name), features, fold_name(view.rng, "latent"))[0]
      value, aux = total(losses.bounded_reconstruction(out, features), batch)
      return sign * value, aux

    return objective

  return {"retain": side(retain, 1.0), "forget": side(forget, -1.0)}


def alignment(
  fn: ModelFn,
  *,
  retain_size: int,
  site: str = "head:in",
  temperature: float = 20.0,
  reference: str = "teacher",
) -> dict[str, Objective]:
  """Pulls retained features to the teacher's and pushes forgotten ones away.

  sum_i log(exp(c_i) / sum_j exp(c'_j / T)) = sum_i c_i - R logsumexp_j(c'_j / T), c the cosine distance to the
  teacher's features: it splits over the roles.

  Args:
    fn: the classifier; only the layers below `site` receive a gradient.
    retain_size: R, rows of a retain batch.
    site: activation f[B, d] that serves as features.
    temperature: T > 0.
    reference: the original model's name in refs.

  Returns:
    {"retain": objective, "forget": objective}.
  """
  check.positive("retain_size", retain_size)
  check.positive("temperature", temperature)

  def distance(params, batch, view) -> Array:
    now = forward(fn, params, batch, view, train=False, capture=(site,)).hidden[site]
    return losses.cosine_distance(now, frozen(fn, batch, view, reference, capture=(site,)).hidden[site])

  def retain(params, batch, view):
    return total(distance(params, batch, view), batch)

  def forget(params, batch, view):
    valid = batch.get("valid")
    apart = losses.contrastive_alignment(jnp.zeros(1), distance(params, batch, view), temperature, valid)[0]
    if valid is not None:
      apart = jnp.where(jnp.any(valid), apart, 0.0)
    return retain_size * apart, {}

  return {"retain": retain, "forget": forget}
