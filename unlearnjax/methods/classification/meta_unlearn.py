"""MetaUnlearn: a forgetting loss that is learned before any request. De Min et al., arXiv:2407.12069 (paper 15)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax import amortized, losses, metrics, objectives
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
  plain_model,
  zip_roles,
)
from unlearnjax.core.batches import as_role_batch
from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import EMPTY
from unlearnjax.curvature.classes import site_width
from unlearnjax.methods.parts import restart, teacher

LABELS = ("classes", "attributes")


def meta_unlearn(
  *,
  rate: float = 0.1,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 3,
  people: int = 5,
  rows_per_person: int = 8,
  identity: str | None = None,
  identities: int = 0,
  labels: str = "classes",
  num_outputs: int | None = None,
  width: int = 512,
  embedding: int = 64,
  dropout: float = 0.5,
  batch_size: int = 64,
  site: str = "head:in",
) -> Method:
  """Learns a loss h_w whose one gradient step, on one image a person, makes the model treat that person as a stranger.

  `forget`: theta <- theta - a grad mean_S h_w, one step on the support S; no training data are needed. `learn` trains w
  on simulated requests cut from the training people: with theta_u the model after such a step, F the other rows of the
  people, V people that were never trained on and a(.) = (1 - score) * loss of a set, where the score has no gradient,
  min_w s(a(theta_u; F), a(theta; V)) + s(a(theta_u; F), a(theta_u; V)), s the smooth L1 distance and both second
  arguments without gradient. Every simulated request starts from the model as it was given. h reads probabilities,
  features, the embedding of the person and the target of a row. Batch statistics stay.

  S is `request.extra["support"]`, otherwise one random row of F a person, or `people` random rows where nobody is
  named. V is `task.test` of `uj.learn`, which comes first; `uj.forget(start=)` goes on from its result. A class that is
  forgotten whole is no person: the rest of the data say how a stranger's row is treated, and that is well.

  Args:
    rate: a > 0, of the step.
    tx: of w; AdamW with AMSGrad at 1e-4 by default.
    epochs: passes over the training people.
    people: N, identities a simulated request.
    rows_per_person: where nobody is named, the rows are dealt into people of so many, anew in every epoch.
    identity: column of int identities; None where nobody is named.
    identities: I, rows of the embedding table: identities lie in [0, I). Needed with `identity`.
    labels: "attributes" (f[n, C] in {0, 1}, binary cross entropy, the score is the mean average precision, as in the
      paper) or "classes" (int, cross entropy, the score is the mean probability of the label: a score that counts
      ranks or hits is 1 on data that were learned by heart, and nothing would be learned from them).
    num_outputs: C, width of the model's output; by default that of the layer which reads the features.
    width, embedding, dropout: of h.
    batch_size: rows of F and of V that a simulated request is judged by.
    site: features, f[B, d]: the input of the classifying layer.

  Raises:
    ValueError: numbers out of range, `learn` without `task.test`, or `forget` before `learn`.

  Example:
    >>> meta_unlearn(people=3).name
    'meta_unlearn'
  """
  check.one_of("labels", labels, LABELS)
  for name, value in (("rate", rate), ("epochs", epochs), ("people", people), ("batch_size", batch_size)):
    check.positive(name, value)
  check.positive("width", width)
  check.fraction("dropout", dropout, zero=True, one=False)
  if rows_per_person < 2:
    raise ValueError(f"rows_per_person must be >= 2, got {rows_per_person}")
  if (identity is None) != (identities == 0):
    raise ValueError(f"identity and identities belong together, got {identity!r} and {identities}")
  if tx is None:
    tx = optax.chain(optax.scale_by_amsgrad(), optax.add_decayed_weights(0.01), optax.scale(-1e-4))
  row_loss = losses.cross_entropy if labels == "classes" else losses.binary_cross_entropy
  describe = jax.nn.softmax if labels == "classes" else jax.nn.sigmoid

  def bind(fn: ModelFn) -> Verbs:
    given = dict(site=site, identity=identity)
    step = descend({"support": amortized.learned_loss(fn, describe, **given)}, optax.sgd(rate))
    inner = descend({"support": amortized.learned_loss(fn, describe, dropout=dropout, **given)}, optax.sgd(rate))
    loss = objectives.supervised(fn, row_loss, train=False)

    def judged(params, batch, view):
      """(1 - score) * loss of a role batch; the score passes no gradient."""
      logits = objectives.forward(fn, params, batch, view, train=False).logits
      if labels == "classes":
        score = objectives.mean(jnp.exp(-losses.cross_entropy(logits, batch["y"])), batch)[0]
      else:
        score = metrics.mean_average_precision(logits, batch["y"], batch["valid"])
      return jax.lax.stop_gradient(1 - score) * loss(params, batch, view)[0]

    def outer(w, episode, view):
      """The loss of w on one simulated request, the only row of its batch."""
      model, tables = view.refs["model"], view.refs["tables"]
      view = view._replace(model_state=model["state"])
      rows = lambda table, name: gathered(tables[table], episode[name][0])
      start = UnlearnState.create(model["params"], rng=view.rng, model_state=model["state"], copy=False)
      batch = {"support": jax.tree.map(lambda x: x[None], rows("train", "support"))}
      after = amortized.unroll(inner, inner.init(start), batch, {**view.refs, "meta": w})[0].params
      held = rows("validation", "validation")
      gone = judged(after, rows("train", "forget"), view)
      targets = [jax.lax.stop_gradient(judged(p, held, view)) for p in (model["params"], after)]
      value = sum(optax.losses.huber_loss(gone, target) for target in targets)
      return value, {"weight": jnp.ones(()), "forget": gone, "stranger": targets[0]}

    meta = descend({"episode": outer}, tx, name="meta")

    def init(model, key):
      size = site_width(model, site.partition(":")[0], num_outputs)
      a, b = jax.random.split(fold_name(key, "meta"))
      rows = site_width(model, site) + 2 * size + (embedding if identity else 0)
      w = {"net": amortized.init_dense_loss(a, rows, width)}
      if identity:
        w["identity"] = jax.random.normal(b, (identities, embedding))
      slots = {"meta": w, "prepared": jnp.array(False)}
      return step.init(UnlearnState.create(model.params, rng=key, model_state=model.state, slots=slots)), EMPTY

    def learn(state, refs, task, run):
      if task.test is None or not len(task.test):
        raise ValueError("meta_unlearn needs people that were never trained on, in task.test, and the task has none")
      source, held = as_examples(task.train), as_examples(task.test)
      key = fold_name(jax.random.fold_in(state.rng, task.index), "episodes")
      rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
      sizes = dict(people=people, forget_size=batch_size, validation_size=min(batch_size, len(held)))
      if identity:
        table = amortized.episodes(named(source, identity, identities), len(held), rng, epochs=epochs, **sizes)
      else:  # other people in every epoch
        deal = lambda: rng.permutation(len(source)) // rows_per_person
        parts = [amortized.episodes(deal(), len(held), rng, epochs=1, **sizes) for _ in range(epochs)]
        table = Examples.concatenate(*parts)
      tables = {"train": as_columns(source), "validation": as_columns(held)}
      start = UnlearnState.create(state.slots["meta"], rng=key, model_state=())
      plan = zip_roles(episode=table, batch_size=1)
      given = {"model": teacher(state), "tables": tables}
      found, _ = fit(meta, meta.init(start), plan, given, run, name="meta")
      run.cost.gradient_evaluations += len(table) * (people + batch_size + 2 * sizes["validation_size"])
      return state.replace(slots={"meta": found.params, "prepared": jnp.array(True)}), refs

    def forget(state, refs, request, run):
      if not bool(state.slots["prepared"]):
        raise ValueError("meta_unlearn must learn before it can forget: give uj.learn's result to uj.forget(start=)")
      support = request.extra.get("support")
      if support is None:
        key = jax.random.fold_in(fold_name(state.rng, "support"), state.step)
        support = portraits(as_examples(request.forget), identity, people, key)
      size = 1 << max(len(support) - 1, 0).bit_length()
      plan = zip_roles(support=support, batch_size=size)
      state, _ = fit(step, restart(state, step), plan, {"meta": state.slots["meta"]}, run)
      return state, refs

    return Verbs(init, plain_model(fn), learn=learn, forget=forget)

  return Method("meta_unlearn", bind)


def portraits(source: Examples, identity: str | None, people: int, key) -> Examples:
  """One random row a person, or `people` random rows where nobody is named."""
  order = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel()).permutation(len(source))
  if identity is None:
    return source[np.sort(order[:people])]
  first = np.unique(source.column(identity)[order], return_index=True)[1]
  return source[np.sort(order[first])]


def named(source: Examples, identity: str, identities: int) -> np.ndarray:
  """The column of identities, checked against the size of the embedding table."""
  if identity not in source.columns:
    raise ValueError(f"the training data have no column {identity!r}; found {sorted(source.columns)}")
  found = source.column(identity)
  if found.min() < 0 or found.max() >= identities:
    raise ValueError(f"identities must lie in [0, {identities}), found {found.min()}..{found.max()}")
  return found


def as_columns(source: Examples) -> dict[str, jax.Array]:
  """A source as arrays on the device, for functions that pick rows themselves."""
  return {name: jnp.asarray(source.column(name)) for name in source.columns}


def gathered(columns, rows):
  """A role batch of some rows; -1 is padding."""
  return as_role_batch({name: x[jnp.maximum(rows, 0)] for name, x in columns.items()}, rows >= 0)
