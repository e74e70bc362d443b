"""L-CODEC: deep unlearning via randomized conditionally independent Hessians. Mehta et al., CVPR 2022 (paper 24)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from unlearnjax import curvature, losses, objectives
from unlearnjax.core import (
  Method,
  ModelFn,
  Transform,
  Verbs,
  as_examples,
  check,
  fit,
  need_retain,
  plain_init,
  plain_model,
  zip_roles,
)
from unlearnjax.core.tree import all_finite, fold_name
from unlearnjax.core.types import Array, View
from unlearnjax.curvature import trees
from unlearnjax.curvature.rows import row_batch
from unlearnjax.methods.parts import layer_inputs

HESSIANS = ("exact", "differences", "gauss_newton")
RATE = 1e-3  # of the gradient step that "differences" looks along


def l_codec(
  *,
  weight_decay: float = 0.01,
  epsilon: float | None = 0.1,
  delta: float = 0.01,
  group: int = 1,
  copies: int = 1000,
  noise: float = 0.1,
  jitter: float = 0.01,
  limit: int | None = None,
  hessian: str = "gauss_newton",
  max_examples: int = 1000,
  iterations: int = 50,
  max_drop: float | None = 0.05,
  layers: Sequence[str] | None = None,
  loss: Callable[[Array, Array], Array] = losses.cross_entropy,
) -> Method:
  """Removes examples one after another, each by a Newton step on the few slices of the network it depends on.

  P, the slices (columns of kernels with their biases, filters) that the example's loss depends on under noise on its
  input, is its Markov blanket in the activations (`curvature.markov_blanket`). Then theta_P <- theta_P + (1 / (n - m))
  (H' + weight_decay I)^-1 sum (grad l + weight_decay theta)_P + N(0, s^2), m examples of the n that are left, and H' =
  (n H - sum h) / (n - m): H is the Hessian of the mean loss over all n, h that of an example, both on P, so H' is that
  over the others. s = (gamma / epsilon) sqrt(2 ln(1.25 / delta)) with gamma = 2 M L^2 m^2 / (n^2 weight_decay^3), M =
  1/4 and L = 1, the Gaussian mechanism for losses that are strongly convex with such constants: a network's is not, and
  the noise is no guarantee there. arXiv:2204.07655.

  Args:
    weight_decay: > 0, L2 coefficient of the loss, which makes it strongly convex; in networks, a damping.
    epsilon, delta: of the Gaussian mechanism, > 0 and in (0, 1); epsilon None adds no noise.
    group: examples of a step; their slices are united. 1 is the paper's; more is cheaper.
    copies: perturbed copies of an example, >= 2; the cost of choosing grows with their square.
    noise: standard deviation of the perturbation, > 0, in units of the input.
    jitter: of the noise that keeps ranks and neighbours from ties.
    limit: at most so many slices an example; no limit by default.
    hessian: how H' is found, by products over random retain examples and conjugate gradients. "gauss_newton": the
      Hessian without the network's own curvature, which is never negative where the loss is convex in the outputs; it
      is the Hessian of models that are linear in their weights, for which the paper proves its bounds. "exact": the
      Hessian. A network's may have directions of curvature below -weight_decay on P, where no Newton step exists:
      weight_decay of that step is then raised until the solve meets none, and further while the step would be skipped
      (`curvature.damped_cg`; logged as "damping"), so that it may move little. "differences": as the paper's networks
      were run, H and h are outer products dg dg' / |d theta|_1 of the change of the gradients along a step of 1e-3
      against them; two gradients in place of `iterations`, and solved exactly.
    max_examples: retain examples of H', at most, drawn anew each step.
    iterations: of conjugate gradients, at most.
    max_drop: a step that lowers the accuracy on its retain examples by more is not taken, and logged as "skipped";
      None takes all, and is needed where targets are not classes.
    layers: paths of the layers that slices are chosen from; by default every linear and convolution layer of a model
      that knows its sites.
    loss: `(outputs, y) -> f[B]`, convex in the outputs for "gauss_newton".

  Raises:
    ValueError: numbers out of range, an unknown `hessian`, a model whose layers are not known, or a request without a
      retain set.

  Example:
    >>> l_codec(epsilon=None, group=8).name
    'l_codec'
  """
  for name, value in (("weight_decay", weight_decay), ("group", group), ("noise", noise), ("iterations", iterations)):
    check.positive(name, value)
  check.positive("max_examples", max_examples)
  check.one_of("hessian", hessian, HESSIANS)
  if epsilon is not None:
    check.positive("epsilon", epsilon)
  check.fraction("delta", delta, one=False)
  if copies < 2:
    raise ValueError(f"copies must be >= 2, got {copies}")

  def bind(fn: ModelFn) -> Verbs:
    known = tuple(path.rpartition("/")[0] for path in layer_inputs(fn)) if layers is None else tuple(layers)
    choose = dict(copies=copies, noise=noise, jitter=jitter, limit=limit)
    sigma = noise_scale(epsilon, delta, weight_decay)
    step = removal(fn, loss, known, weight_decay, hessian, iterations, max_drop, sigma, **choose)

    def forget(state, refs, request, run):
      gone, retain = as_examples(request.forget), as_examples(need_retain("l_codec", request))
      sizes = {"forget": group, "retain": max_examples}
      plan = zip_roles(anchor="forget", batch_size=sizes, forget=gone, retain=retain)
      slots = {**state.slots, "remaining": jnp.asarray(len(gone) + len(retain), jnp.float32)}
      state, history = fit(step, state.replace(slots=slots), plan, refs, run)
      products = 2 if hessian == "differences" else iterations  # of a solve, at most
      run.cost.gradient_evaluations += products * int(sum(history["forget/tries"])) * min(max_examples, len(retain))
      run.cost.forward_evaluations += copies * len(gone)
      return state, refs

    return Verbs(plain_init(step), plain_model(fn), forget=forget)

  return Method("l_codec", bind)


def noise_scale(epsilon: float | None, delta: float, weight_decay: float) -> float:
  """s n^2 / m^2: what the noise of the Gaussian mechanism is before the numbers of examples come in.

  Example:
    >>> round(noise_scale(1.0, 0.5, 1.0), 4), noise_scale(None, 0.5, 1.0)
    (0.6769, 0.0)
  """
  if epsilon is None:
    return 0.0
  return 2 * 0.25 / weight_decay**3 / epsilon * math.sqrt(2 * math.log(1.25 / delta))


def removal(
  fn: ModelFn,
  loss: Callable[[Array, Array], Array],
  layers: tuple[str, ...],
  decay: float,
  hessian: str,
  iterations: int,
  max_drop: float | None,
  sigma: float,
  **choose: Any,
) -> Transform:
  """The step of `l_codec`: removes the rows of role "forget"; the slot "remaining" counts the examples that are left.

  It logs "selected", the weights that may move, "damping", "tries", "residual" and "indefinite" of the solve, and
  "skipped".
  """
  objective = objectives.supervised(fn, loss, train=False)

  def update(state, batch, refs) -> tuple[Any, dict[str, Array]]:
    gone, retain, params = batch["forget"], batch["retain"], state.params
    keys = {n: fold_name(jax.random.fold_in(state.rng, state.step), n) for n in ("blanket", "noise")}
    view = View(state.step, keys["blanket"], refs, state.slots, state.model_state)
    mask = curvature.slice_mask(params, _blankets(fn, loss, params, gone, layers, view, choose))
    on = lambda tree: jax.tree.map(lambda m, x: jnp.where(m, x, 0), mask, tree)
    m, n = jnp.sum(gone["valid"]), state.slots["remaining"]
    pull = jax.grad(lambda p: objective(p, gone, view)[0])(params)
    slope = on(jax.tree.map(lambda g, p: m * (g + decay * p), trees.wide(pull), trees.wide(params)))
    left = jnp.maximum(n - m, 1)
    moved = lambda move: jax.tree.map(lambda p, v: p + (v / left).astype(p.dtype), params, move)
    right = lambda p: objectives.bind.accuracy(
      objectives.forward(fn, p, retain, view, train=False).logits, retain["y"], retain
    )
    least = -jnp.inf if max_drop is None else right(params) - max_drop
    spares = lambda new: jnp.array(True) if max_drop is None else right(new) >= least
    if hessian == "differences":
      slopes = lambda rows: lambda p: jax.grad(lambda q: objective(q, rows, view)[0])(p)
      move, residual, indefinite = _by_differences(slopes(gone), slopes(retain), params, pull, on, slope, m, n, decay)
      damping, tries = jnp.asarray(decay, float), jnp.ones(())
    else:
      exact = lambda v: curvature.hvp(objective, params, retain, v, view)
      product = exact if hessian == "exact" else lambda v: curvature.ggn_vp(fn, loss, params, retain, v, view)
      again = {"accept": lambda v: spares(moved(v))} if hessian == "exact" else {"tries": 1}
      move, (damping, tries, _, info) = curvature.damped_cg(
        lambda v: on(product(on(v))), slope, damping=decay, iterations=iterations, **again
      )
      residual, indefinite = info.residual, info.indefinite
    if sigma:
      draw, size = on(_normal(keys["noise"], params)), left * sigma * m**2 / jnp.maximum(n, 1) ** 2
      move = jax.tree.map(lambda v, z: v + size * z, move, draw)
    new = moved(move)
    sound, skip = all_finite(new), ~spares(new)
    new = jax.tree.map(lambda a, b: jnp.where(skip, a, b), params, new)
    logs = {
      "forget/loss": objective(params, gone, view)[0],
      "forget/selected": sum(jnp.sum(x) for x in jax.tree.leaves(mask)).astype(jnp.float32),
      "forget/residual": residual,
      "forget/damping": damping.astype(jnp.float32),
      "forget/tries": tries.astype(jnp.float32),
      "forget/indefinite": indefinite.astype(jnp.float32),
      "forget/skipped": skip.astype(jnp.float32),
    }
    state = state.replace(step=state.step + 1, params=new, slots={**state.slots, "remaining": n - m})
    concave = indefinite & (hessian == "gauss_newton")
    return state, {**logs, "ok": sound & ~concave}

  init = lambda state: state.replace(slots={**state.slots, "remaining": jnp.zeros((), jnp.float32)})
  return Transform(init, update)


def _by_differences(of_gone, of_retain, params, pull, on, vector, m, n, decay) -> tuple[Any, Array, Array]:
  """(H' + decay I)^-1 vector, H' = (n H - m h) / (n - m) on the block, where H and h are of rank one.

  H is that of the mean loss over all n, of which `of_retain` is the gradient over n - m and `of_gone` that over m;
  `pull` is the latter at `params`.
  """
  share = m / jnp.maximum(n, 1)
  mixed = lambda a, b: jax.tree.map(lambda x, y: share * x + (1 - share) * y, a, b)
  of_all = lambda p: mixed(of_gone(p), of_retain(p))

  def outer(slope, g):
    """(dg, 1 / |d theta|_1) on the block, g the gradient at `params`."""
    ahead = slope(jax.tree.map(lambda p, x: p - RATE * x.astype(p.dtype), params, g))
    moved = sum(jnp.sum(jnp.abs(x)) for x in jax.tree.leaves(trees.wide(on(g)))) * RATE
    change = on(jax.tree.map(jnp.subtract, trees.wide(ahead), trees.wide(g)))
    return change, jnp.where(moved > 0, 1 / jnp.where(moved > 0, moved, 1), 0)

  (a, of_a), (b, of_b) = outer(of_all, mixed(pull, of_retain(params))), outer(of_gone, pull)
  left = jnp.maximum(n - m, 1)
  core = jnp.diag(jnp.stack([of_a * n, -of_b * m]) / left)
  gram = jnp.stack([jnp.stack([trees.dot(u, v) for v in (a, b)]) for u in (a, b)])
  system = jnp.eye(2) + core @ gram / decay  # Woodbury
  along = jnp.linalg.solve(system, core @ jnp.stack([trees.dot(a, vector), trees.dot(b, vector)])) / decay
  found = jax.tree.map(lambda v, x, y: (v - along[0] * x - along[1] * y) / decay, vector, a, b)
  inside = core @ jnp.stack([trees.dot(a, found), trees.dot(b, found)])
  gap = jax.tree.map(lambda v, f, x, y: v - decay * f - inside[0] * x - inside[1] * y, vector, found, a, b)
  size = trees.norm(vector)
  return found, trees.norm(gap) / jnp.where(size > 0, size, 1), jnp.linalg.det(system) <= 0


def _blankets(fn, loss, params, gone, layers, view, choose) -> dict[str, Array]:
  """The united slices of all valid rows."""
  size = gone["valid"].shape[0]

  def one(i):
    own = view._replace(rng=jax.random.fold_in(view.rng, i))
    found = curvature.markov_blanket(fn, loss, params, row_batch(gone, i[None]), layers, own, **choose)
    return {layer: units & gone["valid"][i] for layer, units in found.items()}

  return {layer: units.any(0) for layer, units in jax.lax.map(one, jnp.arange(size)).items()}


def _normal(key, params):
  leaves, structure = jax.tree.flatten(trees.wide(params))
  keys = jax.random.split(key, len(leaves))
  return jax.tree.unflatten(structure, [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves)])
