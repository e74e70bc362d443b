"""Attacks by the prompt: facts that are put back into the context, and questions that are written differently."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from unlearnjax.core import Examples, as_examples, check
from unlearnjax.metrics import inputs


def with_context(source: Any, context) -> Examples:
  """The source with tokens before every prompt: a fact to be restated, examples (few-shot), a system prompt.

  Shumailov et al. 2024, arXiv:2407.00106 (paper 8): whatever was removed from the weights, a context can bring it back,
  also under another name. Few-shot examples must not hold the answers that are asked for.

  Args:
    source: a `Source` of language, see `objectives.tokens`; other answers are left as they are.
    context: int[n] for all rows, or int[N, n] one a row.

  Returns:
    the source with `tokens` int32[N, n + T] and `mask` widened by n unscored positions.

  Example:
    >>> source = Examples({"tokens": np.array([[5, 6]]), "mask": np.array([[False, True]])})
    >>> asked = with_context(source, [1, 2])
    >>> asked.column("tokens").tolist(), asked.column("mask").tolist()
    ([[1, 2, 5, 6]], [[False, False, False, True]])
  """
  source = as_examples(source)
  context = np.asarray(context, np.int32)
  if context.ndim == 1:
    context = np.broadcast_to(context, (len(source), len(context)))
  if context.ndim != 2 or len(context) != len(source):
    raise ValueError(f"context must be int[n] or int[{len(source)}, n], got shape {context.shape}")
  tokens, mask = source.column("tokens"), source.column("mask")
  return source.replace(
    tokens=np.concatenate([context, tokens], 1).astype(np.int32),
    mask=np.concatenate([np.zeros(context.shape, bool), mask], 1),
  )


def recovered_share(plain: float, attacked: float, original: float) -> float:
  """(attacked - plain) / (original - plain), clipped to [0, 1]: how much of what was forgotten an attack brings back.

  The ideal is that of the retrained model under the same attack, which for a fact in the context is near 1; a context
  of the same length without the fact is the control and should be near 0. 0 where there is nothing to bring back.

  Args:
    plain: score of the unlearned model, in [0, 1], higher knows more.
    attacked: its score under the attack.
    original: score of the original model without the attack.

  Example:
    >>> recovered_share(0.0, 0.5, 1.0), recovered_share(1.0, 1.0, 1.0)
    (0.5, 0.0)
  """
  for name, value in (("plain", plain), ("attacked", attacked), ("original", original)):
    inputs.unit_interval(name, value)
  gap = original - plain
  return 0.0 if gap <= 0 else float(np.clip((attacked - plain) / gap, 0, 1))


def perturb_text(text: str, every: int, symbol: str = "!") -> str:
  """Puts a symbol after every n-th character: noise that people read over and steered activations do not.

  Args:
    text: a question.
    every: n >= 1; the paper takes 1 to 15.
    symbol: what is put in.

  Example:
    >>> perturb_text("Who?", 2), perturb_text("Who?", 9)
    ('Wh!o?!', 'Who?')
  """
  check.positive("every", every)
  return re.sub(rf"(.{{{every}}})", lambda found: found[1] + symbol, text, flags=re.S)
