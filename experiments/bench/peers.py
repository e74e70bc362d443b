"""Plain PyTorch loops: tensors in memory, a fresh permutation each epoch, no data loader, no logging.

This is the fastest form in which the published repositories' loops can be written without changing what they compute.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from unlearnjax import Examples


class Block(nn.Module):
  """Residual block of a CIFAR ResNet."""

  def __init__(self, before: int, after: int, stride: int):
    super().__init__()
    self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
    self.norm1 = nn.BatchNorm2d(after)
    self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
    self.norm2 = nn.BatchNorm2d(after)
    self.skip = None if before == after and stride == 1 else nn.Conv2d(before, after, 1, stride, bias=False)
    self.norm3 = None if self.skip is None else nn.BatchNorm2d(after)

  def forward(self, x):
    h = F.relu(self.norm1(self.conv1(x)))
    h = self.norm2(self.conv2(h))
    return F.relu(h + (x if self.skip is None else self.norm3(self.skip(x))))


def mlp(inputs: int, widths: tuple[int, ...], classes: int = 10) -> nn.Module:
  layers, before = [nn.Flatten()], inputs
  for width in widths:
    layers += [nn.Linear(before, width), nn.ReLU()]
    before = width
  return nn.Sequential(*layers, nn.Linear(before, classes))


def convnet(channels: int, size: int, widths: tuple[int, ...], dense: int, classes: int = 10) -> nn.Module:
  layers, before = [], channels
  for width in widths:
    layers += [nn.Conv2d(before, width, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2)]
    before, size = width, size // 2
  layers += [nn.Flatten(), nn.Linear(before * size * size, dense), nn.ReLU(), nn.Linear(dense, classes)]
  return nn.Sequential(*layers)


def resnet8(channels: int, width: int, classes: int = 10) -> nn.Module:
  return nn.Sequential(
    nn.Conv2d(channels, width, 3, 1, 1, bias=False),
    nn.BatchNorm2d(width),
    nn.ReLU(),
    Block(width, width, 1),
    Block(width, 2 * width, 2),
    Block(2 * width, 4 * width, 2),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(4 * width, classes),
  )


def _tensors(data: Examples) -> tuple[torch.Tensor, torch.Tensor]:
  x = torch.tensor(np.moveaxis(data.column("x"), -1, 1).copy() if data.column("x").ndim == 4 else data.column("x"))
  return x, torch.tensor(data.column("y")).long()


class Batches:
  """An endless stream of shuffled batches."""

  def __init__(self, data: Examples, batch: int):
    self.x, self.y = _tensors(data)
    self.batch, self.order = batch, torch.empty(0, dtype=torch.long)

  def next(self):
    if not len(self.order):
      self.order = torch.randperm(len(self.y))
    rows, self.order = self.order[: self.batch], self.order[self.batch :]
    return self.x[rows], self.y[rows]


def _warm(loop):
  loop(3)
  return loop


def training(net: nn.Module, data: Examples, batch: int):
  net.train()
  optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
  batches = Batches(data, batch)

  def loop(steps: int):
    for _ in range(steps):
      x, y = batches.next()
      optimizer.zero_grad()
      F.cross_entropy(net(x), y).backward()
      optimizer.step()

  return _warm(loop)


def salun(net: nn.Module, forget: Examples, retain: Examples, batch: int):
  net.train()
  optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
  f, r = Batches(forget, batch), Batches(retain, batch)
  frozen = [(torch.rand_like(p) < 0.5, p.detach().clone()) for p in net.parameters()]

  def loop(steps: int):
    for _ in range(steps):
      (xf, _), (xr, yr) = f.next(), r.next()
      optimizer.zero_grad()
      loss = F.cross_entropy(net(xf), torch.randint(0, 10, (len(xf),))) + F.cross_entropy(net(xr), yr)
      loss.backward()
      for p, (mask, _) in zip(net.parameters(), frozen):
        p.grad *= mask
      optimizer.step()
      with torch.no_grad():  # momentum moves what the mask on the gradient froze
        for p, (mask, start) in zip(net.parameters(), frozen):
          p.copy_(torch.where(mask, p, start))

  return _warm(loop)


def scrub(net: nn.Module, forget: Examples, retain: Examples, batch: int, temperature: float = 4.0):
  net.train()
  teacher = copy.deepcopy(net).eval()
  optimizer = torch.optim.SGD(net.parameters(), 0.0005, momentum=0.9)
  f, r = Batches(forget, batch), Batches(retain, batch)

  def divergence(x, logits):
    with torch.no_grad():
      target = F.softmax(teacher(x) / temperature, 1)
    return F.kl_div(F.log_softmax(logits / temperature, 1), target, reduction="batchmean") * temperature**2

  def loop(steps: int):
    for i in range(steps):
      optimizer.zero_grad()
      if i % 10 == 0:
        x, _ = f.next()
        loss = -divergence(x, net(x))
      else:
        x, y = r.next()
        logits = net(x)
        loss = F.cross_entropy(logits, y) + 0.5 * divergence(x, logits)
      loss.backward()
      optimizer.step()

  return _warm(loop)


def peer(task: str, net: str, shape: tuple[int, ...], options: dict):
  """`(examples..., batch) -> steps -> None` for a network of the benchmark."""
  make = {
    "mlp": lambda: mlp(int(np.prod(shape)), options["widths"]),
    "wide": lambda: mlp(int(np.prod(shape)), options["widths"]),
    "convnet": lambda: convnet(shape[-1], shape[0], options["widths"], options["dense"]),
    "resnet8": lambda: resnet8(shape[-1], options["width"]),
  }[net]
  loop = {"train": training, "salun": salun, "scrub": scrub}[task]
  return lambda *data_and_batch: loop(make(), *data_and_batch)
