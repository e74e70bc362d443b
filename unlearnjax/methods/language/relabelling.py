"""Training towards false tokens: at random, or the model's own second choice. Yao et al. 2024, arXiv:2402.15159."""

from __future__ import annotations

import optax

from unlearnjax import objectives
from unlearnjax.core import Method
from unlearnjax.methods.language.recipe import adamw, unlearner


def random_tokens(
  *,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 32,
) -> Method:
  """Trains uniformly random tokens in the place of the true ones, on forget data alone; they are drawn once.

  The text that is read stays the true one; only what is predicted changes. "Fine-tuning with random labels" of Yao et
  al. 2024, arXiv:2402.15159 (paper 17). Over more than one pass it memorises the draws.

  Args:
    tx: optimizer; AdamW 2e-5 without decay and TOFU's schedule by default.
    epochs: passes over the forget set.
    batch_size: rows of a step.

  Example:
    >>> random_tokens(epochs=2).name
    'random_tokens'
  """
  return _towards_false("random_tokens", objectives.with_random_tokens, tx, epochs, batch_size)


def adversarial_tokens(
  *,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 32,
) -> Method:
  """Trains the tokens that the original model finds likeliest when the true ones are banned, on forget data alone.

  "Unlearning with adversarial samples" of Yao et al. 2024, arXiv:2402.15159 (paper 17). The released code takes its
  labels one position too early; here a label stands where its token would.

  Args:
    tx: optimizer; AdamW 2e-5 without decay and TOFU's schedule by default.
    epochs: passes over the forget set.
    batch_size: rows of a step.

  Example:
    >>> adversarial_tokens().name
    'adversarial_tokens'
  """
  return _towards_false("adversarial_tokens", objectives.with_adversarial_tokens, tx, epochs, batch_size)


def _towards_false(name, labels, tx, epochs, batch_size) -> Method:
  tx = adamw(epochs, 2e-5, 0.0) if tx is None else tx
  return unlearner(name, objectives.false_nll, None, tx=tx, epochs=epochs, batch_size=batch_size, labels=labels)
