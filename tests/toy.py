"""A two-layer classifier by hand and a small table of examples: the smallest thing that everything runs on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core import Examples, Model, Outputs


class ToyFn:
  """tanh network [4 -> 8 -> classes] as a ModelFn."""

  def __init__(self, classes: int = 3):
    self.classes = classes

  def __call__(self, params, inputs, *, state=(), refs=None, rng=None, train=False, capture=(), inject=None):
    h = jnp.tanh(inputs["x"] @ params["body"]["kernel"] + params["body"]["bias"])
    h = (inject or {}).get("head:in", lambda z: z)(h)
    hidden = {site: {"head:in": h, "body:in": inputs["x"]}[site] for site in capture}
    return Outputs(h @ params["head"]["kernel"] + params["head"]["bias"], hidden, state)

  def init(self, key):
    a, b = jax.random.split(key)
    params = {
      "body": {"kernel": jax.random.normal(a, (4, 8)) / 2, "bias": jnp.zeros(8)},
      "head": {"kernel": jax.random.normal(b, (8, self.classes)) / 3, "bias": jnp.zeros(self.classes)},
    }
    return Model(params, fn=self)


TOY = ToyFn()


def toy_data(size: int = 60, seed: int = 0, classes: int = 3) -> Examples:
  """Gaussian blobs in four dimensions."""
  rng = np.random.default_rng(seed)
  y = np.arange(size) % classes
  centers = 2 * np.eye(4)[:classes]
  return Examples({"x": (centers[y] + rng.normal(size=(size, 4))).astype(np.float32), "y": y.astype(np.int32)})


def toy_xent(fn=TOY):
  """Cross entropy as an objective, written out."""

  def objective(params, batch, view):
    out = fn(params, batch["inputs"], state=view.model_state, train=True)
    nll = -jnp.take_along_axis(jax.nn.log_softmax(out.logits), batch["y"][:, None], 1)[:, 0]
    weight = batch["valid"].sum()
    return jnp.sum(nll * batch["valid"]) / jnp.maximum(weight, 1), {"weight": weight}

  return objective


def plain_weighted(**coefficients):
  """A linear combiner, independent of the package's own."""
  from unlearnjax.core import Combiner

  def weights(state, roles):
    return {r: coefficients.get(r, 1.0) for r in roles}

  def update(grads, state, params, *, values=None, view=None, valid=None):
    w = weights(state, tuple(grads))
    return jax.tree.map(lambda *g: sum(c * x for c, x in zip(w.values(), g)), *grads.values()), state

  return Combiner(lambda params: (), update, weights)
