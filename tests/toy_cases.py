"""Every method with settings that work on a toy, and what it needs: the table of the properties that all must have."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import optax
from toy import TOY
from toy_asked import ASK, QUESTIONS, WORDS, told
from toy_trained import class_request, data, surrogate, trained

from unlearnjax import guards, losses, methods, models, objectives
from unlearnjax.core import Examples, ForgetRequest, Method, Model, Task, outputs
from unlearnjax.methods.parts import sgd
from unlearnjax.metrics import answer_scores
from unlearnjax.training import Recipe, train

RECIPE = Recipe(optax.adam(0.03), epochs=20, batch_size=32)
MOMENTUM = optax.sgd(0.1, momentum=0.9)
MLP = models.make("mlp", input_shape=(4,), num_outputs=3, widths=(16,))
PIXELS = models.make("mlp", input_shape=(4, 4, 1), num_outputs=3, widths=(16,))
PEOPLE = models.make("mlp", input_shape=(4,), num_outputs=3, widths=(64, 32))
PEOPLE_RECIPE = Recipe(sgd(0.1, decay=3e-3), epochs=40, batch_size=32)
REGRESSOR = models.make("regression_mlp", input_shape=(3,), num_outputs=1, widths=(16,))


class World(NamedTuple):
  """A trained model, a request, and another one of other sizes over the same table."""

  model: Model
  request: ForgetRequest
  other: ForgetRequest


class Case(NamedTuple):
  """How to try a method.

  Attributes:
    make: the method.
    world: makes the model and the requests.
    by: what must rise on the forget set: "errors" (fraction of wrong predictions, by `least`) or "loss".
    least: how much.
    steps: it trains by `fit`, so that a crash can fall into the middle.
    learns: it sees the data before any request.
  """

  make: Callable[[], Method]
  world: Callable[[], World]
  by: str = "errors"
  least: float = 0.3
  steps: bool = True
  learns: bool = False


def another(request: ForgetRequest) -> ForgetRequest:
  """Fewer examples to forget and more to retain, of the same table."""
  count = 9 * len(request.forget) // 10
  forget, retain = request.forget[:count], request.retain + request.forget[count:]
  return request._replace(forget=forget, retain=retain, ids=forget.ids)


@functools.cache
def blobs(fn=TOY) -> World:
  request = class_request()
  held_out = data(60, seed=1)
  extra = {**request.extra, "validation": held_out.where(held_out.column("y") == 1), "surrogate": surrogate()}
  request = request._replace(extra=extra)
  return World(trained(fn), request, another(request))


@functools.cache
def pixels() -> World:
  """Images of which each class brightens another corner."""
  rng, y = np.random.default_rng(0), np.arange(120) % 3
  x = 0.3 * rng.random((120, 4, 4, 1))
  for label, (row, column) in enumerate(((0, 0), (0, 2), (2, 0))):
    x[y == label, row : row + 2, column : column + 2] += 0.7
  table = Examples({"x": x.astype(np.float32), "y": y.astype(np.int32)})
  request = ForgetRequest(table.where(y == 1), table.where(y != 1), table.where(y == 1).ids, classes=(1,))
  return World(train(PIXELS, table, RECIPE, key=jax.random.key(0)), request, another(request))


@functools.cache
def curve() -> World:
  """The lowest quarter of the values of a smooth function."""
  x = np.random.default_rng(0).normal(size=(160, 3)).astype(np.float32)
  y = (2 * np.tanh(x[:, 0]) + 0.5 * x[:, 1]).astype(np.float32)
  table, low = Examples({"x": x, "y": y}), y < np.quantile(y, 0.25)
  request = ForgetRequest(table.where(low), table.where(~low), table.where(low).ids)
  recipe = Recipe(optax.adam(0.01), 60, 32, functools.partial(objectives.supervised, loss=losses.absolute_error))
  return World(train(REGRESSOR, table, recipe, key=jax.random.key(0)), request, another(request))


@functools.cache
def people() -> World:
  """People whose rows lie close together. Most have the label of the blob they stand in, some one of their own, which
  nobody could guess who has not seen them."""
  rng, who, blob = np.random.default_rng(0), np.arange(192) // 6, np.arange(32) % 3
  label = np.where(rng.random(32) < 0.3, rng.integers(0, 3, 32), blob)
  centre = 2 * np.eye(4)[blob] + 0.6 * rng.normal(size=(32, 4))
  x = centre[who] + 0.15 * rng.normal(size=(192, 4))
  rows = Examples({"x": x.astype(np.float32), "y": label[who].astype(np.int32), "person": who.astype(np.int32)})
  known = rows.where(who < 24)
  gone = np.isin(known.column("person"), (3, 8, 20))
  request = ForgetRequest(known.where(gone), known.where(~gone), extra={"unseen": rows.where(who >= 24)})
  return World(train(PEOPLE, known, PEOPLE_RECIPE, key=jax.random.key(0)), request, another(request))


@functools.cache
def asked() -> World:
  """A language model that knows the answers to some questions."""
  model, request = told()
  return World(model, request, another(request))


def task(world: World) -> Task:
  return Task("all", 0, world.request.forget + world.request.retain, world.request.extra.get("unseen"))


def score(case: Case, model: Model, source: Examples) -> float:
  """What must rise on the forget set and stay low on the retain set."""
  if "mask" in source.columns:
    said = answer_scores(model, source)
    return float(said.mean_nll.mean() if case.by == "loss" else 1 - said.correct[said.mask].mean())
  out = outputs(model, source)["logits"]
  y = source.column("y")
  if out.shape[1] == 1:
    return float(np.abs(out[:, 0] - y).mean())
  if case.by == "errors":
    return float(np.mean(out.argmax(-1) != y))
  return float(-np.asarray(jax.nn.log_softmax(out))[np.arange(len(y)), y].mean())


mlp, m = functools.partial(blobs, MLP), methods
SMALL = dict(tx=MOMENTUM, batch_size=16)
ASKED = dict(tx=optax.adam(6e-3), batch_size=6)
CASES = {
  "adversarial_tokens": Case(lambda: m.adversarial_tokens(epochs=8, **ASKED), asked, "loss", 0.3),
  "amnesiac": Case(lambda: m.amnesiac(tx=optax.adam(0.02), epochs=20, batch_size=32), blobs),
  "bad_teacher": Case(lambda: m.bad_teacher(tx=optax.adam(0.02), epochs=10, batch_size=16), blobs),
  "blindspot": Case(
    lambda: m.blindspot(tx=optax.adam(0.01), epochs=30, batch_size=32, proxy_epochs=30), curve, "loss", 0.03
  ),
  "boundary_expanding": Case(lambda: m.boundary_expanding(tx=optax.sgd(0.05, momentum=0.9), batch_size=16), blobs),
  "boundary_shrink": Case(
    lambda: m.boundary_shrink(eps=2.0, value_range=None, tx=optax.sgd(0.05, momentum=0.9), epochs=5, batch_size=16),
    blobs,
  ),
  "cf_k": Case(lambda: m.cf_k(k=2, tx=optax.sgd(0.3, momentum=0.9), batch_size=16), mlp, "loss", 0.02),
  "ceu": Case(lambda: m.ceu(skip_first=0, tx=optax.adam(6e-3), batch_size=6), asked, "loss", 0.3),
  "certified_removal": Case(lambda: m.certified_removal(sigma=0.1, l2=0.01), blobs, steps=False, learns=True),
  "clpu": Case(lambda: m.clpu(classes=3, capacity=2, recipe=RECIPE), blobs, learns=True),
  "concept_poison": Case(lambda: m.concept_poison(tx=optax.sgd(0.1, momentum=0.9), batch_size=16), pixels),
  "duck": Case(lambda: m.duck(batch_size=16, polish_batch_size=16, tx=optax.adam(0.01), ratio=3, epochs=15), blobs),
  "eco": Case(
    lambda: m.eco(guards.BagOfWords(WORDS + QUESTIONS), target=3.0, epochs=20, batch_size=6),
    asked,
    "loss",
    0.3,
  ),
  "eu_k": Case(lambda: m.eu_k(recipe=RECIPE), mlp),
  "fed_avg": Case(
    lambda: m.fed_avg(clients=2, rounds=4, local_epochs=5, batch_size=8, learning_rate=0.2), blobs, learns=True
  ),
  "fine_tune": Case(lambda: m.fine_tune(**SMALL), blobs, "loss", 0.02),
  "fisher_forgetting": Case(lambda: m.fisher_forgetting(alpha=1e-6), blobs, "loss", 0.1, steps=False),
  "flat": Case(lambda: m.flat(epochs=8, tx=optax.adam(2e-3), batch_size=6), asked, "loss", 0.3),
  "from_scratch": Case(lambda: m.from_scratch(recipe=RECIPE), blobs, learns=True),
  "gaussian_amnesiac": Case(
    lambda: m.gaussian_amnesiac(tx=optax.adam(0.01), epochs=20, batch_size=32), curve, "loss", 0.1
  ),
  "grad_diff": Case(lambda: m.grad_diff(**ASKED), asked, "loss", 0.5),
  "gradient_ascent": Case(lambda: m.gradient_ascent(tx=optax.sgd(0.3), epochs=8, batch_size=16), blobs),
  "idk": Case(lambda: m.idk(epochs=15, **ASKED), asked, "loss", 0.3),
  "idk_dpo": Case(lambda: m.idk_dpo(**ASKED), asked, "loss", 0.3),
  "influence": Case(lambda: m.influence(damping=0.1), blobs, "loss", 0.01, steps=False),
  "jit_lipschitz": Case(
    lambda: m.jit_lipschitz(sigma=0.3, samples=5, value_range=None, tx=optax.sgd(0.1), epochs=3, batch_size=16),
    blobs,
  ),
  "knowledge_unlearning": Case(
    lambda: m.knowledge_unlearning(
      n=2, thresholds=(0.3, 0.5), prefixes=3, sequential=True, tx=optax.adam(3e-3), batch_size=12
    ),
    asked,
    "loss",
    0.5,
  ),
  "kl_min": Case(lambda: m.kl_min(**ASKED), asked, "loss", 0.5),
  "l1_sparse": Case(lambda: m.l1_sparse(alpha=0.03, **SMALL), blobs),
  "l_codec": Case(
    lambda: m.l_codec(weight_decay=0.003, epsilon=None, group=8, copies=100, noise=0.2, max_examples=64),
    mlp,
    "loss",
    0.01,
  ),
  "laf": Case(
    lambda: m.laf(
      batch_size=16, epochs=80, vae_epochs=60, extract_tx=optax.adam(3e-3), align_tx=optax.adam(3e-3), latent=2
    ),
    blobs,
  ),
  "memflex": Case(lambda: m.memflex(magnitude=5e-5, epochs=8, **ASKED), asked, "loss", 0.3),
  "meta_unlearn": Case(
    lambda: m.meta_unlearn(
      rate=0.3,
      identity="person",
      identities=24,
      people=3,
      width=32,
      embedding=8,
      dropout=0.0,
      epochs=100,
      tx=optax.adam(3e-3),
    ),
    people,
    "loss",
    0.2,
    learns=True,
  ),
  "llmu": Case(lambda: m.llmu(epochs=15, **ASKED), asked, "loss", 0.3),
  "neg_grad": Case(lambda: m.neg_grad(alpha=0.7, decay=0.01, **SMALL), blobs),
  "neg_grad_plus": Case(lambda: m.neg_grad_plus(alpha=0.7, **SMALL), blobs),
  "noisy_gd": Case(lambda: m.noisy_gd(noise=0.01, learning_rate=0.9, steps=200, forget_steps=400), blobs, learns=True),
  "npo": Case(lambda: m.npo(**ASKED), asked, "loss", 0.3),
  "ntk_scrubbing": Case(lambda: m.ntk_scrubbing(), blobs, "loss", 0.005, steps=False),
  "pdu": Case(lambda: m.pdu(dual_start=1.0, dual_rate=0.5, **ASKED), asked, "loss", 0.3),
  "pgu": Case(lambda: m.pgu(energy=0.75, tx=optax.sgd(0.5), batch_size=16), mlp),
  "prune_first": Case(lambda: m.prune_first(m.fine_tune(**SMALL), sparsity=0.8), blobs),
  "random_label": Case(lambda: m.random_label(epochs=20, **SMALL), blobs, "loss", 0.3),
  "random_tokens": Case(lambda: m.random_tokens(epochs=8, **ASKED), asked, "loss", 0.3),
  "retrain": Case(lambda: m.retrain(recipe=RECIPE), blobs),
  "rmu": Case(
    lambda: m.rmu("body", width=16, where="(asked|body)/.*", steering=20.0, alpha=10.0, epochs=15, **ASKED),
    asked,
    "loss",
    0.3,
  ),
  "s3t": Case(
    lambda: m.s3t(groups=("(blocks/0/linear|first)/kernel",), shards=2, orders=1, rank=3, recipe=RECIPE),
    mlp,
    learns=True,
  ),
  "safe": Case(lambda: m.safe(shards=3, degree=2, rank=3, recipe=RECIPE), mlp, learns=True),
  "salun": Case(lambda: m.salun(epochs=20, **SMALL), blobs, "loss", 0.3),
  "satimp": Case(lambda: m.satimp(epochs=10, **ASKED), asked, "loss", 0.3),
  "scar": Case(lambda: m.scar(batch_size=32, tx=optax.adam(5e-3), epochs=20), mlp),
  "scar_self": Case(lambda: m.scar_self(batch_size=32, tx=optax.adam(5e-3), epochs=80), mlp),
  "scrub": Case(lambda: m.scrub(tx=optax.adam(0.03), max_epochs=8, perturb=0.1, batch_size=16), blobs),
  "scrub_r": Case(lambda: m.scrub_r(tx=optax.adam(0.03), max_epochs=8, perturb=0.1, batch_size=16), blobs),
  "simnpo": Case(lambda: m.simnpo(**ASKED), asked, "loss", 0.3),
  "sisa": Case(lambda: m.sisa(shards=2, slices=2, recipe=RECIPE), blobs, learns=True),
  "slug": Case(lambda: m.slug(target=0.1), blobs, steps=False),
  "ssd": Case(lambda: m.ssd(alpha=2.0, batch_size=8), blobs, "loss", 0.1, steps=False),
  "stochastic_teacher": Case(lambda: m.stochastic_teacher(erase_epochs=8, rebuild_epochs=8, **SMALL), blobs),
  "task_vector": Case(
    lambda: m.task_vector(tx=optax.adam(3e-3), epochs=10, batch_size=6, scale=2.0), asked, "loss", 0.3
  ),
  "uld": Case(lambda: m.uld(ASK, weight=2.0, tx=optax.adam(6e-3), epochs=20, batch_size=6), asked, "loss", 0.3),
  "undial": Case(lambda: m.undial(epochs=8, **ASKED), asked, "loss", 0.3),
  "unsir": Case(lambda: m.unsir(noise_size=16, batch_size=16, impair=optax.adam(0.1)), blobs),
  "whp": Case(lambda: m.whp(tx=optax.adam(3e-3), epochs=10, batch_size=6, alpha=5.0), asked, "loss", 0.3),
  "wagle": Case(lambda: m.wagle(density=0.5, **ASKED), asked, "loss", 0.3),
  "wga": Case(lambda: m.wga(**ASKED), asked, "loss", 0.3),
}
