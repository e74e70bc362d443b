"""Losses and gradients of the reference implementation on given logits, through our objectives."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common_paths import golden

from unlearnjax import objectives
from unlearnjax.core import Outputs, View

COMPAT = "open_unlearning"


def echo(params, inputs, *, capture=(), **_):
  """A model that returns what it is given: logits and activations, its own or those of its reference."""
  logits, hidden = ("cond", "prefix") if params["frozen"] else ("x", "t")
  return Outputs(inputs[logits], {site: inputs[hidden] for site in capture})


@functools.cache
def figures():
  return {k: v for k, v in golden("open_unlearning_losses").items() if k.startswith(("in_", "out_"))}


def columns(role, prefix=""):
  z = figures()
  found = {
    "tokens": z[f"in_{role}_input_ids"],
    "mask": z[f"in_{role}_labels"] != -100,
    "x": z[f"in_{role}_logits"],
    "cond": z[f"in_{role}_ref_logits"],
    "t": z[f"in_{role}_hidden"],
    "prefix": z[f"in_{role}_ref_hidden"],
  }
  return {prefix + k: jnp.asarray(v) for k, v in found.items()}


def batch_of(given, other):
  """A role batch of a role's columns, with those of the alternative answers beside them."""
  inputs = {k: given[k] for k in ("tokens", "x", "cond", "t", "prefix")}
  return {"inputs": inputs, "mask": given["mask"], "valid": jnp.ones(3, bool), **other}


def view_of():
  refs = {"reference": {"params": {"frozen": True}}, "control": jnp.asarray(figures()["in_rmu_control"][0, 0])}
  return View(jnp.zeros((), jnp.int32), jax.random.key(0), refs, {}, ())


ASCENT = objectives.negated(objectives.nll(echo))
NLL = objectives.nll(echo)
KL = objectives.kl_min(echo, compat=COMPAT)
RMU = objectives.rmu(echo, "h", compat=COMPAT)
# {name: ({role: (coefficient, objective)}, constant)}
CASES = {
  "grad_ascent": ({"forget": (1, ASCENT)}, 0.0),
  "grad_diff": ({"forget": (0.7, ASCENT), "retain": (1.3, NLL)}, 0.0),
  "grad_diff_kl": ({"forget": (1, ASCENT), "retain": (1, KL)}, 0.0),
  "npo": ({"forget": (1, objectives.npo(echo, 0.1)), "retain": (1, NLL)}, 0.0),
  "npo_kl": ({"forget": (1, objectives.npo(echo, 0.5)), "retain": (1, KL)}, 0.0),
  "simnpo": ({"forget": (1, objectives.simnpo(echo, 4.5, gamma=4.5 * 0.3)), "retain": (1, NLL)}, 0.0),
  "dpo": ({"forget": (1, objectives.idk_dpo(echo, 0.1)), "retain": (1, NLL)}, 0.0),
  "undial": ({"forget": (1, objectives.undial(echo, 10.0, compat=COMPAT)), "retain": (1, NLL)}, 0.0),
  "ceu": ({"forget": (1, objectives.ceu(echo, skip_first=1))}, 0.0),
  "satimp": ({"forget": (1, objectives.satimp(echo, 5.0, 1.0)), "retain": (0.1, NLL)}, 0.0),
  "wga": ({"forget": (1, objectives.wga(echo, 1.0)), "retain": (1, NLL)}, 0.0),
  # the first step, with a dual of 1 and the constraint nll <= 0.3
  "pdu": ({"forget": (1, objectives.logit_margin(echo, compat=COMPAT)), "retain": (1, NLL)}, -0.3),
  "rmu": ({"forget": (1, RMU["forget"]), "retain": (5, RMU["retain"])}, 0.0),
}


@pytest.mark.golden
@pytest.mark.parametrize("name", list(CASES))
def test_loss_and_gradients_of_the_reference_implementation(name):
  terms, constant = CASES[name]
  other = columns("alt", "alt_")

  @functools.partial(jax.value_and_grad, argnums=(0, 1))
  def total(given, alternative):
    value = constant
    for role, (coefficient, objective) in terms.items():
      loss, _ = objective({"frozen": False}, batch_of({**columns(role), **given[role]}, {**other, **alternative}), view)
      value = value + coefficient * loss
    return value

  view = view_of()
  given = {role: {k: columns(role)[k] for k in ("x", "t")} for role in ("forget", "retain")}
  value, (slopes, alternative) = total(given, {"alt_x": other["alt_x"]})
  np.testing.assert_allclose(value, figures()[f"out_{name}__loss"], rtol=2e-5)
  near = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=3e-6)
  for role in ("forget", "retain"):
    near(slopes[role]["x"], figures()[f"out_{name}__d_{role}_logits"])
    if f"out_{name}__d_{role}_hidden" in figures():
      near(slopes[role]["t"], figures()[f"out_{name}__d_{role}_hidden"])
  near(alternative["alt_x"], figures()[f"out_{name}__d_alt_logits"])


@pytest.mark.golden
@pytest.mark.parametrize("name", ["grad_diff_kl", "undial", "pdu", "rmu"])
def test_the_deviations_differ_from_the_papers_form(name):
  """Without `compat` the value is another one: the switch is needed where it is offered, and only there."""
  plain = {
    "grad_diff_kl": ("retain", objectives.kl_min(echo), KL),
    "undial": ("forget", objectives.undial(echo), objectives.undial(echo, compat=COMPAT)),
    "pdu": ("forget", objectives.logit_margin(echo), objectives.logit_margin(echo, compat=COMPAT)),
    "rmu": ("forget", objectives.rmu(echo, "h")["forget"], RMU["forget"]),
  }
  role, ours, theirs = plain[name]
  batch, params = batch_of(columns(role), {}), {"frozen": False}
  ours, theirs = (float(f(params, batch, view_of())[0]) for f in (ours, theirs))
  assert abs(ours - theirs) > 1e-3 * abs(theirs)
