"""Objectives of language models, token by token: means over the scored tokens of a batch.

What a role batch of language holds is said in `objectives.tokens`. `aux["weight"]` is the number of scored tokens, so
microbatches add up exactly. Rows weigh by their length; objectives on whole answers are in `objectives.preference`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from unlearnjax import losses
from unlearnjax.core import check
from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import Array, ModelFn, Objective
from unlearnjax.losses import Aligned
from unlearnjax.objectives.bind import column, frozen, mean, with_state
from unlearnjax.objectives.tokens import answer, answer_batch, scored, token_mean

COMPAT = (None, "open_unlearning")


def token_loss(fn: ModelFn, loss: Callable[[Aligned], Array], *, train: bool = True, answers: str = "") -> Objective:
  """Mean over scored tokens of `loss((logits, targets, mask)) -> f[B, T]`: any token loss of `losses`.

  Args:
    fn: a causal model.
    loss: 0 where the mask is False.
    train: runs the model for training (dropout) and reports its new state.
    answers: which answers, see `objectives.tokens`.
  """

  def objective(params, batch, view):
    batch = answer_batch(batch, answers)
    aligned, out = answer(fn, params, batch, view, train=train)
    value, aux = token_mean(loss(aligned), aligned.mask)
    return value, with_state(aux, out, view, train)

  return objective


def nll(fn: ModelFn, *, train: bool = True, answers: str = "") -> Objective:
  """-log p of the scored tokens: language modelling, and the retain term (GDR, "RT") of most unlearning papers.

  `negated(nll(fn))` on the forget role is gradient ascent; `nll(fn, answers="alt")` trains towards refusals (IDK),
  towards answers of other questions (the random mismatch of LLMU) or towards any replacement.

  Args:
    fn: a causal model.
    train: runs the model for training.
    answers: which answers, see `objectives.tokens`.

  Example:
    >>> from unlearnjax.core.types import Outputs, View
    >>> bigram = lambda params, inputs, **_: Outputs(params[inputs["tokens"]])
    >>> batch = {"inputs": {"tokens": jnp.array([[0, 1, 2]])}, "mask": jnp.array([[False, True, True]])}
    >>> value, aux = nll(bigram)(jnp.zeros((4, 4)), batch, View(0, jax.random.key(0), {}, {}, ()))
    >>> round(float(value), 4), float(aux["weight"])
    (1.3863, 2.0)
  """
  return token_loss(fn, lambda a: losses.token_nll(*a), train=train, answers=answers)


def signed_nll(fn: ModelFn, *, factor: str | float = "factor", train: bool = True) -> Objective:
  """Mean over rows of factor_i times the row's mean nll: one shuffled stream of forget (-1) and retain (+) rows.

  Yao et al. 2024, arXiv:2402.15159. All factors 1 train, all -1 ascend.

  Args:
    fn: a causal model.
    factor: column f[B], or one number for all rows.
    train: runs the model for training.
  """

  def objective(params, batch, view):
    aligned, out = answer(fn, params, batch, view, train=train)
    rows = losses.reduce_seq_mean(losses.token_nll(*aligned), aligned.mask)
    value, aux = mean((column(batch, factor) if isinstance(factor, str) else factor) * rows, batch)
    return value, with_state(aux, out, view, train)

  return objective


def uniform(fn: ModelFn, *, train: bool = True, answers: str = "") -> Objective:
  """KL(uniform || p) of the scored tokens: what a model should say of that which it must not know. arXiv:2406.08607.

  Args:
    fn: a causal model.
    train: runs the model for training.
    answers: which answers, see `objectives.tokens`.

  Example:
    >>> from unlearnjax.core.types import Outputs, View
    >>> bigram = lambda params, inputs, **_: Outputs(params[inputs["tokens"]])
    >>> batch = {"inputs": {"tokens": jnp.array([[0, 1]])}, "mask": jnp.array([[False, True]])}
    >>> table = jnp.array([[2.0, 1.0, 0.0, -1.0]] * 4)
    >>> round(float(uniform(bigram)(table, batch, View(0, jax.random.key(0), {}, {}, ()))[0]), 6)
    0.553895
  """
  return token_loss(
    fn, lambda a: losses.kl_ref(a.logits, jnp.zeros_like(a.logits), a.mask), train=train, answers=answers
  )


def wga(fn: ModelFn, beta: float = 1.0, *, train: bool = True) -> Objective:
  """Weighted gradient ascent, see `losses.wga`. arXiv:2502.19301."""
  check.positive("beta", beta, zero=True)
  return token_loss(fn, lambda a: losses.wga(losses.token_nll(*a), beta), train=train)


def satimp(fn: ModelFn, beta1: float = 5.0, beta2: float = 1.0, *, train: bool = True) -> Objective:
  """Ascent weighted by saturation and importance, see `losses.satimp`. arXiv:2505.11953."""
  check.positive("beta1", beta1, zero=True)
  check.positive("beta2", beta2, zero=True)
  return token_loss(fn, lambda a: losses.satimp(losses.token_nll(*a), beta1, beta2), train=train)


def ceu(fn: ModelFn, *, skip_first: int = 1, train: bool = True) -> Objective:
  """Cross entropy to the model's own distribution without the token to forget, see `losses.ceu`. arXiv:2503.01224.

  Args:
    fn: a causal model.
    skip_first: answer tokens at the start of each row that are not scored, >= 0.
    train: runs the model for training.
  """
  check.positive("skip_first", skip_first, zero=True)

  def objective(params, batch, view):
    aligned, out = answer(fn, params, batch, view, train=train)
    mask = losses.drop_first(aligned.mask, skip_first)
    value, aux = token_mean(losses.ceu(aligned.logits, aligned.targets, mask), mask)
    return value, with_state(aux, out, view, train)

  return objective


def undial(
  fn: ModelFn,
  beta: float = 10.0,
  *,
  reference: str = "reference",
  train: bool = True,
  compat: str | None = None,
) -> Objective:
  """Distils a reference that was talked out of the memorised token, see `losses.undial`. arXiv:2402.10052.

  Args:
    fn: the model and its reference.
    beta: >= 0, how much the token's logit is lowered.
    reference: `refs[reference] = {"params", "state"}`, run in eval mode under stop_gradient.
    train: runs the model for training.
    compat: `"open_unlearning"` averages over all positions, see `losses.undial`.
  """
  check.positive("beta", beta, zero=True)
  check.one_of("compat", compat, COMPAT)

  def objective(params, batch, view):
    aligned, out = answer(fn, params, batch, view, train=train)
    ref = scored(frozen(fn, batch, view, reference).logits, batch)
    values = losses.undial(aligned.logits, ref.logits, aligned.targets, aligned.mask, beta, compat)
    value, aux = token_mean(values, jnp.ones_like(aligned.mask) if compat else aligned.mask)
    return value, with_state(aux, out, view, train)

  return objective


def kl_min(
  fn: ModelFn, *, reference: str = "reference", train: bool = True, answers: str = "", compat: str | None = None
) -> Objective:
  """KL(p_ref || p) on the retain role ("KLR"): the model stays where the reference was.

  Args:
    fn: the model and its reference.
    reference: `refs[reference] = {"params", "state"}`, run in eval mode under stop_gradient.
    train: runs the model for training.
    answers: which answers, see `objectives.tokens`.
    compat: `"open_unlearning"` averages over every position of the batch, prompt, padding and the last one included,
      as TOFU's code and its descendants do.

  Example:
    >>> from unlearnjax.core.types import Outputs, View
    >>> bigram = lambda params, inputs, **_: Outputs(params[inputs["tokens"]])
    >>> batch = {"inputs": {"tokens": jnp.array([[0, 1, 2]])}, "mask": jnp.array([[False, True, True]])}
    >>> view = View(0, jax.random.key(0), {"reference": {"params": jnp.eye(4)}}, {}, ())
    >>> float(kl_min(bigram)(jnp.eye(4), batch, view)[0])
    0.0
  """
  check.one_of("compat", compat, COMPAT)

  def objective(params, batch, view):
    batch = answer_batch(batch, answers)
    aligned, out = answer(fn, params, batch, view, train=train)
    ref = frozen(fn, batch, view, reference).logits
    if compat:
      value, aux = token_mean(losses.kl_ref(out.logits, ref), jnp.ones(ref.shape[:2], bool))
    else:
      values = losses.kl_ref(aligned.logits, scored(ref, batch).logits, aligned.mask)
      value, aux = token_mean(values, aligned.mask)
    return value, with_state(aux, out, view, train)

  return objective


def logit_margin(fn: ModelFn, *, train: bool = True, compat: str | None = None) -> Objective:
  """(max logit - mean logit)^2 on the forget role: the entropic term of PDU. arXiv:2506.05314.

  Args:
    fn: a causal model.
    train: runs the model for training.
    compat: `"open_unlearning"` scores the positions at which answer tokens stand, not those that predict them: one too
      late.
  """
  check.one_of("compat", compat, COMPAT)

  def objective(params, batch, view):
    aligned, out = answer(fn, params, batch, view, train=train)
    logits, mask = aligned.logits, aligned.mask
    if compat:
      logits, mask = out.logits, _standing(batch)
    value, aux = token_mean(losses.logit_margin(logits, mask), mask)
    return value, with_state(aux, out, view, train)

  return objective


def random_tokens(fn: ModelFn, *, train: bool = True) -> Objective:
  """-log p of tokens drawn uniformly from the vocabulary, anew at every step, in place of the answers.

  Yao et al. 2024, arXiv:2402.15159, draw once: `false_nll` on `with_random_tokens`.
  """

  def objective(params, batch, view):
    aligned, out = answer(fn, params, batch, view, train=train)
    shape, vocabulary = aligned.targets.shape, aligned.logits.shape[-1]
    drawn = jax.random.randint(fold_name(view.rng, "tokens"), shape, 0, vocabulary)
    value, aux = token_mean(losses.token_nll(aligned.logits, drawn, aligned.mask), aligned.mask)
    return value, with_state(aux, out, view, train)

  return objective


def rmu(
  fn: ModelFn,
  site: str,
  *,
  control: str = "control",
  reference: str = "reference",
  train: bool = True,
  compat: str | None = None,
) -> dict[str, Objective]:
  """Steers activations on the forget role to a fixed vector and keeps them on the retain role. arXiv:2403.03218.

  The paper adds alpha times the retain term (100 or more: `combine.weighted(forget=1, retain=alpha)`) and trains only
  three MLP projections: mask the updates.

  Args:
    fn: the model and its reference.
    site: activation f[B, T, d], e.g. the residual stream after a block.
    control: `refs[control] = f[d]`, see `losses.control_vector`.
    reference: `refs[reference] = {"params", "state"}`, run in eval mode under stop_gradient.
    train: runs the model for training.
    compat: `"open_unlearning"` scores the positions at which answer tokens stand, and multiplies the mean of the rows'
      sums by the mean of 1 / length (equal to the mean of means only where all lengths are equal); microbatching is
      then not exact.

  Returns:
    {"forget": objective, "retain": objective}.
  """
  check.one_of("compat", compat, COMPAT)

  def steering(target: Callable) -> Objective:
    def objective(params, batch, view):
      aligned, out = answer(fn, params, batch, view, train=train, capture=(site,))
      hidden, goal = out.hidden[site], target(batch, view)
      if compat:
        mask = _standing(batch)
        rows, counts = losses.reduce_seq_sum(losses.rmu(hidden, goal, mask), mask), jnp.maximum(mask.sum(-1), 1)
        value, aux = mean(rows, batch)
        return value * mean(1.0 / counts, batch)[0], with_state(aux, out, view, train)
      goal = goal[:, :-1] if goal.ndim == 3 else goal
      value, aux = token_mean(losses.rmu(hidden[:, :-1], goal, aligned.mask), aligned.mask)
      return value, with_state(aux, out, view, train)

    return objective

  kept = lambda batch, view: frozen(fn, batch, view, reference, capture=(site,)).hidden[site]
  return {"forget": steering(lambda batch, view: column(view.refs, control)), "retain": steering(kept)}


def _standing(batch) -> Array:
  """bool[B, T]: positions at which scored tokens stand, in valid rows."""
  mask = jnp.asarray(column(batch, "mask"), bool)
  return mask & jnp.asarray(batch["valid"], bool)[:, None] if "valid" in batch else mask
