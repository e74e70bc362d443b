"""K-FAC: the curvature of dense and convolution layers as a Kronecker product of what goes in and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from unlearnjax import losses
from unlearnjax.core import check
from unlearnjax.core.tree import get_path, paths, set_path
from unlearnjax.core.types import Array, ArrayTree, ModelFn, Params, Statistic
from unlearnjax.curvature.inputs import unfold
from unlearnjax.objectives.bind import column

KINDS = ("expected", "per_sample", "model_sampled")
FORMS = ("exact", "pi", "even")
Windows = Mapping[str, tuple[tuple[int, int], str]]


def kfac_factors(
  fn: ModelFn,
  layers: Sequence[str],
  *,
  loss: Callable[[Array, Array], Array] = losses.cross_entropy,
  kind: str = "expected",
  target: str = "y",
  windows: Windows | None = None,
) -> Statistic:
  """The two factors of every layer's block of the Gauss-Newton or Fisher matrix, one forward pass and few backwards.

  Block ~ A (x) G with A = mean_i sum_t a a^T over what the layer sees at its T places, a one appended where it has a
  bias, and G = mean_i (1 / T) sum_t g g^T over the gradients of its outputs (Martens & Grosse, arXiv:1503.05671; Grosse
  & Martens, arXiv:1602.01407 for convolutions). Exact for one place and either a single example or a linear model whose
  loss has a constant Hessian. The model runs in eval mode, where rows do not see each other.

  Args:
    fn: the model. "fc:in" and "fc" must be sites of layer "fc" (its input and output), to read and to rewrite.
    layers: paths of layers with a `kernel` [in, out] or [height, width, in, out], and perhaps a `bias`.
    loss: `(outputs, targets) -> f[B]` of outputs f[B, C], convex in them for "expected".
    kind: which outputs' gradients: "expected" those whose second moment is the Hessian of the loss in the outputs, so
      that A (x) G approximates the Gauss-Newton matrix, at C backward passes; "per_sample" those of the loss itself,
      the empirical Fisher; "model_sampled" those with labels drawn from the softmax of the outputs, for classifiers.
    target: column of targets.
    windows: {layer: (strides, padding)} of convolutions; ((1, 1), "SAME") where missing.

  Returns:
    a Statistic whose result is {layer: {"inputs": A f[a, a], "outputs": G f[g, g]}}, float32 or wider.

  Raises:
    ValueError: no layers, an unknown kind, a layer without such a kernel or with further parameters, or outputs that
      are not [B, C].

  Example:
    >>> from unlearnjax.core.types import Model, Outputs
    >>> def fn(params, inputs, *, inject={}, capture=(), **_):
    ...   out = inject.get("fc", lambda h: h)(inputs["x"] @ params["fc"]["kernel"])
    ...   return Outputs(out, {"fc:in": inputs["x"], "fc": out})
    >>> statistic = kfac_factors(fn, ["fc"], loss=losses.squared_error)
    >>> model = Model({"fc": {"kernel": jnp.ones((1, 1))}})
    >>> batch = {"inputs": {"x": jnp.array([[3.0]])}, "y": jnp.zeros(1), "valid": jnp.ones(1, bool)}
    >>> found = statistic.finish(statistic.update(statistic.init(model), model, batch, jax.random.key(0)))["fc"]
    >>> float(found["inputs"][0, 0]), round(float(found["outputs"][0, 0]), 4)
    (9.0, 2.0)
  """
  check.one_of("kind", kind, KINDS)
  layers, windows = tuple(layers), dict(windows or {})
  if not layers:
    raise ValueError("layers is empty: name the layers whose factors are wanted, e.g. ('fc', 'head')")

  def init(model):
    zeros = {}
    for layer in layers:
      kernel, bias = _layer(model.params, layer)
      dtype = jnp.promote_types(kernel.dtype, jnp.float32)
      a, g = kernel.size // kernel.shape[-1] + (bias is not None), kernel.shape[-1]
      zeros[layer] = {"inputs": jnp.zeros((a, a), dtype), "outputs": jnp.zeros((g, g), dtype)}
    return {"factors": zeros, "count": jnp.zeros((), float)}

  def update(acc, model, batch, rng):
    valid = jnp.asarray(batch["valid"], bool)
    sites = tuple(f"{layer}:in" for layer in layers) + layers
    run = lambda **taps: fn(model.params, batch["inputs"], state=model.state, refs=model.refs, train=False, **taps)
    hidden = run(capture=sites).hidden
    shifts = {layer: jnp.zeros_like(hidden[layer]) for layer in layers}
    shifted = lambda s: run(inject={layer: (lambda h, d=d: h + d) for layer, d in s.items()}).logits
    logits, pull = jax.vjp(shifted, shifts)
    losses.shapes.batched("the outputs", logits, "B, C")

    def of_slope(slope):
      back = pull(jnp.where(valid[:, None], slope, 0).astype(logits.dtype))[0]
      return {layer: _second_moment(g, average=True) for layer, g in back.items()}

    outputs = _fold_slopes(kind, loss, losses.shapes.at_least_f32(logits), column(batch, target), rng, of_slope)
    found = {}
    for layer in layers:
      seen = _seen(hidden[f"{layer}:in"], *_layer(model.params, layer), *windows.get(layer, ((1, 1), "SAME")), layer)
      inputs = _second_moment(jnp.where(valid.reshape(-1, *[1] * (seen.ndim - 1)), seen, 0))
      found[layer] = {"inputs": inputs, "outputs": outputs[layer]}
    total = jax.tree.map(lambda t, x: t + x.astype(t.dtype), acc["factors"], found)
    return {"factors": total, "count": acc["count"] + valid.sum()}

  def finish(acc):
    return jax.tree.map(lambda t: t / jnp.maximum(acc["count"], 1).astype(t.dtype), acc["factors"])

  return Statistic(init, update, finish, backward=1)


def kfac(
  factors: Mapping[str, Mapping[str, Array]],
  vector: ArrayTree,
  *,
  damping: float | Array,
  form: str = "exact",
  rest: str = "error",
) -> ArrayTree:
  """(A (x) G + damping I)^-1 v, a layer at a time.

  Args:
    factors: from `kfac_factors`.
    vector: tree like the parameters.
    damping: > 0.
    form: "exact" solves with the damped Kronecker product through the eigenvectors of its factors; "pi" and "even" add
      sqrt(damping) times pi to A and over pi to G, which is cheaper and also adds cross terms: pi^2 = (tr A / a) /
      (tr G / g) balances the two (arXiv:1503.05671, section 6.3), "even" takes pi = 1.
    rest: leaves without factors: "error", "damping" divides them by the damping, as if they had no curvature, and
      "keep" leaves them alone.

  Returns:
    a tree like `vector`, float32 or wider.

  Raises:
    ValueError: an unknown form, damping <= 0, factors that do not fit, or leaves without factors.

  Example:
    >>> factors = {"fc": {"inputs": jnp.eye(2), "outputs": 3 * jnp.eye(1)}}
    >>> kfac(factors, {"fc": {"kernel": jnp.array([[4.0], [8.0]])}}, damping=1.0)["fc"]["kernel"].ravel().tolist()
    [1.0, 2.0]
  """
  check.one_of("form", form, FORMS)
  if not isinstance(damping, jax.Array):
    check.positive("damping", damping)

  def solve(pair, v):
    a, g = pair["inputs"], pair["outputs"]
    if form == "exact":
      (la, qa), (lg, qg) = jnp.linalg.eigh(a), jnp.linalg.eigh(g)
      curve = jnp.maximum(la, 0)[:, None] * jnp.maximum(lg, 0)[None, :]
      return _mm(_mm(qa, _mm(_mm(qa.T, v), qg) / (curve + damping)), qg.T)
    means = jnp.trace(a) / len(a), jnp.trace(g) / len(g)
    balance = jnp.sqrt(jnp.where((means[0] > 0) & (means[1] > 0), means[0] / jnp.where(means[1] > 0, means[1], 1), 1))
    pi, root = balance if form == "pi" else 1.0, jnp.sqrt(damping)
    shifted = lambda m, by: m + by * jnp.eye(len(m), dtype=m.dtype)
    half = jax.scipy.linalg.solve(shifted(a, root * pi), v, assume_a="pos")
    return jax.scipy.linalg.solve(shifted(g, root / pi), half.T, assume_a="pos").T

  return _by_layer(factors, vector, solve, rest, 1 / damping)


def kfac_vp(factors: Mapping[str, Mapping[str, Array]], vector: ArrayTree, *, rest: str = "error") -> ArrayTree:
  """(A (x) G) v, a layer at a time: the approximation that `kfac` inverts.

  Args:
    factors: from `kfac_factors`.
    vector: tree like the parameters.
    rest: leaves without factors: "error", "damping" gives zeros (they have no curvature), "keep" leaves them alone.

  Example:
    >>> factors = {"fc": {"inputs": jnp.eye(2), "outputs": 3 * jnp.eye(1)}}
    >>> kfac_vp(factors, {"fc": {"kernel": jnp.array([[1.0], [2.0]])}})["fc"]["kernel"].ravel().tolist()
    [3.0, 6.0]
  """
  return _by_layer(factors, vector, lambda pair, v: _mm(_mm(pair["inputs"], v), pair["outputs"]), rest, 0.0)


def _by_layer(factors, vector, f, rest, others) -> ArrayTree:
  check.one_of("rest", rest, ("error", "damping", "keep"))
  known = {f"{layer}/{name}" for layer in factors for name in ("kernel", "bias")}
  left = [path for path in paths(vector) if path not in known]
  if left and rest == "error":
    raise ValueError(f"there are no factors for {left}; give their layers to kfac_factors, or say rest=")
  factor = others if rest == "damping" else 1.0
  wide = lambda v: v.astype(jnp.promote_types(v.dtype, jnp.float32))
  found = jax.tree.map(lambda v: factor * wide(v), vector)
  for layer, pair in factors.items():
    kernel, bias = _layer(vector, layer)
    matrix = wide(kernel).reshape(-1, kernel.shape[-1])
    matrix = matrix if bias is None else jnp.concatenate([matrix, wide(bias)[None]])
    if matrix.shape != (len(pair["inputs"]), len(pair["outputs"])):
      raise ValueError(
        f"the factors of {layer!r} are of {len(pair['inputs'])} x {len(pair['outputs'])} weights, "
        f"vector has {matrix.shape[0]} x {matrix.shape[1]}"
      )
    matrix = f(pair, matrix)
    new = {"kernel": matrix[: len(matrix) - (bias is not None)].reshape(kernel.shape)}
    new = new if bias is None else {**new, "bias": matrix[-1]}
    found = set_path(found, tuple(layer.split("/")), new)
  return found


def _layer(tree: Params, layer: str) -> tuple[Array, Array | None]:
  """(kernel, bias or None)."""
  try:
    part = get_path(tree, tuple(layer.split("/")))
    kernel = part["kernel"]
  except (ValueError, TypeError, KeyError) as e:
    raise ValueError(f"{layer!r} is no layer with a kernel") from e
  more = sorted(part.keys() - {"kernel", "bias"})
  if more or kernel.ndim not in (2, 4):
    raise ValueError(
      f"layer {layer!r} must hold a kernel [in, out] or [height, width, in, out] and perhaps a bias; its kernel has "
      f"shape {kernel.shape}, and there are also {more}"
    )
  return kernel, part.get("bias")


def _seen(x: Array, kernel: Array, bias: Array | None, strides: Any, padding: str, layer: str) -> Array:
  """What a layer multiplies its weights with: f[B, ..., a], windows of images, a one for the bias."""
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  x = unfold(x, kernel.shape[:2], strides, padding) if kernel.ndim == 4 else x
  if x.shape[-1] != kernel.size // kernel.shape[-1]:
    raise ValueError(
      f"layer {layer!r} sees {x.shape[-1]} numbers at a place, its kernel has shape {kernel.shape}; "
      "grouped convolutions are not supported"
    )
  return x if bias is None else jnp.concatenate([x, jnp.ones((*x.shape[:-1], 1), x.dtype)], axis=-1)


def _second_moment(x: Array, average: bool = False) -> Array:
  """sum_i sum_t x x^T of f[B, ..., d], or with the mean over places t."""
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  places = tuple(range(x.ndim - 1))
  moment = jax.lax.dot_general(x, x, ((places, places), ((), ())), precision="highest")
  return moment / (x.size // (x.shape[0] * x.shape[-1])) if average else moment


def _fold_slopes(kind, loss, logits, targets, rng, of_slope):
  """Sum of `of_slope` over gradients of the loss in the outputs, f[B, C] each."""
  if kind == "expected":
    hessian = jax.vmap(jax.hessian(lambda z, t: loss(z[None], t[None])[0]))(logits, targets)
    values, vectors = jnp.linalg.eigh(hessian)
    roots = vectors * jnp.sqrt(jnp.maximum(values, 0))[:, None, :]  # R R^T is the Hessian
    found = jax.lax.map(of_slope, jnp.moveaxis(roots, -1, 0))
    return jax.tree.map(lambda x: x.sum(0), found)
  if kind == "model_sampled":
    targets, loss = jax.random.categorical(rng, logits), losses.cross_entropy
  return of_slope(jax.grad(lambda z: jnp.sum(loss(z, targets)))(logits))


def _mm(a: Array, b: Array) -> Array:
  return jnp.matmul(a, b, precision="highest")
