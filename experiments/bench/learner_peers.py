"""Plain PyTorch loops of continual learning, in the fastest form in which the published ones can be written.

Buffers are tensors that are indexed, a reservoir is filled a batch at a time, and gradients are kept flat. GEM copies
the gradients of all tasks to the host and solves a quadratic program there in float64, as its authors' code does.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from experiments.bench import peers
from experiments.bench.learners import CAPACITY, CLASSES, WIDTHS
from unlearnjax import Examples


class Buffer:
  """A reservoir of examples, with logits where they are kept."""

  def __init__(self, like: Examples, first: Examples | None = None):
    x, y = peers._tensors(like)
    self.columns = [torch.zeros(CAPACITY, *c.shape[1:], dtype=c.dtype) for c in (x, y)]
    self.columns.append(torch.zeros(CAPACITY, CLASSES))
    self.rng, self.seen = np.random.default_rng(0), 0
    if first is not None:
      self.add(*peers._tensors(first), torch.zeros(len(first), CLASSES))

  def add(self, *rows: torch.Tensor) -> None:
    number = self.seen + np.arange(len(rows[0]))
    slot = np.where(number < CAPACITY, number, self.rng.integers(0, number + 1))
    kept = np.flatnonzero(slot < CAPACITY)
    self.seen += len(number)
    if len(kept):
      where = torch.from_numpy(slot[kept])
      for column, new in zip(self.columns, rows):
        column[where] = new[kept]

  def read(self, size: int) -> list[torch.Tensor]:
    held = min(self.seen, CAPACITY)
    rows = torch.randperm(held)[:size]
    return [column[rows] for column in self.columns]


def _start(current: Examples, batch: int, rate: float):
  net = peers.mlp(int(np.prod(current.column("x").shape[1:])), WIDTHS, CLASSES).train()
  return net, torch.optim.SGD(net.parameters(), rate), peers.Batches(current, batch)


def _er_step(net: nn.Module, optimizer, buffer: Buffer, x, y, batch: int) -> None:
  inputs, labels = x, y
  if buffer.seen:
    old = buffer.read(batch)
    inputs, labels = torch.cat([x, old[0]]), torch.cat([y, old[1]])
  optimizer.zero_grad()
  F.cross_entropy(net(inputs), labels).backward()
  optimizer.step()
  buffer.add(x, y)


def er(current: Examples, earlier: list[Examples], batch: int, rate: float):
  net, optimizer, batches = _start(current, batch, rate)
  buffer = Buffer(current, earlier[0])

  def loop(steps: int):
    for _ in range(steps):
      _er_step(net, optimizer, buffer, *batches.next(), batch)

  return peers._warm(loop)


def der_pp(current: Examples, earlier: list[Examples], batch: int, rate: float):
  net, optimizer, batches = _start(current, batch, rate)
  buffer = Buffer(current, earlier[0])

  def loop(steps: int):
    for _ in range(steps):
      x, y = batches.next()
      (x1, _, z1), (x2, y2, _) = buffer.read(batch), buffer.read(batch)
      optimizer.zero_grad()
      logits = net(x)
      loss = F.cross_entropy(logits, y) + 0.2 * F.mse_loss(net(x1), z1) + F.cross_entropy(net(x2), y2)
      loss.backward()
      optimizer.step()
      buffer.add(x, y, logits.detach())

  return peers._warm(loop)


def ewc(current: Examples, earlier: list[Examples], batch: int, rate: float):
  net, optimizer, batches = _start(current, batch, rate)
  params = list(net.parameters())
  anchor = [p.detach().clone() for p in params]
  twice = [torch.full_like(p, 2 * 50.0 * 0.01) for p in params]

  def loop(steps: int):
    for _ in range(steps):
      x, y = batches.next()
      optimizer.zero_grad()
      F.cross_entropy(net(x), y).backward()
      with torch.no_grad():  # the penalty's gradient in closed form: no second graph
        pull = torch._foreach_sub(params, anchor)
        torch._foreach_mul_(pull, twice)
        torch._foreach_add_([p.grad for p in params], pull)
      optimizer.step()

  return peers._warm(loop)


def _flat(net: nn.Module) -> torch.Tensor:
  return torch.cat([p.grad.flatten() for p in net.parameters()])


def _put(net: nn.Module, flat: torch.Tensor) -> None:
  at = 0
  for p in net.parameters():
    p.grad.copy_(flat[at : at + p.numel()].view_as(p))
    at += p.numel()


def _backward(net: nn.Module, x, y) -> torch.Tensor:
  net.zero_grad()
  F.cross_entropy(net(x), y).backward()
  return _flat(net)


def agem(current: Examples, earlier: list[Examples], batch: int, rate: float):
  net, optimizer, batches = _start(current, batch, rate)
  x_old, y_old = (torch.cat(c) for c in zip(*map(peers._tensors, earlier)))
  size = min(256, len(earlier[0]))

  def loop(steps: int):
    for _ in range(steps):
      rows = torch.randperm(len(y_old))[:size]
      past = _backward(net, x_old[rows], y_old[rows])
      g = _backward(net, *batches.next())
      dot = torch.dot(g, past)
      if dot < 0:
        _put(net, g - dot / torch.dot(past, past) * past)
      optimizer.step()

  return peers._warm(loop)


def gem(current: Examples, earlier: list[Examples], batch: int, rate: float):
  net, optimizer, batches = _start(current, batch, rate)
  memories = [peers._tensors(part) for part in earlier]

  def loop(steps: int):
    for _ in range(steps):
      past = torch.stack([_backward(net, *memory) for memory in memories])
      g = _backward(net, *batches.next())
      if (past @ g < 0).any():
        _put(net, torch.from_numpy(projection(g.numpy(), past.numpy())))
      optimizer.step()

  return peers._warm(loop)


def projection(g: np.ndarray, past: np.ndarray, margin: float = 0.5, ridge: float = 1e-3) -> np.ndarray:
  """g + v past with v = argmin over v >= margin of v (P + ridge I) v / 2 + v past g, P = past past^T in float64.

  A Cholesky factor and non-negative least squares in the place of the authors' quadprog.
  """
  from scipy.optimize import nnls

  wide, g = past.astype(np.float64), g.astype(np.float64)
  products = wide @ wide.T + ridge * np.eye(len(wide))
  factor = np.linalg.cholesky(products)
  linear = wide @ g + products.sum(1) * margin
  v = nnls(factor.T, -np.linalg.solve(factor, linear))[0] + margin
  return (g + v @ wide).astype(np.float32)


def streamed(method: str):
  """`(tasks, batch, learning_rate) -> steps -> None`: a fresh network learns all tasks, one pass over each."""

  def build(tasks: list[Examples], batch: int, rate: float):
    def loop(steps: int):
      net, optimizer, _ = _start(tasks[0], batch, rate)
      buffer, taken = Buffer(tasks[0]), 0
      for task in tasks:
        batches = peers.Batches(task, batch)
        for _ in range(min(-(-len(task) // batch), steps - taken)):
          x, y = batches.next()
          if method == "er":
            _er_step(net, optimizer, buffer, x, y, batch)
          else:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
          taken += 1

    return peers._warm(loop)

  return build
