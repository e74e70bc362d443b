"""Sites inside a scan over layers.

All layers share one compiled body, so a request for layer 3 is answered by a body that asks whether it is layer 3:
injections run under `lax.cond`, and captured values are kept in buffers that the scan carries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from unlearnjax.core.types import Array
from unlearnjax.models.decoder.config import TransformerConfig
from unlearnjax.models.sites import INPUT, Taps

BLOCKS = "blocks/"


def known_sites(c: TransformerConfig) -> tuple[str, ...]:
  """All sites of a `Transformer`, in the order of the forward pass."""
  parts = ["norm1", "attn/q", "attn/k", "attn/v", "attn/out", "attn", "norm2"]
  if c.post_norms:
    parts[6:6] = ["norm1_post"]
  if c.experts:
    parts += ["mlp/router"]
    parts += [f"mlp/shared{s}" for s in ("_gate", "/up", "/gate", "/down")] if c.shared_hidden else []
  else:
    parts += ["mlp/up", *(["mlp/gate"] if c.gated else []), "mlp/down"]
  parts += ["mlp", *(["norm2_post"] if c.post_norms else []), ""]
  layers = [f"{BLOCKS}{i}/{part}".rstrip("/") for i in range(c.depth) for part in parts]
  return ("embed", *layers, "norm", "head")


class LayerTaps:
  """The requests of one pass for sites inside the blocks.

  Args:
    taps: all requests; those for blocks are taken out of it.
  """

  def __init__(self, taps: Taps):
    self.taps = taps
    self.inject: dict[str, dict[int, Callable[[Array], Array]]] = {}
    self.capture: dict[str, dict[int, str]] = {}
    for site in sorted(taps.wanted):
      if site.startswith(BLOCKS):
        layer, part = _split(site)
        if site in taps.inject:
          self.inject.setdefault(part, {})[layer] = taps.inject[site]
        if site in taps.capture:
          self.capture.setdefault(part, {})[layer] = site

  def layer(self, index: Array, buffers: Mapping[str, Array]) -> tuple[Callable[[str, Array], Array], dict[str, Array]]:
    """(tap, kept) of one layer: `tap(part, value)` rewrites and reads, `kept` fills up with the new buffers."""
    kept = dict(buffers)

    def tap(part: str, value: Array) -> Array:
      for layer, f in self.inject.get(part, {}).items():
        value = jax.lax.cond(index == layer, lambda h, f=f: jnp.asarray(f(h), h.dtype), lambda h: h, value)
      for layer, site in self.capture.get(part, {}).items():
        kept[site] = jnp.where(index == layer, value, kept[site]) if buffers else value
      return value

    return tap, kept

  def end(self, depth: int) -> int:
    """How many layers there are up to the last one that is asked for; all of them where nothing is captured."""
    asked = [layer for requests in (*self.inject.values(), *self.capture.values()) for layer in requests]
    return max(asked) + 1 if self.capture else depth

  def finish(self, buffers: Mapping[str, Array]) -> None:
    """Hands what was captured, and that all requests were reached, to the taps of the whole pass."""
    self.taps.hidden.update(buffers)
    self.taps.reached.update(dict.fromkeys(s for s in self.taps.wanted if s.startswith(BLOCKS)))


def _split(site: str) -> tuple[int, str]:
  """`blocks/3/attn:in` -> (3, `attn:in`); the block itself is `` or `:in`."""
  layer, _, part = site.removeprefix(BLOCKS).partition("/")
  if layer.endswith(INPUT):
    return int(layer.removesuffix(INPUT)), INPUT
  return int(layer), part
