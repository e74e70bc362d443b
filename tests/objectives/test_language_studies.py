"""The synthetic studies of NPO and SimNPO: not figures, but the orderings that the papers argue with."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unlearnjax import losses


def descent(loss, rate, steps):
  """theta -> theta after so many steps of gradient descent, compiled once."""
  return jax.jit(lambda t: jax.lax.fori_loop(0, steps, lambda _, x: x - rate * jax.grad(loss)(x), t))


class Logistic:
  """Random features and one free logit; retained and forgotten examples lie at opposite places."""

  def __init__(self, seed=0, width=128, dims=16, apart=1.0):
    self.rng = np.random.default_rng(seed)
    self.features = self.rng.normal(size=(dims, width)) / np.sqrt(dims)
    self.dims, self.apart = dims, apart
    self.retain, self.forget = self.draw(1000, -1), self.draw(200, 1)
    self.eval = {"retain": self.draw(1000, -1)[0], "forget": self.draw(1000, 1)[0]}

  def draw(self, count, side):
    """Features and labels; class 0 on the retained side, and 1 on the other, with a probability that rises with x."""
    x = self.rng.normal(size=(count, self.dims)) + side * self.apart
    likely = self.rng.random(count) < 1 / (1 + np.exp(-((x - side * self.apart).sum(1) / 4 + 1)))
    label = np.where(likely, 0, 1) if side < 0 else np.where(likely, 1, 0)
    return jnp.asarray(np.maximum(x @ self.features, 0), jnp.float32), jnp.asarray(label)

  @staticmethod
  def logp(theta, data):
    """log p(label): two classes, the logit of the second fixed at 0."""
    phi, y = data
    return -jnp.logaddexp(0.0, jnp.where(y == 0, -1.0, 1.0) * (phi @ theta))

  def fit(self, *parts):
    data = tuple(jnp.concatenate(x) for x in zip(*parts))
    return descent(lambda t: -jnp.mean(self.logp(t, data)), 0.05, 8000)(jnp.zeros(128))

  def kl(self, oracle, theta):
    """KL(oracle || model) on fresh points of both sides."""
    found = {}
    for side, phi in self.eval.items():
      z, o = phi @ theta, phi @ oracle
      p = jax.nn.sigmoid(o)
      each = p * (jax.nn.log_sigmoid(o) - jax.nn.log_sigmoid(z))
      each += (1 - p) * (jax.nn.log_sigmoid(-o) - jax.nn.log_sigmoid(-z))
      found[side] = float(each.mean())
    return found


def test_npo_comes_nearer_to_retraining_than_ascent_and_ruins_less():
  study = Logistic()
  start, oracle = study.fit(study.retain, study.forget), study.fit(study.retain)
  ref = study.logp(start, study.forget)
  ascent = lambda t: jnp.mean(study.logp(t, study.forget))
  npo = lambda t: jnp.mean(losses.npo(study.logp(t, study.forget), ref, 1.0))
  keep = lambda t: -jnp.mean(study.logp(t, study.retain))
  runs = {
    "GA": (ascent, 5e-4),
    "GradDiff": (lambda t: ascent(t) + keep(t), 5e-4),
    "NPO": (npo, 5e-3),
    "NPO+RT": (lambda t: npo(t) + keep(t), 5e-3),
  }
  last = {}
  for name, (loss, rate) in runs.items():
    last[name] = study.kl(oracle, descent(loss, rate, 2000)(start))
  before = study.kl(oracle, start)["forget"]
  assert max(last[n]["forget"] for n in ("NPO", "NPO+RT")) < 0.5 * min(last[n]["forget"] for n in ("GA", "GradDiff"))
  assert last["NPO"]["forget"] < 0.1 * before
  assert last["GA"]["retain"] > 3 * last["NPO"]["retain"] > 3 * last["NPO+RT"]["retain"]


def markov(seed, count=400, states=10, leak=0.2):
  """Transition counts of long and short sequences, each wandering in a block of three states of its own."""
  rng = np.random.default_rng(seed)
  inside = rng.dirichlet(np.ones(3), 3)  # the same chain in every block: only the lengths differ

  def walk(block, length):
    own = slice(3 * block, 3 * block + 3)
    chain = np.full((states, states), leak / (states - 3))
    chain[:, own] = (1 - leak) * inside[np.arange(states) % 3]
    counts = np.zeros((count, states, states), np.float32)
    now = rng.integers(0, 3, count) + 3 * block
    for _ in range(length - 1):
      then = np.minimum((rng.random(count)[:, None] > chain.cumsum(1)[now]).sum(1), states - 1)
      counts[np.arange(count), now, then] += 1
      now = then
    return counts

  return {"retain": walk(0, 20), "long": walk(1, 20), "short": walk(2, 5)}


def rises(loss, rate, steps, seed):
  """How much the nll per token of the long and of the short forgotten sequences rises."""
  parts = {name: jnp.asarray(counts) for name, counts in markov(seed).items()}
  total = sum(counts.sum(0) for counts in parts.values())
  start = jnp.log((total + 0.1) / (total + 0.1).sum(-1, keepdims=True))
  logp = lambda table, counts: jnp.einsum("bij,ij->b", counts, jax.nn.log_softmax(table))
  forget = jnp.concatenate([parts["long"], parts["short"]])
  length, ref = forget.sum((1, 2)), logp(start, forget)
  after = descent(lambda t: jnp.mean(loss(logp(t, forget), ref, length)), rate, steps)(start)
  per_token = lambda table, counts: -jnp.sum(logp(table, counts)) / counts.sum()
  return [float(per_token(after, parts[n]) - per_token(start, parts[n])) for n in ("long", "short")]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_npo_forgets_long_sequences_first_and_simnpo_short_ones(seed):
  long, short = rises(lambda logp, ref, length: losses.npo(logp, ref, 0.2), 0.05, 80, seed)
  assert long > 1.25 * short > 0
  long, short = rises(lambda logp, ref, length: losses.simnpo(-logp / length, 1.0), 1.0, 60, seed)
  assert 0 < long < 0.25 * short
