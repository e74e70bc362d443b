"""Two-layer classifiers by hand, with sites, injections and an optional state, for tests of parts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core.types import EMPTY, Model, Outputs, View


def make_mlp(activation):
  """x -> fc -> activation -> head. A state {"count"} counts training calls."""

  def fn(params, inputs, *, state=(), refs=EMPTY, rng=None, train=False, capture=(), inject=EMPTY):
    del refs, rng
    hidden = {}

    def site(name, value):
      value = inject[name](value) if name in inject else value
      hidden[name] = value
      return value

    x = site("fc:in", inputs["x"])
    h = site("fc", x @ params["fc"]["kernel"] + params["fc"]["bias"])
    h = site("head:in", activation(h))
    logits = site("head", h @ params["head"]["kernel"] + params["head"]["bias"])
    if train and state:
      state = {"count": state["count"] + 1}
    return Outputs(logits, {name: hidden[name] for name in capture}, state)

  return fn


mlp = make_mlp(jax.nn.relu)
tanh_mlp = make_mlp(jnp.tanh)  # the network of the golden figures


def mlp_params(seed=0, sizes=(6, 16, 4), dtype=jnp.float32):
  rng = np.random.default_rng(seed)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape) / np.sqrt(shape[0]), dtype)
  d, width, classes = sizes
  return {
    "fc": {"kernel": draw(d, width), "bias": draw(width)},
    "head": {"kernel": draw(width, classes), "bias": draw(classes)},
  }


def linear(params, inputs, *, capture=(), **_):
  """x -> x @ kernel."""
  return Outputs(inputs["x"] @ params["kernel"], {"kernel:in": inputs["x"]} if capture else {})


def role(x, valid=None, **columns):
  """A role batch of inputs and columns."""
  size = len(x)
  valid = np.ones(size, bool) if valid is None else np.asarray(valid)
  columns = {k: jnp.asarray(v) for k, v in columns.items()}
  return {"inputs": {"x": jnp.asarray(x)}, "id": jnp.arange(size), "valid": jnp.asarray(valid), **columns}


def random_role(seed=1, size=12, d=6, classes=4):
  rng = np.random.default_rng(seed)
  return role(rng.normal(size=(size, d)).astype(np.float32), y=rng.integers(0, classes, size).astype(np.int32))


def view(seed=0, *, refs=None, state=(), progress=0.0):
  return View(jnp.zeros((), jnp.int32), jax.random.key(seed), refs or {}, {}, state, progress)


def run(statistic, model, batches, seed=0):
  """Folds a statistic over role batches, jitted as the library does it."""
  step = jax.jit(statistic.update)
  acc = statistic.init(model)
  for i, batch in enumerate(batches):
    acc = step(acc, model, batch, jax.random.fold_in(jax.random.key(seed), i))
  return statistic.finish(acc)


def batches_of(x, y, size):
  """Role batches in order, the last one padded."""
  found = []
  for start in range(0, len(x), size):
    part, label = np.asarray(x[start : start + size]), np.asarray(y[start : start + size])
    pad = size - len(part)
    rows = np.concatenate([part, np.repeat(part[:1], pad, 0)])
    found.append(role(rows, np.arange(size) < len(part), y=np.concatenate([label, np.repeat(label[:1], pad, 0)])))
  return found


def model_of(params, fn=mlp, state=(), refs=None):
  return Model(params, state, refs or {}, fn)


def from_torch(z, prefix, dtype=jnp.float32):
  """The golden networks `0.weight, 0.bias, 2.weight, 2.bias`: torch keeps kernels as [out, in]."""
  get = lambda name: np.asarray(z[f"{prefix}{name}"])
  layer = lambda i: {"kernel": jnp.asarray(get(f"{i}.weight").T, dtype), "bias": jnp.asarray(get(f"{i}.bias"), dtype)}
  return {"fc": layer(0), "head": layer(2)}
