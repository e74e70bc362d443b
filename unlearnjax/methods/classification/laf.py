"""LAF: label-agnostic forgetting. Shen et al., ICLR 2024, arXiv:2404.00506 (paper 3)."""

from __future__ import annotations

import functools

import jax
import optax

from unlearnjax import objectives
from unlearnjax.core import (
  Examples,
  Method,
  ModelFn,
  UnlearnState,
  Verbs,
  as_examples,
  check,
  descend,
  fit,
  need_retain,
  outputs,
  plain_init,
  plain_model,
  sequence,
  view_model,
  zip_roles,
)
from unlearnjax.curvature.classes import site_width
from unlearnjax.methods.parts import restart, teacher
from unlearnjax.models.autoencoder import autoencode, init_autoencoder


def laf(
  *,
  repair: bool = False,
  temperature: float = 20.0,
  extract_tx: optax.GradientTransformation | None = None,
  align_tx: optax.GradientTransformation | None = None,
  epochs: int = 20,
  batch_size: int = 32,
  latent: int = 8,
  kl_weight: float = 0.025,
  vae_epochs: int = 10,
  vae_tx: optax.GradientTransformation | None = None,
  sigmoid: bool = False,
  repair_tx: optax.GradientTransformation | None = None,
  site: str = "head:in",
) -> Method:
  """Forgets without labels: features of F leave what a VAE of F models, features of R stay.

  VAEs h of all features of the original model and h_f of those of F minimise |h(e) - e|^2 + 0.025 KL. Then, for every
  pair of batches, two Adam steps: L_UE = sum_R exp(m / (m + 1)) - sum_F exp(m_f / (m_f + 1)) with m = |h(e) - e|^2, and
  L_RA = sum_R log(exp(c) / sum_F exp(c_f / T)) with c the cosine distance to the original's features. A pass is as many
  pairs as the smaller set has batches. Losses are sums, so step sizes belong to the batch size. No label is read unless
  `repair` asks for LAF+R: cross entropy on R for the classifying layer, as many batches as F has. That layer does not
  move otherwise. Models with batch statistics run in eval mode throughout.

  Args:
    repair: adds the supervised repair.
    temperature: T > 0; 20, but 5 for random examples of grey images and for noisy labels of colour images.
    extract_tx, align_tx: Adam 5e-5 and 1e-4 by default; for a ResNet-18 on colour images 1e-5 and 4e-5.
    epochs: passes; 40 for a ResNet-18.
    batch_size: rows of each role, and of the VAEs' batches.
    latent: size of the VAEs' code; 16 for colour images.
    kl_weight: of the VAEs, >= 0.
    vae_epochs: passes of the VAEs.
    vae_tx: Adam 1e-3 by default.
    sigmoid: ends the decoders in a sigmoid as the reference implementation does, although features are not bounded.
    repair_tx: Adam 1e-4 by default.
    site: features, f[B, d]: the input of the classifying layer.

  Raises:
    ValueError: temperature <= 0, or a request without a retain set.

  Example:
    >>> laf(repair=True).name
    'laf'
  """
  check.positive("temperature", temperature)
  vae_tx, repair_tx = vae_tx or optax.adam(1e-3), repair_tx or optax.adam(1e-4)
  head = tuple(site.partition(":")[0].split("/"))

  def bind(fn: ModelFn) -> Verbs:
    coder = functools.partial(autoencode, sigmoid=sigmoid)
    learn = objectives.feature_vae(fn, coder, site=site, kl_weight=kl_weight, cached="features")
    code = descend({"features": learn}, vae_tx, name="vae")
    leave = objectives.extraction(fn, coder, site=site)
    follow = objectives.alignment(fn, retain_size=batch_size, site=site, temperature=temperature)
    step = sequence(
      descend(leave, extract_tx or optax.adam(5e-5), name="ue"),
      descend(follow, align_tx or optax.adam(1e-4), name="ra"),
    )
    mend = descend({"retain": objectives.cross_entropy(fn, train=False)}, repair_tx, over=head, name="repair")

    def vae_of(model, source, capacity, key, run, name):
      features = outputs(model, source, run, capture=(site,), name=f"{name}_features")[site]
      begin, key = jax.random.split(key)
      start = UnlearnState.create(init_autoencoder(begin, features.shape[1], latent), rng=key)
      table = Examples({"features": features})
      plan = zip_roles(features=table, batch_size=batch_size, epochs=vae_epochs, capacity=capacity)
      return fit(code, code.init(start), plan, run=run, name=name)[0].params

    def forget(state, refs, request, run):
      gone, kept = as_examples(request.forget), as_examples(need_retain("laf", request))
      model, keys = view_model(fn, state), jax.random.split(jax.random.fold_in(state.rng, 1))
      everything = gone + kept
      refs = {
        "teacher": teacher(state),
        "vae": vae_of(model, everything, len(everything), keys[0], run, "vae"),
        "vae_forget": vae_of(model, gone, len(everything), keys[1], run, "vae_forget"),
      }
      anchor = "forget" if len(gone) <= len(kept) else "retain"
      plan = zip_roles(anchor=anchor, batch_size=batch_size, epochs=epochs, forget=gone, retain=kept)
      state, _ = fit(step, restart(state, step, mend), plan, refs, run)
      if repair:
        batches = (("repair", -(-len(gone) // batch_size), ("retain",)),)
        plan = zip_roles(cycle=batches, batch_size=batch_size, retain=kept)
        state, _ = fit(mend, state, plan, refs, run, name="repair")
      return state, refs

    def empty(model, key):
      vaes = (init_autoencoder(k, site_width(model, site), latent) for k in jax.random.split(key))
      return {"teacher": teacher(model), **dict(zip(("vae", "vae_forget"), vaes))}

    return Verbs(plain_init(step, mend, refs=empty), plain_model(fn), forget=forget)

  return Method("laf", bind)
