"""IF2Net: innately forgetting-free networks. Li et al., 2023, arXiv:2306.10480 (paper 123), in part reconstructed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax import losses, objectives
from unlearnjax.core import (
  Method,
  Model,
  ModelFn,
  UnlearnState,
  Verbs,
  as_examples,
  check,
  descend,
  fit,
  outputs,
  sequence,
  watch,
  zip_roles,
)
from unlearnjax.core.tree import fold_name
from unlearnjax.memory.recursive import Recursive, in_two, nothing_seen, recursive_ridge
from unlearnjax.methods.continual.ideal import targets
from unlearnjax.methods.continual.parts import arrive, open_head
from unlearnjax.models.random_features import OnFeatures, random_encoder


def if2net(
  *,
  update: str = "closed",
  alpha: float | None = None,
  features: int = 900,
  hidden: int = 700,
  groups: int = 10,
  group_size: int = 10,
  scale: float = 250.0,
  tweak: bool = True,
  site: str | None = None,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """A linear layer on frozen random features, which moves only where no old feature reaches; no examples, no task id.

  Outputs G beta, G the features of a batch, squared error to one-hot labels. P = alpha (alpha I + G^T G)^-1 over all
  features of the past, kept as one matrix. "closed": beta is the ridge regression on everything so far, by recursive
  least squares, in one pass; the order of the tasks changes nothing about it. "gradient": beta <- beta - P times the
  step of `tx`, and P takes the task in when it is over.

  The abstract says that random weights stay frozen, that the representations are tweaked, that the output layer moves
  in an orthogonal space, and that no task is named at test time. The tweak here, a sparse autoencoder for groups of
  random features, is the one of two sibling papers of the same first author (see `models.random_encoder`): that IF2Net
  uses it is an inference, and so is the form of P. Those papers' code fits the decoder and all ranges anew to every
  test batch, which tells the model the task; here they are statistics of the first task's training inputs, frozen. With
  `tweak=False` the features look at no data at all. The given model's weights are not trained; it says how many outputs
  there are, and, with a site, makes the inputs of the features.

  Args:
    update: "closed" or "gradient".
    alpha: > 0, the ridge, in units in which a row of features has a squared length of about 1: 1e-3 by default, and 1
      with "gradient", which learns nothing new once P is nearly a projection and the rows are as many as the features.
    features: m; P is m x m, in two float32.
    hidden, groups, group_size, scale: of the tweak, see `models.random_encoder`.
    tweak: False takes plain random features, which the first task does not shape.
    site: features of what the model sends through it, such as "head:in" of a trained one; of its input "x" by default.
    tx: of "gradient", SGD 1 by default; momentum is projected with the step.
    epochs, batch_size, every: of "gradient", see other continual methods; "closed" reads every task once.

  Raises:
    ValueError: arguments out of range.

  Example:
    >>> if2net(features=500, tweak=False).name
    'if2net'
  """
  check.one_of("update", update, ("closed", "gradient"))
  alpha = {"closed": 1e-3, "gradient": 1.0}[update] if alpha is None else alpha
  check.positive("alpha", alpha)
  sizes = {"features": features, "hidden": hidden, "groups": groups, "group_size": group_size, "scale": scale}
  for name, value in {**sizes, "epochs": epochs, "batch_size": batch_size}.items():
    check.positive(name, value)
  tx = optax.sgd(1.0) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    served, plain = open_head(OnFeatures(fn, site)), OnFeatures(fn, site, masked=False)
    step = descend({"current": one_hot_error(plain)}, optax.chain(tx, times_ref("inverse")), over=("output",))
    train = sequence(step, watch(served, every)) if every is not None else step

    def init(model, key):
      return UnlearnState.create({"net": model.params}, rng=key, model_state=model.state), {}

    def model(state, refs):
      return Model(state.params, state.model_state, {k: refs[k] for k in ("encoder", "seen") if k in refs}, served)

    def learn(state, refs, task, run):
      data, first = as_examples(task.train), "output" not in state.params
      # before the first task the model is asked how many outputs it has, and what the features look at
      inner = Model(state.params["net"], state.model_state, {}, fn)
      _, found = arrive(fn, state.replace(params=inner.params), refs, task, {})
      classes = len(found["seen"])
      if first:
        look = lambda: outputs(inner, data, run, capture=(site,))[site] if site else data.column("x")
        draw = lambda: random_encoder(
          fold_name(state.rng, "encoder"), look().reshape(len(data), -1), tweak=tweak, **sizes
        )
        found["encoder"] = run.once("encoder", draw)
        nothing = nothing_seen(features, classes)
        state = state.replace(
          params={**state.params, "output": jnp.asarray(nothing.weights, jnp.float32)},
          slots={"inverse": jnp.asarray(in_two(nothing.inverse)), "output": jnp.asarray(in_two(nothing.weights))},
        )
        state = step.init(state) if update == "gradient" else state
      if update == "gradient":
        found["inverse"] = jnp.asarray(np.asarray(state.slots["inverse"]).sum(0))
        plan = zip_roles(current=data, batch_size=batch_size, epochs=epochs)
        state, _ = fit(train, state, plan, found, run)

      def taken_in():
        seen = Model(state.params, state.model_state, {"encoder": found["encoder"]}, plain)
        rows = outputs(seen, data, run, capture=("features",))["features"]
        old = Recursive(*(np.asarray(state.slots[k], np.float64).sum(0) for k in ("inverse", "output")))
        new = recursive_ridge(old, rows, targets(data.column("y"), classes), alpha=alpha)
        return {"inverse": in_two(new.inverse), "output": in_two(new.weights)}

      slots = jax.tree.map(jnp.asarray, dict(run.once("end", taken_in)))
      state = state.replace(slots=slots)
      if update == "closed":
        state = state.replace(params={**state.params, "output": slots["output"].sum(0)})
      return state, found

    return Verbs(init, model, learn=learn)

  return Method("if2net", bind)


def one_hot_error(fn: ModelFn):
  """Half the squared distance to one-hot labels: steps below 2 over the squared length of the features are stable."""

  def loss(logits, labels):
    classes = logits.shape[-1]
    return classes / 2 * losses.squared_error(logits, jax.nn.one_hot(labels, classes))

  return objectives.supervised(fn, loss, train=False)


def times_ref(name: str) -> optax.GradientTransformationExtraArgs:
  """Every update, f[m, C], is multiplied from the left by `refs[name]`, f[m, m].

  Example:
    >>> tx = times_ref("p")
    >>> tx.update(jnp.ones((2, 1)), tx.init(None), None, refs={"p": jnp.diag(jnp.array([1.0, 0.0]))})[0].tolist()
    [[1.0], [0.0]]
  """

  def update(updates, state, params=None, *, refs, **extra):
    del params, extra
    return jax.tree.map(lambda u: refs[name] @ u, updates), state

  return optax.GradientTransformationExtraArgs(lambda params: (), update)
