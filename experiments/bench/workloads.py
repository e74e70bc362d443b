"""The same work twice: through `fit`, and as a plain PyTorch loop over tensors in memory."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

import unlearnjax as uj
from experiments.bench.measure import Workload
from unlearnjax import objectives, updates


def examples(shape: tuple[int, ...], size: int, classes: int = 10, seed: int = 0) -> uj.Examples:
  """Random images: the time of a step does not depend on what is in them."""
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(size, *shape)).astype(np.float32)
  return uj.Examples({"x": x, "y": rng.integers(0, classes, size).astype(np.int32)})


def warm_fit(step, state_of, plan_of, refs=None, devices: int = 1) -> Callable[[int], int]:
  """At least `steps` steps of a transform under `fit`, compiled; returns how many: a plan has whole epochs."""
  mesh = uj.sharding.mesh(data=devices) if devices > 1 else None
  run = lambda steps: int(uj.fit(step, state_of(), plan_of(steps), refs or {}, run=uj.Run(mesh=mesh))[0].step)
  run(2)
  return run


def _devices(model_name: str) -> int:
  """As in the jobs: networks of images take all devices, small tables one."""
  return 1 if model_name == "mlp" else jax.device_count()


def _state_of(step, model):
  return lambda: step.init(uj.UnlearnState.create(model.params, rng=jax.random.key(1), model_state=model.state))


def _epochs(steps: int, size: int, batch: int) -> int:
  return -(-steps // -(-size // batch))


def training(name: str, model_name: str, shape, size: int, batch: int, steps: int, peer=None, **options) -> Workload:
  """SGD with momentum on cross entropy."""
  data = examples(shape, size)
  fn = uj.models.make(model_name, input_shape=shape, num_outputs=10, **options)
  step = uj.descend({"train": objectives.cross_entropy(fn)}, optax.sgd(0.01, momentum=0.9), state_from="train")
  model = fn.init(jax.random.key(0))
  plan = lambda n: uj.zip_roles(train=data, batch_size=batch, epochs=_epochs(n, size, batch))
  ours = lambda: warm_fit(step, _state_of(step, model), plan, devices=_devices(model_name))
  theirs = peer and (lambda: peer(data, batch))
  return Workload(name, steps, ours, theirs)


def salun(name: str, model_name: str, shape, size: int, batch: int, steps: int, peer=None, **options) -> Workload:
  """SalUn's forget step: random labels on F and cross entropy on R, half of the weights frozen."""
  data = examples(shape, size)
  forget, retain = data[: size // 10], data[size // 10 :]
  fn = uj.models.make(model_name, input_shape=shape, num_outputs=10, **options)
  step = uj.descend(
    {"forget": objectives.random_label(fn), "retain": objectives.cross_entropy(fn)},
    optax.chain(optax.sgd(0.01, momentum=0.9), updates.mask_by("saliency")),
    state_from="retain",
  )
  model = fn.init(jax.random.key(0))
  mask = jax.tree.map(lambda p: jax.random.uniform(jax.random.key(2), p.shape) < 0.5, model.params)
  plan = lambda n: uj.zip_roles(
    anchor="retain", forget=forget, retain=retain, batch_size=batch, epochs=_epochs(n, len(retain), batch)
  )
  ours = lambda: warm_fit(step, _state_of(step, model), plan, {"saliency": mask}, _devices(model_name))
  theirs = peer and (lambda: peer(forget, retain, batch))
  return Workload(name, steps, ours, theirs)


def scrub(name: str, model_name: str, shape, size: int, batch: int, steps: int, peer=None, **options) -> Workload:
  """SCRUB's two steps in turn: away from the teacher on F, towards it and the labels on R."""
  data = examples(shape, size)
  forget, retain = data[: size // 10], data[size // 10 :]
  fn = uj.models.make(model_name, input_shape=shape, num_outputs=10, **options)
  away = objectives.negated(objectives.distill(fn, temperature=4.0))
  towards = objectives.added(
    objectives.cross_entropy(fn), objectives.scaled(objectives.distill(fn, temperature=4.0), 0.5)
  )
  tx = optax.sgd(0.0005, momentum=0.9)
  step = uj.switch(
    max=uj.descend({"forget": away}, tx, state_from="forget", name="both"),
    min=uj.descend({"retain": towards}, tx, state_from="retain", name="both"),
  )
  model = fn.init(jax.random.key(0))
  teacher = {"teacher": {"params": jax.tree.map(jnp.array, model.params), "state": model.state}}
  cycle = (uj.Phase("max", 1, ("forget",)), uj.Phase("min", 9, ("retain",)))
  plan = lambda n: uj.zip_roles(forget=forget, retain=retain, batch_size=batch, epochs=-(-n // 10), cycle=cycle)
  ours = lambda: warm_fit(step, _state_of(step, model), plan, teacher, _devices(model_name))
  theirs = peer and (lambda: peer(forget, retain, batch))
  return Workload(name, steps, ours, theirs)


TASKS = {"train": training, "salun": salun, "scrub": scrub}
