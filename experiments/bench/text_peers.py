"""The steps and the evaluation of `texts` in PyTorch and transformers: LlamaForCausalLM of the same shape, AdamW."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from experiments.bench import texts


def network(shape: texts.Shape) -> LlamaForCausalLM:
  """With scaled-dot-product attention, the default."""
  c = texts.models.transformer(shape.name, **shape.sizes).config
  torch.manual_seed(0)
  config = LlamaConfig(
    vocab_size=c.vocab_size, hidden_size=c.dim, intermediate_size=c.hidden, num_hidden_layers=c.depth,
    num_attention_heads=c.heads, num_key_value_heads=c.kv_heads, max_position_embeddings=c.context,
    rms_norm_eps=c.norm_eps, tie_word_embeddings=c.tied, attn_implementation="sdpa", use_cache=False,
    pad_token_id=0, bos_token_id=None, eos_token_id=None,
  )  # fmt: skip
  return LlamaForCausalLM(config).to(getattr(torch, shape.dtype))


def _batch(shape: texts.Shape, vocab: int, seed: int):
  found = texts.batch_of(shape, vocab, seed)
  tokens, mask = torch.from_numpy(found["tokens"]).long(), torch.from_numpy(found["mask"])
  return tokens, mask[:, 1:], torch.from_numpy(found["ref_logp"])


def _nll(net, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
  """f[B, T - 1], 0 where nothing is scored."""
  labels = torch.where(mask, tokens[:, 1:], -100)
  logits = net(input_ids=tokens).logits[:, :-1]
  return F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100, reduction="none")


def build(task: str, shape: texts.Shape, site: int, unit: int):
  """`tokens -> None`, warm."""
  net = network(shape)
  forget, retain = (_batch(shape, net.config.vocab_size, seed) for seed in (0, 1))
  once = {"ga": _ascent, "npo": _npo, "rmu": _rmu, "tofu": _evaluation}[task](net, shape, site, forget, retain)

  def loop(tokens: int):
    for _ in range(tokens // unit):
      once()

  loop(unit)
  return loop


def _descent(net, loss_of, params=None):
  net.train()
  optimizer = torch.optim.AdamW(params or net.parameters(), texts.LEARNING_RATE, weight_decay=texts.DECAY)

  def once():
    optimizer.zero_grad()
    loss_of().backward()
    optimizer.step()

  return once


def _ascent(net, shape, site, forget, retain):
  return _descent(net, lambda: -_nll(net, *forget[:2]).sum() / forget[1].sum())


def _npo(net, shape, site, forget, retain):
  def loss():
    ratio = -_nll(net, *forget[:2]).sum(1) - forget[2]
    kept = _nll(net, *retain[:2]).sum() / retain[1].sum()
    return -F.logsigmoid(-texts.BETA * ratio).mean() * 2 / texts.BETA + kept

  return _descent(net, loss)


def _rmu(net, shape, site, forget, retain):
  """Only the down projections of up to three blocks are trained, so the backward pass ends there."""
  frozen = copy.deepcopy(net).eval()
  net.requires_grad_(False)
  trained = [layer.mlp.down_proj.weight for layer in net.model.layers[max(0, site - 2) : site + 1]]
  for p in trained:
    p.requires_grad_(True)
  control = torch.rand(net.config.hidden_size)
  control = texts.STEERING * control / control.norm()

  def hidden(of, tokens):
    kept = []
    hook = of.model.layers[site].register_forward_hook(
      lambda m, i, out: kept.append(out[0] if isinstance(out, tuple) else out)
    )
    of(input_ids=tokens)
    hook.remove()
    return kept[0][:, :-1]

  def distance(h, goal, mask):
    return ((h - goal).pow(2).mean(-1) * mask).sum() / mask.sum()

  def loss():
    with torch.no_grad():
      goal = hidden(frozen, retain[0])
    away = distance(hidden(net, forget[0]), control, forget[1])
    return away + texts.ALPHA * distance(hidden(net, retain[0]), goal, retain[1])

  return _descent(net, loss, trained)


def _evaluation(net, shape, site, forget, retain):
  net.eval()
  prompt, segments = (torch.from_numpy(x).long() for x in texts.prompts(shape, forget[0].numpy()))
  new = texts.new_tokens(shape)

  @torch.no_grad()
  def once():
    logits = net(input_ids=forget[0]).logits[:, :-1]
    torch.log_softmax(logits, -1).gather(-1, forget[0][:, 1:, None])
    logits.argmax(-1)
    net.generate(prompt, attention_mask=segments, do_sample=False, max_new_tokens=new, min_new_tokens=new,
                 use_cache=True)  # fmt: skip

  return once
