"""A loss that is a network."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import Array, ModelFn, Objective, Params
from unlearnjax.objectives.bind import column, forward, mean, ref


def init_dense_loss(key: Array, size: int, width: int = 512) -> Params:
  """Weights of `dense_loss` for inputs f[B, size].

  Example:
    >>> sorted(init_dense_loss(jax.random.key(0), 3, 8))
    ['first', 'norm', 'out', 'out_norm', 'second']
  """
  a, b, c = jax.random.split(key, 3)

  def dense(key, rows, columns):
    return {"kernel": jax.random.normal(key, (rows, columns)) / jnp.sqrt(rows), "bias": jnp.zeros(columns)}

  norm = lambda: {"scale": jnp.ones(width), "bias": jnp.zeros(width)}
  layers = {"first": dense(a, size, width), "second": dense(b, width, width), "out": dense(c, width, 1)}
  return {**layers, "norm": norm(), "out_norm": norm()}


def dense_loss(params: Params, x: Array, *, dropout: float = 0.0, rng: Array | None = None) -> Array:
  """Linear, LayerNorm, Linear, GELU, Dropout, LayerNorm, Linear, Softplus: a number > 0 for every row.

  Args:
    params: of `init_dense_loss`.
    x: f[B, size].
    dropout: fraction of hidden units that are dropped, in [0, 1); 0 needs no rng.
    rng: a typed key.

  Example:
    >>> x = jnp.ones((2, 3))
    >>> bool((dense_loss(init_dense_loss(jax.random.key(0), 3, 8), x) > 0).all())
    True
  """
  layer = lambda name, h: h @ params[name]["kernel"] + params[name]["bias"]
  h = jax.nn.gelu(layer("second", _normalised(layer("first", x), params["norm"])))
  if dropout:
    kept = jax.random.bernoulli(rng, 1 - dropout, h.shape)
    h = jnp.where(kept, h / (1 - dropout), 0)
  return jax.nn.softplus(layer("out", _normalised(h, params["out_norm"])))[:, 0]


def learned_loss(
  fn: ModelFn,
  describe: Callable[[Array], Array],
  *,
  site: str = "head:in",
  reference: str = "meta",
  identity: str | None = None,
  dropout: float = 0.0,
  target: str = "y",
) -> Objective:
  """Mean over valid rows of h_w([describe(logits), features, identity embedding, target]), the model in eval mode.

  De Min et al., arXiv:2407.12069. w = refs[reference] = {"net": of `init_dense_loss`, "identity": f[I, e], where used}.

  Args:
    fn: the model.
    describe: logits -> f[B, C], e.g. `jax.nn.softmax`.
    site: features, f[B, d].
    reference: name of w in refs.
    identity: column of int identities in [0, I), whose embeddings are read; None for none.
    dropout: of h, drawn from `view.rng`.
    target: column of labels, int[B], or of attributes, f[B, C].
  """

  def objective(params, batch, view):
    out, w = forward(fn, params, batch, view, train=False, capture=(site,)), ref(view, reference)
    labels = column(batch, target)
    if jnp.issubdtype(labels.dtype, jnp.integer) and labels.ndim == 1:
      labels = jax.nn.one_hot(labels, out.logits.shape[-1])
    hidden = out.hidden[site]
    parts = [describe(out.logits), hidden.reshape(len(hidden), -1), labels]
    if identity is not None:
      parts.append(w["identity"][column(batch, identity)])
    rows = jnp.concatenate([p.astype(jnp.float32) for p in parts], axis=-1)
    return mean(dense_loss(w["net"], rows, dropout=dropout, rng=fold_name(view.rng, "dropout")), batch)

  return objective


def _normalised(x: Array, params: Params) -> Array:
  centred = x - x.mean(-1, keepdims=True)
  scaled = centred / jnp.sqrt(jnp.mean(jnp.square(centred), -1, keepdims=True) + 1e-6)
  return scaled * params["scale"] + params["bias"]
