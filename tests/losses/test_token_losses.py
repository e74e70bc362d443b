from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearnjax import losses

Z = jnp.array([[[2.0, 1.0, 0.0, -1.0]]])
Y = jnp.array([[0]])
B, T, V = 3, 5, 7
EXTRA = 2  # columns of padding

# every token loss on the same arguments: (logits, reference logits, targets, mask) -> f[B, T]
TOKEN = {
  "nll": lambda z, r, y, m: losses.token_nll(z, y, m),
  "wga": lambda z, r, y, m: losses.wga(losses.token_nll(z, y, m)),
  "satimp": lambda z, r, y, m: losses.satimp(losses.token_nll(z, y, m)),
  "ceu": lambda z, r, y, m: losses.ceu(z, y, m),
  "undial": lambda z, r, y, m: losses.undial(z, r, y, m),
  "kl_ref": lambda z, r, y, m: losses.kl_ref(z, r, m),
  "logit_margin": lambda z, r, y, m: losses.logit_margin(z, m),
  "rmu": lambda z, r, y, m: losses.rmu(z, r, m),
}
# every loss on whole answers: -> f[B]
ROW = {
  "npo": lambda z, r, y, m: losses.npo(_logp(z, y, m), _logp(r, y, m)),
  "simnpo": lambda z, r, y, m: losses.simnpo(losses.reduce_seq_mean(losses.token_nll(z, y, m), m)),
  "dpo": lambda z, r, y, m: losses.dpo(_logp(r, y, m), _logp(z, y, m), _logp(z, y, m), _logp(r, y, m)),
  "flat": lambda z, r, y, m: losses.flat(
    losses.mean_probability(losses.token_nll(r, y, m), m), losses.mean_probability(losses.token_nll(z, y, m), m)
  ),
}

FAST = ("nll", "undial", "npo")
EACH = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in (*TOKEN, *ROW)]


def _logp(z, y, m):
  return -losses.reduce_seq_sum(losses.token_nll(z, y, m), m)


def _sum(loss):
  return lambda z, *rest: jnp.sum(loss(z, *rest))


def _arrays(seed, dtype=jnp.float32):
  rng = np.random.default_rng(seed)
  lengths = rng.integers(1, T + 1, B)
  mask = np.arange(T) < lengths[:, None]
  z, r = (jnp.asarray(rng.normal(size=(B, T, V)), dtype) for _ in range(2))
  return z, r, jnp.asarray(rng.integers(0, V, (B, T))), jnp.asarray(mask)


@pytest.mark.parametrize(
  ("name", "value", "slope"),
  [
    ("undial", 1.8648624, (0.6438322, -0.4283035, -0.1575641, -0.0579646)),
    ("ceu", 1.8649793, (0.6439143, -0.4283581, -0.1575842, -0.0579720)),
    ("wga", -0.2834444, (0.2292887, -0.1525322, -0.0561135, -0.0206430)),
    ("satimp", -0.0173514, (0.0140362, -0.0093375, -0.0034351, -0.0012637)),
    ("logit_margin", 2.25, (2.25, -0.75, -0.75, -0.75)),
    ("nll", 0.4401897, (-0.3560857, 0.2368828, 0.0871443, 0.0320586)),
  ],
)
def test_closed_values_and_gradients_on_four_logits(name, value, slope):
  mask = jnp.ones((1, 1), bool)
  found, gradient = jax.value_and_grad(_sum(TOKEN[name]))(Z, Z, Y, mask)
  np.testing.assert_allclose(found, value, atol=2e-6)
  np.testing.assert_allclose(gradient[0, 0], slope, atol=2e-6)


@pytest.mark.parametrize("name", EACH)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_padding_changes_no_value_and_no_gradient_whatever_it_holds(name, seed):
  loss = {**TOKEN, **ROW}[name]
  z, r, y, m = _arrays(seed)
  value, gradient = loss(z, r, y, m), jax.grad(_sum(loss))(z, r, y, m)
  junk = [jnp.nan, jnp.inf, -jnp.inf, 1e30][seed % 4]
  wide = lambda x, fill: jnp.concatenate([x, jnp.full((B, EXTRA, *x.shape[2:]), fill, x.dtype)], 1)
  dirty = lambda x: jnp.where(wide(m, False)[..., None], wide(x, junk), junk)
  args = dirty(z), dirty(r), jnp.where(wide(m, False), wide(y, 0), -100), wide(m, False)
  padded, slopes = loss(*args), jax.grad(_sum(loss))(*args)
  np.testing.assert_allclose(padded[:, :T] if padded.ndim > 1 else padded, value, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(slopes[:, :T], gradient, rtol=1e-5, atol=1e-6)
  assert not np.any(slopes[:, T:]) and not np.any(np.asarray(slopes[:, :T])[~np.asarray(m)])
  if padded.ndim > 1:
    assert not np.any(padded[:, T:]) and not np.any(np.asarray(padded[:, :T])[~np.asarray(m)])


@pytest.mark.parametrize("name", EACH)
def test_half_precision_logits_are_scored_in_float32(name):
  loss = {**TOKEN, **ROW}[name]
  z, r, y, m = _arrays(0, jnp.bfloat16)
  found, gradient = loss(z, r, y, m), jax.grad(_sum(loss))(z, r, y, m)
  assert found.dtype == jnp.float32 and gradient.dtype == jnp.bfloat16
  np.testing.assert_allclose(found, loss(z.astype(jnp.float32), r.astype(jnp.float32), y, m), rtol=1e-6)


@pytest.mark.parametrize("name", EACH)
def test_confident_logits_stay_finite(name):
  loss = {**TOKEN, **ROW}[name]
  z = jnp.full((1, 1, V), -1e4).at[0, 0, 0].set(1e4)
  for y in (0, 1):  # certain of the target, certain of another token
    found, gradient = jax.value_and_grad(_sum(loss))(z, z / 2, jnp.array([[y]]), jnp.ones((1, 1), bool))
    assert np.isfinite(found) and np.isfinite(gradient).all(), (name, y)


def test_the_reference_and_the_weights_receive_no_gradient():
  z, r, y, m = _arrays(1)
  for loss in (TOKEN["undial"], TOKEN["kl_ref"], TOKEN["rmu"], ROW["npo"]):
    assert not np.any(jax.grad(lambda ref, loss=loss: jnp.sum(loss(z, ref, y, m)))(r))


def test_suppressed_tokens_may_have_a_logit_of_minus_infinity():
  z = Z.at[0, 0, 3].set(-jnp.inf)
  for name in ("nll", "wga", "satimp", "ceu", "kl_ref", "undial"):
    found, gradient = jax.value_and_grad(_sum(TOKEN[name]))(z, z, Y, jnp.ones((1, 1), bool))
    assert np.isfinite(found) and np.isfinite(gradient).all(), name


def test_the_three_reductions_differ_as_they_should():
  values, mask = jnp.array([[1.0, 1.0, 4.0], [6.0, 9.0, 9.0]]), jnp.array([[1, 1, 1], [1, 0, 0]], bool)
  assert losses.reduce_seq_sum(values, mask).tolist() == [6.0, 6.0]
  assert losses.reduce_seq_mean(values, mask).tolist() == [2.0, 6.0]
  assert float(losses.reduce_token_mean(values, mask)) == 3.0
  nothing = jnp.zeros_like(mask)
  assert losses.reduce_seq_mean(values, nothing).tolist() == [0.0, 0.0]
  assert float(losses.reduce_token_mean(values, nothing)) == 0.0


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, T + 1))
def test_first_and_last_scored_tokens_leave_the_mask(seed, count):
  mask = np.random.default_rng(seed).random((B, T)) < 0.6
  first, last = (np.asarray(f(jnp.asarray(mask), count)) for f in (losses.drop_first, losses.drop_last))
  for row in range(B):
    at = np.flatnonzero(mask[row])
    assert np.flatnonzero(first[row]).tolist() == at[count:].tolist()
    assert np.flatnonzero(last[row]).tolist() == at[: max(len(at) - count, 0)].tolist()


@pytest.mark.parametrize(("beta", "d", "value"), [(0.1, 0, 13.862944), (0.05, 0, 27.725887), (1, 0, 1.386294)])
def test_npo_at_the_reference(beta, d, value):
  f = lambda logp: losses.npo(logp, jnp.zeros(1), beta)[0]
  found, slope = jax.value_and_grad(f)(jnp.full(1, -float(d)))
  np.testing.assert_allclose(found, value, rtol=1e-6)
  np.testing.assert_allclose(slope, 1, rtol=1e-6)  # the gradient of ascent, for every beta


def test_npo_far_from_the_reference_and_its_weight():
  np.testing.assert_allclose(losses.npo(jnp.array([-10.0]), jnp.zeros(1), 0.1), 6.265233, rtol=1e-6)
  np.testing.assert_allclose(losses.npo(jnp.array([-10.0]), jnp.zeros(1), 1.0), 9.07978e-5, rtol=1e-5)
  d = jnp.linspace(-30, 30, 13)
  weight = jax.grad(lambda logp: losses.npo(logp, jnp.zeros_like(logp), 0.7).sum())(-d)
  np.testing.assert_allclose(weight, 2 * jax.nn.sigmoid(-0.7 * d), rtol=1e-5, atol=1e-7)
  assert np.isfinite(losses.npo(jnp.array([-1e5, 1e5]), jnp.zeros(2))).all()


def test_npo_is_gradient_ascent_for_small_beta_and_dpo_without_a_winner():
  logp, ref = jnp.array([-3.0, -1.0, -8.0]), jnp.array([-1.0, -4.0, -8.0])
  slope = jax.grad(lambda x: losses.npo(x, ref, 1e-6).sum())(logp)
  np.testing.assert_allclose(slope, 1, atol=1e-5)
  with jax.enable_x64(True):
    d = losses.npo(jnp.array([-3.0], jnp.float64), jnp.zeros(1, jnp.float64), 1e-6)[0] - 2e6 * np.log(2)
  np.testing.assert_allclose(d, -2.9999977, atol=1e-6)
  np.testing.assert_allclose(losses.dpo(ref, ref, logp, ref, 0.3), losses.npo(logp, ref, 0.3), rtol=1e-6)
  plain = losses.dpo(logp, ref, ref, logp, 0.3, scale=1)
  np.testing.assert_allclose(plain, -jax.nn.log_sigmoid(0.6 * (logp - ref)), rtol=1e-5)


def test_simnpo_values_and_limits():
  np.testing.assert_allclose(losses.simnpo(jnp.array([0.5, 2.0])), [0.0445362, 5.4846e-5], rtol=2e-5)
  x = jnp.array([1.5])
  np.testing.assert_allclose(losses.simnpo(x, 0.3), losses.npo(-x, jnp.zeros(1), 0.3), rtol=1e-6)
  slope = jax.grad(lambda v: losses.simnpo(v, 2.0, 0.5).sum())(x)
  np.testing.assert_allclose(slope, -2 * jax.nn.sigmoid(-(2.0 * x - 0.5)), rtol=1e-5)


@pytest.mark.parametrize(
  ("name", "value", "template", "forget"),
  [
    ("kl", -0.2506710, -1, 0.4493290),
    ("tv", -0.2034962, -0.3173698, 0.4805215),
    ("js", -0.1849694, -0.3318122, 0.5498340),
    ("pearson", -0.49, -1, 1.1),
  ],
)
def test_flat_values_and_slopes(name, value, template, forget):
  f = lambda e, p: losses.flat(e[None], p[None], name)[0]
  found, slopes = jax.value_and_grad(f, (0, 1))(jnp.array(0.7), jnp.array(0.2))
  np.testing.assert_allclose(found, value, atol=1e-6)
  np.testing.assert_allclose(slopes, (template, forget), atol=1e-6)


CONJUGATES = {  # f* of u, written out independently
  "kl": lambda u: np.exp(u - 1),
  "reverse_kl": lambda u: -1 - np.log(-u),
  "pearson": lambda u: u**2 / 4 + u,
  "hellinger": lambda u: u / (1 - u),
  "neyman": lambda u: 2 - 2 * np.sqrt(1 - u),
  "js": lambda u: -np.log(2 - np.exp(u)),
  "tv": lambda u: u,
}


@pytest.mark.parametrize("name", list(CONJUGATES))
def test_flat_composes_the_conjugate_with_g(name):
  zero, p = jnp.zeros(5), jnp.linspace(0, 1, 5)
  g = losses.flat(zero, zero, name) - losses.flat(p, zero, name) + CONJUGATE_AT_ZERO(name)
  np.testing.assert_allclose(
    losses.flat(zero, p, name) + CONJUGATE_AT_ZERO(name), CONJUGATES[name](np.asarray(g)), rtol=1e-5, atol=1e-6
  )


def CONJUGATE_AT_ZERO(name):
  """g*(0), which the loss subtracts."""
  return {"reverse_kl": -1.0}.get(name, 0.0)


def test_mean_probability_is_a_mean_of_probabilities():
  nll, mask = -jnp.log(jnp.array([[0.5, 0.1, 0.9]])), jnp.array([[True, True, False]])
  np.testing.assert_allclose(losses.mean_probability(nll, mask), [0.3], rtol=1e-6)


def test_identities_of_the_soft_targets():
  z, r, y, m = _arrays(3)
  value, slope = jax.value_and_grad(_sum(TOKEN["kl_ref"]))(z, z, y, m)
  np.testing.assert_allclose(value, 0, atol=1e-6)
  np.testing.assert_allclose(slope, 0, atol=1e-6)
  self_distilled = jax.grad(lambda x: losses.undial(x, z, y, m, beta=0.0).sum())(z)
  np.testing.assert_allclose(self_distilled, 0, atol=1e-6)
  p = jnp.exp(-losses.token_nll(z, y, m))
  fading = jnp.take_along_axis(jax.grad(_sum(TOKEN["ceu"]))(z, r, y, m), y[..., None], -1)[..., 0]
  np.testing.assert_allclose(fading, jnp.where(m, p, 0), atol=1e-6)
  np.testing.assert_allclose(losses.wga(losses.token_nll(z, y, m), 0.0), -losses.token_nll(z, y, m))
  np.testing.assert_allclose(losses.satimp(losses.token_nll(z, y, m), 0.0, 0.0), -losses.token_nll(z, y, m))
  np.testing.assert_allclose(losses.logit_margin(z + 3, m), losses.logit_margin(z, m), rtol=1e-4, atol=1e-5)
  weight = lambda p: p**5 * (1 - p)
  assert weight(5 / 6) > max(weight(0.8), weight(0.9))


def test_generic_logits_lower_only_what_the_reinforced_model_says_louder():
  found = losses.generic_logits(jnp.array([2.0, 1.0, 0.0]), jnp.array([4.0, 0.5, 0.0]), 5.0)
  assert found.tolist() == [-8.0, 1.0, 0.0]
  z = jnp.array([1.0, 2.0])
  assert losses.generic_logits(z, z).tolist() == z.tolist() == losses.generic_logits(z, 3 * z, 0.0).tolist()


def test_control_vectors_are_fixed_by_the_key_and_never_negative():
  a, b = (losses.control_vector(jax.random.key(k), 16, 6.5) for k in (0, 1))
  assert np.allclose(np.linalg.norm(a), 6.5) and (np.asarray(a) >= 0).all() and not np.allclose(a, b)
  hidden = jnp.broadcast_to(a, (2, 3, 16))
  assert not np.any(losses.rmu(hidden, a)) and np.any(losses.rmu(hidden, b))


def test_errors_name_the_argument():
  z, r, y, m = _arrays(0)
  with pytest.raises(ValueError, match=r"targets must be int\[B, T\] = int\[3, 5\], got shape \(3, 4\)"):
    losses.token_nll(z, y[:, :-1], m)
  with pytest.raises(ValueError, match="targets must be integers, got float32"):
    losses.token_nll(z, y.astype(jnp.float32), m)
  with pytest.raises(ValueError, match=r"mask must be bool\[B, T\] = bool\[3, 5\], got shape \(3, 6\)"):
    losses.token_nll(z, y, jnp.ones((3, 6)))
  with pytest.raises(ValueError, match=r"logits must be \[B, T, V\], got shape \(3, 5\)"):
    losses.token_nll(z[..., 0], y)
  with pytest.raises(ValueError, match="beta must be > 0, got 0"):
    losses.npo(jnp.zeros(1), jnp.zeros(1), 0)
  with pytest.raises(ValueError, match=r"logp must be \[B\], got shape \(1, 2\)"):
    losses.npo(jnp.zeros((1, 2)), jnp.zeros((1, 2)))
  with pytest.raises(ValueError, match=r"ref_logp must have the shape of logp \(3,\), got \(1,\)"):
    losses.npo(jnp.zeros(3), jnp.zeros(1))
  with pytest.raises(ValueError, match="divergence must be one of kl"):
    losses.flat(jnp.zeros(1), jnp.zeros(1), "renyi")
  with pytest.raises(ValueError, match=r"target must be \[d\] = \[7\] or of the shape of hidden"):
    losses.rmu(z, jnp.zeros(3))
  with pytest.raises(ValueError, match="needs a vocabulary of at least 100 tokens, got 7"):
    losses.undial(z, r, y, m, compat="open_unlearning")
  assert np.isnan(losses.token_nll(z, y.at[0, 0].set(V), m)[0, 0])
