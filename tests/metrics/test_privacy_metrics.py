"""Accounts of deletion: closed forms against simulated chains, a numerical accountant and each other."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from unlearnjax.core import Examples, UnlearnState, descend, fit, replicate, zip_roles
from unlearnjax.metrics import noise_multiplier, noisy_gd_rdp, rdp_epsilon, removal_epsilon
from unlearnjax.objectives import mean
from unlearnjax.updates import langevin

CARD = dict(learning_rate=0.2, noise=0.3, l2=0.5, lipschitz=1.0, size=50)


def exact(order, steps, forget_steps=0, *, learning_rate, noise, l2, lipschitz, size, changed=1):
  """Renyi divergence of two Gaussian chains with linear losses that differ in `changed` records, from the stationary
  variance."""
  c = 1 - learning_rate * l2
  gap = c**forget_steps * (1 - c**steps) * 2 * changed * lipschitz / size / l2
  return order * gap**2 / (2 * noise**2 / (l2 * (1 - learning_rate * l2 / 2)))


@pytest.mark.parametrize("steps, ratio", [(1, 0.0974), (5, 0.3601), (20, 0.5798), (100, 0.4782)])
def test_the_exact_divergence_is_the_stated_part_of_the_papers_bound(steps, ratio):
  found = exact(2, steps, **CARD) / noisy_gd_rdp(2, steps=steps, bound="paper", **CARD)
  assert found == pytest.approx(ratio, abs=5e-5)


def test_bounds_hold_and_the_iteration_bound_is_tight():
  for a in (0.01, 0.1, 0.5, 0.9):
    given = {**CARD, "learning_rate": a / CARD["l2"]}
    for steps in (1, 3, 20, 300):
      for after in (0, 1, 7):
        true = exact(2, steps, after, **given)
        tight = noisy_gd_rdp(2, steps=steps, forget_steps=after, **given)
        assert true <= tight * (1 + 1e-12)
        assert tight <= noisy_gd_rdp(2, steps=steps, forget_steps=after, bound="paper", **given)
        assert tight <= noisy_gd_rdp(2, steps=steps, forget_steps=after, bound="composition", **given) * (1 + 1e-12)
      assert tight <= noisy_gd_rdp(2, forget_steps=7, **given)  # what holds for any number of steps
  assert noisy_gd_rdp(2, steps=300, **CARD) == pytest.approx(exact(2, 300, **CARD), rel=1e-12)
  one = noisy_gd_rdp(2, steps=1, **CARD)  # one step is one Gaussian mechanism
  assert one == pytest.approx(noisy_gd_rdp(2, steps=1, bound="composition", **CARD))


def test_requests_of_several_records_and_adaptive_ones_cost_more():
  base = noisy_gd_rdp(2, forget_steps=20, **CARD)
  assert noisy_gd_rdp(2, forget_steps=20, changed=3, **CARD) == pytest.approx(9 * base)
  adaptive = noisy_gd_rdp(2, forget_steps=20, changed=3, releases=4, **CARD)
  assert adaptive == pytest.approx(9 * base + 4 * noisy_gd_rdp(2, **CARD))
  assert noisy_gd_rdp(2, forget_steps=20, changed=0, **CARD) == 0


def test_simulated_chains_have_the_closed_mean_and_variance():
  """Thousands of chains of the library's own step on a linear loss: -<theta, mean x> + (l2 / 2) theta^2."""
  eta, s, l2, steps, chains = 0.2, 0.3, 0.5, 6, 4000
  x = Examples({"x": np.linspace(-1, 3, 8, dtype=np.float32)[:, None]})
  objective = lambda params, batch, view: mean(-batch["inputs"]["x"][:, 0] * params["w"], batch)
  step = replicate(descend({"train": objective}, langevin(eta, s, l2)))
  keys = jax.random.split(jax.random.key(0), chains)
  start = s / np.sqrt(l2 * (1 - eta * l2 / 2)) * jax.random.normal(jax.random.key(1), (chains,))
  state = jax.vmap(lambda w, k: UnlearnState.create({"w": w}, rng=k))(start, keys)
  plan = zip_roles(train=x, batch_size=8, epochs=steps, seeds=range(chains))
  state, _ = fit(step, step.init(state), plan)
  w = np.asarray(state.params["w"])
  expected, variance = (1 - (1 - eta * l2) ** steps) / l2, s**2 / (l2 * (1 - eta * l2 / 2))
  assert w.mean() == pytest.approx(expected, abs=4 * np.sqrt(variance / chains))
  assert w.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / chains))


def test_a_numerical_accountant_agrees():
  accounting = pytest.importorskip("dp_accounting")
  from dp_accounting.rdp import RdpAccountant

  orders, steps = (2.0, 8.0), 30
  account = RdpAccountant(orders)
  sensitivity, std = CARD["learning_rate"] * 2 / CARD["size"], np.sqrt(2 * CARD["learning_rate"]) * CARD["noise"]
  account.compose(accounting.GaussianDpEvent(std / sensitivity), steps)
  found = [noisy_gd_rdp(q, steps=steps, bound="composition", **CARD) for q in orders]
  np.testing.assert_allclose(account._rdp, found, rtol=1e-6)
  epsilon = rdp_epsilon(lambda q: noisy_gd_rdp(q, steps=steps, **CARD), 1e-5)
  assert 0 < epsilon < rdp_epsilon(lambda q: noisy_gd_rdp(q, steps=steps, bound="composition", **CARD), 1e-5)


def test_certificates_of_a_masked_gradient():
  pytest.importorskip("dp_accounting")
  for epsilon in (0.1, 0.5, 1.0):
    classical, tight = (noise_multiplier(epsilon, 1e-4, a) for a in ("classical", "exact"))
    assert tight < classical
    assert removal_epsilon(1 / tight, 1.0, 1e-4) == pytest.approx(epsilon, rel=1e-3)
    assert removal_epsilon(1 / classical, 1.0, 1e-4) < epsilon
  grown = [removal_epsilon(r, 1.0, 1e-4) for r in (0.0, 0.1, 0.2, 0.4)]
  assert grown[0] == 0 and np.all(np.diff(grown) > 0)


def test_messages():
  for options, message in (
    (dict(order=1.0), "order must be > 1"),
    (dict(order=2, learning_rate=3.0), "learning_rate \\* l2 must be < 1"),
    (dict(order=2, bound="composition"), "needs steps"),
    (dict(order=2, steps=0), "steps must be > 0"),
    (dict(order=2, bound="best"), "bound must be one of"),
  ):
    with pytest.raises(ValueError, match=message):
      noisy_gd_rdp(**{**CARD, **options})
  with pytest.raises(ValueError, match="accountant must be one of"):
    noise_multiplier(1.0, 1e-4, "rough")
