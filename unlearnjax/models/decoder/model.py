"""A decoder-only Transformer as a pure function of nested dicts."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import EMPTY, Array, ArrayTree, Model, Outputs, Params, Refs
from unlearnjax.models import calling, sites
from unlearnjax.models.decoder import spec
from unlearnjax.models.decoder.attention import Cache, Context, attend, empty_cache, visibility
from unlearnjax.models.decoder.config import TransformerConfig, family
from unlearnjax.models.decoder.layers import dropout, feedforward, frequencies, normalize, product, softcap
from unlearnjax.models.decoder.moe import mixture
from unlearnjax.models.decoder.taps import LayerTaps, known_sites
from unlearnjax.sharding import FSDP, Rules, constrain, frozen_rules

INPUTS = ("tokens", "positions", "segment_ids")


@dataclasses.dataclass(frozen=True)
class Transformer:
  """A `ModelFn` over tokens; `Transformer(config).init(key)` gives it weights.

  Called with `{"tokens": int32[B, T]}` it returns logits f32[B, T, V]: position t predicts token t + 1. Further inputs:
  `segment_ids` int32[B, T], of which tokens see only their own: 0 is padding, on either side, and several sequences can
  be packed in a row; `positions` int32[B, T], by default counted within each segment.

  Parameters are stacked over layers: `blocks/attn/q/kernel` is [L, in, out]. Sites name single layers: `embed`,
  `blocks/3`, `blocks/3/attn`, `blocks/3/attn/q`, `blocks/3/mlp/down:in`, `norm`, `head`, ... A cache goes in as `state`
  and comes out as `Outputs.state`.

  Args:
    config: sizes and switches.
    mesh: where the parameters are laid out; see `on`.
    rules: logical axes to mesh axes, as pairs.

  Raises:
    ValueError: when called, unknown inputs, missing parameters, more tokens than the context or the cache holds,
      dropout without `rng`.

  Example:
    >>> fn = Transformer(family("llama", vocab_size=256, dim=32, depth=2, heads=4))
    >>> model = fn.init(jax.random.key(0))
    >>> out = model({"tokens": jnp.zeros((2, 5), jnp.int32)}, capture=("blocks/1/attn",))
    >>> out.logits.shape, out.hidden["blocks/1/attn"].shape
    ((2, 5, 256), (2, 5, 32))
  """

  config: TransformerConfig
  mesh: Mesh | None = None
  rules: tuple[tuple[str, Any], ...] = frozen_rules(FSDP)

  def __call__(
    self,
    params: Params,
    inputs: Mapping[str, Array],
    *,
    state: ArrayTree = (),
    refs: Refs = EMPTY,
    rng: Array | None = None,
    train: bool = False,
    capture: tuple[str, ...] = (),
    inject: Mapping[str, Callable[[Array], Array]] = EMPTY,
  ) -> Outputs:
    c = self.config
    tokens = self._check(params, inputs, state, rng, train)
    taps = sites.Taps(capture, inject, self.sites)
    ctx, cache = visibility(c, tokens.shape, inputs, state or None)
    key = rng if train and c.dropout else None

    table = self._gather(params["embed"]["table"], "embed/table")
    x = jnp.take(table, tokens, axis=0).astype(c.dtype)
    x = x * jnp.asarray(c.embed_scale, x.dtype)
    if c.positions == "learned":
      x = x + jnp.take(params["position"]["table"], ctx.positions, axis=0).astype(c.dtype)
    else:
      angles = lambda theta, *how: ctx.positions[..., None] * frequencies(c.head_dim, theta, *how)
      local = angles(c.rope_theta_local) if c.rope_theta_local else None
      ctx = ctx._replace(angles=angles(c.rope_theta, c.rope_scaling), local=local)
    x = dropout(x, c.dropout, None if key is None else fold_name(key, "embed"))
    x = self._constrain(taps("embed", x), "batch", None, None)

    x, cache = self._blocks(params["blocks"], x, ctx, cache, key, taps)

    x = taps("norm", normalize(c, params["norm"], taps("norm:in", x)))
    x = taps("head:in", x)
    kernel = table.T if c.tied else self._gather(params["head"]["kernel"], "head/kernel")
    logits = product(x, kernel.astype(x.dtype), jnp.promote_types(x.dtype, jnp.float32))
    logits = self._constrain(taps("head", softcap(logits, c.logit_softcap)), "batch", None, "vocab")
    return Outputs(logits, taps.finish(), cache if state else state)

  def init(self, key: Array) -> Model:
    """A fresh model in `config.param_dtype`; on a mesh, each device makes its own part of the weights."""
    where = None if self.mesh is None else self.shardings()
    return Model(jax.jit(_initial, static_argnums=0, out_shardings=where)(self.config, key), fn=self)

  def cache(self, batch: int, length: int, dtype: str | None = None) -> Cache:
    """An empty cache, to be passed as `state`.

    A call enters its T tokens into the next T slots. That they fit cannot be checked under jit: callers see to it.

    Args:
      batch: B.
      length: slots a row, at most `config.context`.
      dtype: of keys and values; the compute dtype by default.

    Returns:
      keys and values f[L, B, length, kv_heads, H], segment_ids and positions int32[B, length], `length`: slots in use.
    """
    if not 1 <= length <= self.config.context:
      raise ValueError(f"length must be from 1 to the context of {self.config.context} tokens, got {length}")
    return empty_cache(self.config, batch, length, dtype)

  def on(self, mesh: Mesh, rules: Rules = FSDP) -> Transformer:
    """The same function for parameters and batches on a mesh.

    With the default rules parameters are split over "data" and "model", gathered over "data" one layer at a time, and
    activations over the batch.
    """
    return dataclasses.replace(self, mesh=mesh, rules=frozen_rules(rules))

  @property
  def axes(self) -> dict[str, Any]:
    """Logical axes of every parameter, in nested dicts like theirs; for `sharding.shardings`."""
    return calling.unnamed({path: leaf.axes for path, leaf in self._leaves.items()})

  def shardings(self) -> dict[str, Any]:
    """NamedSharding of every parameter on `mesh`."""
    from unlearnjax import sharding

    if self.mesh is None:
      raise ValueError("a Transformer without a mesh has no shardings: use fn.on(mesh)")
    return sharding.shardings(self.axes, self.abstract, self.mesh, dict(self.rules))

  @property
  def abstract(self) -> dict[str, Any]:
    """Shapes and dtypes of the parameters, without data."""
    dtype = self.config.param_dtype
    return calling.unnamed({p: jax.ShapeDtypeStruct(leaf.shape, dtype) for p, leaf in self._leaves.items()})

  @property
  def sites(self) -> tuple[str, ...]:
    """All sites that can be captured or injected, without `:in`."""
    return known_sites(self.config)

  @functools.cached_property
  def _leaves(self) -> dict[str, spec.Leaf]:
    return spec.leaves(self.config)

  def _blocks(self, blocks, x: Array, ctx: Context, cache: Cache | None, key, taps: sites.Taps):
    """The scan over layers: the new stream and cache."""
    c, layer_taps = self.config, LayerTaps(taps)
    xs = {"params": blocks, "index": jnp.arange(c.depth)}
    if any(c.windows):
      xs["window"] = jnp.asarray(c.windows, jnp.int32)
    if cache is not None:
      xs["kv"] = (cache["keys"], cache["values"])

    def body(carry, layer):
      x, buffers = carry
      tap, kept = layer_taps.layer(layer["index"], buffers)
      x, kv = self._block(layer, x, ctx, key, tap)
      return (x, kept), kv

    buffers = {}
    if layer_taps.capture:
      first = jax.tree.map(lambda leaf: leaf[0], xs)
      (_, shapes), _ = jax.eval_shape(body, (x, {}), first)
      buffers = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def scan(body, carry, xs):
      body = jax.checkpoint(body, prevent_cse=False) if c.remat else body
      return jax.lax.scan(body, carry, xs, unroll=c.unroll)

    end = layer_taps.end(c.depth)
    if cache is not None or end == c.depth:
      (x, buffers), kv = scan(body, (x, buffers), xs)
    else:  # the rest in a scan of its own, which a program that reads captured values alone never runs (RMU)
      plain = lambda x, layer: self._block(layer, x, ctx, key, lambda part, value: value)
      (x, buffers), kv = scan(body, (x, buffers), jax.tree.map(lambda leaf: leaf[:end], xs))
      x, _ = scan(plain, x, jax.tree.map(lambda leaf: leaf[end:], xs))
    layer_taps.finish(buffers)
    return x, cache if cache is None else {**cache, "keys": kv[0], "values": kv[1]}

  def _block(self, layer: dict[str, Any], x: Array, ctx: Context, key, tap):
    c = self.config
    params = jax.tree_util.tree_map_with_path(self._gather_layer, layer["params"])
    keys = (None, None) if key is None else jax.random.split(jax.random.fold_in(key, layer["index"]))
    norm = lambda name, h: tap(name, normalize(c, params[name], tap(name + sites.INPUT, h)))
    post = norm if c.post_norms else lambda name, h: h

    x = tap(sites.INPUT, x)
    h, kv = attend(c, params["attn"], tap("attn:in", norm("norm1", x)), ctx, layer.get("window"), layer.get("kv"), tap)
    x = x + dropout(post("norm1_post", tap("attn", h)), c.dropout, keys[0])
    h = tap("mlp:in", norm("norm2", x))
    h = mixture(c, params["mlp"], h, tap) if c.experts else feedforward(c, params["mlp"], "mlp", h, tap)
    x = x + dropout(post("norm2_post", tap("mlp", h)), c.dropout, keys[1])
    return self._constrain(tap("", x), "batch", None, None), kv

  def _constrain(self, x: Array, *axes: str | None) -> Array:
    return x if self.mesh is None else constrain(x, axes, self.mesh, dict(self.rules))

  def _gather_layer(self, path, leaf: Array) -> Array:
    return self._gather(leaf, "blocks/" + jax.tree_util.keystr(path, simple=True, separator="/"), layer=True)

  def _gather(self, leaf: Array, path: str, layer: bool = False) -> Array:
    """The parameter whole along the axes over which the batch is split; its gradient goes back to its own layout."""
    if self.mesh is None or path not in self._leaves:
      return leaf
    axes, rules = self._leaves[path].axes[layer:], dict(self.rules)
    split = rules.get("batch")
    kept = {name: axis for name, axis in rules.items() if axis != split}
    return constrain(constrain(leaf, axes, self.mesh, rules), axes, self.mesh, kept)

  def _check(self, params, inputs, state, rng, train) -> Array:
    """The tokens, once everything that a caller can get wrong has been looked at."""
    c = self.config
    if not isinstance(inputs, Mapping) or "tokens" not in inputs:
      got = sorted(inputs) if isinstance(inputs, Mapping) else type(inputs).__name__
      raise ValueError(f"inputs must be a mapping with 'tokens' int32[B, T], got {got}")
    unknown = sorted(set(inputs) - set(INPUTS))
    if unknown:
      raise ValueError(f"inputs holds {unknown}, which a Transformer does not read; it reads {', '.join(INPUTS)}")
    calling.named(params, "params", self._leaves)
    tokens = jnp.asarray(inputs["tokens"])
    if tokens.ndim != 2 or not jnp.issubdtype(tokens.dtype, jnp.integer):
      raise ValueError(f"inputs['tokens'] must be int32[B, T], got {tokens.dtype}{list(tokens.shape)}")
    for name in INPUTS[1:]:
      if name in inputs and jnp.shape(inputs[name]) != tokens.shape:
        raise ValueError(
          f"inputs[{name!r}] must have the shape of tokens {tokens.shape}, got {jnp.shape(inputs[name])}"
        )
    if tokens.shape[1] > c.context:
      raise ValueError(f"inputs['tokens'] has {tokens.shape[1]} tokens, the context is {c.context}")
    if state:
      rows, slots = state["segment_ids"].shape
      if rows != tokens.shape[0] or tokens.shape[1] > slots:
        raise ValueError(f"the cache holds {rows} rows of {slots} tokens, inputs['tokens'] is {list(tokens.shape)}")
    if train and c.dropout and rng is None:
      raise ValueError(f"training with dropout {c.dropout} needs rng")
    return tokens


def _initial(config: TransformerConfig, key: Array) -> Params:
  return calling.unnamed(spec.initial(config, key))


def transformer(name: str = "llama", **sizes: Any) -> Transformer:
  """A `Transformer` of a family or of a published model's size; see `family` for the names.

  Example:
    >>> fn = transformer("qwen3", vocab_size=256, dim=32, depth=2, heads=4, kv_heads=2, hidden=64)
    >>> sorted(fn.init(jax.random.key(0)).params["blocks"]["attn"])
    ['k', 'k_norm', 'out', 'q', 'q_norm', 'v']
  """
  return Transformer(family(name, **sizes))
