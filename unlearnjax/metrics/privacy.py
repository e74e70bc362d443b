"""Accounts of what a deletion can still leak: the certificate of a masked gradient, and Noisy-GD's Renyi divergence."""

from __future__ import annotations

import math

from unlearnjax.core import check

ACCOUNTANTS = ("classical", "exact")


def noise_multiplier(epsilon: float, delta: float, accountant: str = "classical") -> float:
  """sigma / sensitivity at which Gaussian noise hides a shift, up to (epsilon, delta).

  "classical" is sqrt(2 log(1.5 / delta)) / epsilon, the constant of certified removal (Guo et al., arXiv:1911.03030).
  It is proved for epsilon <= 1. "exact" is the smallest multiplier there is, for any epsilon, from dp-accounting.

  Args:
    epsilon: > 0.
    delta: in (0, 1).
    accountant: "classical" or "exact".

  Raises:
    ValueError: numbers out of range, or "classical" with epsilon > 1.
    ImportError: "exact" without dp-accounting (`pip install "unlearnjax[privacy]"`).

  Example:
    >>> round(noise_multiplier(1.0, 1e-4), 4)
    4.3854
  """
  check.positive("epsilon", epsilon)
  check.fraction("delta", delta, one=False)
  check.one_of("accountant", accountant, ACCOUNTANTS)
  if accountant == "exact":
    return float(_accounting().get_sigma_gaussian(epsilon, delta))
  if epsilon > 1:
    raise ValueError(f"accountant='classical' is proved for epsilon <= 1, got {epsilon}: use accountant='exact'")
  return math.sqrt(2 * math.log(1.5 / delta)) / epsilon


def removal_epsilon(residual: float, sigma: float, delta: float) -> float:
  """The smallest epsilon at which weights with a gradient residual are (epsilon, delta)-certified as retrained.

  The weights minimise a loss with a random linear term b^T w, b ~ N(0, sigma^2 I), up to a gradient of norm at most
  `residual`: they are the exact minimum for b shifted by so much, which the noise hides. Lower is better; 0 is exact.

  Args:
    residual: >= 0, a bound of the norm of the gradient, of the loss as a sum over examples.
    sigma: > 0.
    delta: in (0, 1).

  Returns:
    epsilon in [0, inf), by dp-accounting.

  Example:
    >>> removal_epsilon(0.0, 1.0, 1e-4)
    0.0
  """
  check.positive("residual", residual, zero=True)
  check.positive("sigma", sigma)
  check.fraction("delta", delta, one=False)
  return float(_accounting().get_epsilon_gaussian(sigma / residual, delta)) if residual > 0 else 0.0


def noisy_gd_rdp(
  order: float,
  *,
  learning_rate: float,
  noise: float,
  l2: float,
  lipschitz: float,
  size: int,
  changed: int = 1,
  steps: int | None = None,
  forget_steps: int = 0,
  releases: int = 0,
  bound: str = "iteration",
) -> float:
  """Renyi divergence of Noisy-GD's weights from weights that never depended on the records in question.

  theta <- theta - eta grad L(theta) + sqrt(2 eta) N(0, s^2 I), L = (1/n) sum l + (lam / 2) |theta|^2: `steps` steps
  with the records, then `forget_steps` without them. l convex, L-Lipschitz and beta-smooth, eta <= 2 / (2 lam + beta).
  With c = 1 - eta lam, K = steps, K' = forget_steps, T = K + K', and r records changed:

  - "iteration": 2 q (r L / n)^2 (1 - eta lam / 2) / (lam s^2) c^{2K'} (1 - c^K)^2 / (1 - c^{2T}). Privacy amplification
    by contractive iteration (Feldman et al., arXiv:1808.06651): a shift of 2 r L eta / n a step is spread over the
    noise of all T steps. For linear losses and a start from the stationary variance the divergence is this without the
    last denominator, so it is tight as T grows.
  - "paper": 4 q (r L / n)^2 / (lam s^2) (1 - e^{-lam eta K / 2}) e^{-lam eta K'}, the closed form of Chourasia & Shah,
    arXiv:2210.08911, as remembered; it is never below "iteration".
  - "composition": K q eta (r L / n)^2 / s^2, one Gaussian mechanism a step; forgetting does not lower it.

  Removing r of n records changes the mean gradient by at most 2 r L / n, as replacing them does.

  Args:
    order: q > 1.
    learning_rate: eta > 0, with eta lam < 1.
    noise: s > 0. The noise of a step is sqrt(2 eta) s.
    l2: lam > 0.
    lipschitz: L > 0, of the loss of one record.
    size: n >= 1, records before the change.
    changed: r >= 0.
    steps: K >= 1, or None for arbitrarily many: what holds at any point of a stream of requests.
    forget_steps: K' >= 0.
    releases: p >= 0, models that whoever chose the request had seen. A deletion chosen adaptively leaks also what they
      tell about the records that stay: p times the divergence of one changed record, without forgetting.
    bound: "iteration", "paper" or "composition".

  Returns:
    the bound, >= 0; lower is better.

  Raises:
    ValueError: numbers out of range, or "composition" without `steps`.

  Example:
    >>> given = dict(learning_rate=0.2, noise=0.3, l2=0.5, lipschitz=1.0, size=50)
    >>> [round(noisy_gd_rdp(2, steps=100, forget_steps=k, **given), 6) for k in (0, 5, 20)]
    [0.033776, 0.011777, 0.000499]
  """
  check.one_of("bound", bound, ("iteration", "paper", "composition"))
  for name, value in (("learning_rate", learning_rate), ("noise", noise), ("l2", l2), ("lipschitz", lipschitz)):
    check.positive(name, value)
  check.positive("size", size)
  for name, value in (("changed", changed), ("forget_steps", forget_steps), ("releases", releases)):
    check.positive(name, value, zero=True)
  if order <= 1:
    raise ValueError(f"order must be > 1, got {order}")
  if learning_rate * l2 >= 1:
    raise ValueError(f"learning_rate * l2 must be < 1, got {learning_rate * l2}")
  if steps is None and bound == "composition":
    raise ValueError("bound='composition' needs steps: it grows without end")
  if steps is not None:
    check.positive("steps", steps)

  a = learning_rate * l2
  shift = changed * lipschitz / size
  decay = lambda k: 0.0 if k is None else (1 - a) ** k
  if bound == "composition":
    found = steps * order * learning_rate * shift**2 / noise**2
  elif bound == "paper":
    grown = 1.0 if steps is None else 1 - math.exp(-a * steps / 2)
    found = 4 * order * shift**2 / (l2 * noise**2) * grown * math.exp(-a * forget_steps)
  else:
    total = decay(None if steps is None else 2 * (steps + forget_steps))
    spread = (1 - decay(steps)) ** 2 / (1 - total)
    found = 2 * order * shift**2 * (1 - a / 2) / (l2 * noise**2) * decay(2 * forget_steps) * spread
  if not releases:
    return found
  given = dict(learning_rate=learning_rate, noise=noise, l2=l2, lipschitz=lipschitz, size=size, bound=bound)
  return found + releases * noisy_gd_rdp(order, steps=steps, **given)


def rdp_epsilon(rdp, delta: float, orders=(1.25, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128)) -> float:
  """The smallest epsilon of an (epsilon, delta) guarantee that follows from a Renyi guarantee, by dp-accounting.

  Args:
    rdp: `order -> divergence`, e.g. `lambda q: noisy_gd_rdp(q, ...)`.
    delta: in (0, 1).
    orders: that are tried, > 1.

  Example:
    >>> round(rdp_epsilon(lambda q: 0.01 * q, 1e-5), 2)  # doctest: +SKIP
    0.58
  """
  check.fraction("delta", delta, one=False)
  _accounting()
  from dp_accounting.rdp import rdp_privacy_accountant

  return float(rdp_privacy_accountant.compute_epsilon(list(orders), [rdp(q) for q in orders], delta)[0])


def _accounting():
  try:
    import dp_accounting
  except ImportError as error:
    raise ImportError('this account needs dp-accounting: pip install "unlearnjax[privacy]"') from error
  return dp_accounting
