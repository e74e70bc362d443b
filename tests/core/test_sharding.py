"""Eight fake devices: the same numbers, split work, no recompilation, checkpoints that move between meshes.

The number of devices is fixed when JAX starts, so this file runs itself once as a script; the tests look at its report.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
  paths = [str(HERE.parents[2]), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
  env = {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    "PYTHONPATH": os.pathsep.join(paths),
  }
  out = tmp_path_factory.mktemp("sharding")
  done = subprocess.run([sys.executable, str(HERE), str(out)], env=env, capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr[-4000:]
  return json.loads((out / "report.json").read_text())


@pytest.mark.parametrize("name", ["data", "data and model", "replicas", "resume on a mesh", "resume on one device"])
def test_equals_a_single_device(report, name):
  assert report["difference"][name] < 1e-5


def test_a_batch_that_the_devices_do_not_divide_is_padded(report):
  assert report["padded rows"] == {"rows": 32, "valid": 30}


@pytest.mark.parametrize("name", ["data", "data and model", "adamw, clipped"])
def test_nothing_compiles_after_the_first_chunk_and_shardings_stay(report, name):
  assert report["compilations"][name] == 0  # after the first chunk
  assert report["drift"][name] == []


def test_every_device_computes_its_part_of_the_batch(report):
  """Operations of one step on one device, against those on a single device."""
  assert report["flops"]["batch not split"] > 0.9  # what a forgotten constraint looks like
  assert report["flops"]["data"] < 1.3 / 4


@pytest.mark.parametrize("name", ["fit", "microbatch"])
def test_no_gathers(report, name):
  assert report["all-gathers"][name] == 0


def test_a_contiguous_split_would_gather(report):
  assert report["all-gathers"]["contiguous split"] > 0


@pytest.mark.parametrize("name", ["fold", "outputs"])
def test_fewer_rows_than_devices(report, name):
  assert report["few"][name] < 1e-5


def test_refs_may_be_the_parameters_themselves(report):
  assert report["difference"]["refs alias the state"] < 1e-5


def test_meshes_have_a_clear_error(report):
  assert "needs 16 devices, found 8" in report["mesh error"]


def test_a_cpu_is_divided_once_and_only_where_nothing_else_divides_it(report):
  code = "from unlearnjax.sharding import split_cpu; print(split_cpu(3), split_cpu(2))"
  env = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PYTHONPATH": str(HERE.parents[2])}
  done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
  assert done.stdout.split() == ["3", "3"], done.stderr[-2000:]
  assert report["split"] == 8  # as XLA_FLAGS say


def main(out: pathlib.Path) -> None:
  import jax
  import jax.numpy as jnp
  import numpy as np
  import optax
  from jax.sharding import NamedSharding, PartitionSpec
  from toy import TOY, plain_weighted, toy_data, toy_xent

  from unlearnjax.core import (
    Run,
    Statistic,
    UnlearnState,
    descend,
    fit,
    fold,
    outputs,
    replicate,
    role_batch,
    zip_roles,
  )
  from unlearnjax.core.chunk import run_chunk
  from unlearnjax.core.fit import _Fit
  from unlearnjax.sharding import mesh, place, split_batch, split_cpu

  compiled = [0]

  def listen(event, seconds, **_):
    compiled[0] += event == "/jax/core/compile/backend_compile_duration"

  jax.monitoring.register_event_duration_secs_listener(listen)
  divided = split_cpu(2)
  found = {k: {} for k in ("difference", "compilations", "drift", "flops", "all-gathers", "few")}
  found["split"] = divided
  xent = toy_xent()
  step = descend({"forget": xent, "retain": xent}, optax.adam(1e-2), combine=plain_weighted(forget=-0.2))
  data, params = toy_data(90), TOY.init(jax.random.key(0)).params
  plan = zip_roles(anchor="retain", forget=data[:25], retain=data[25:], batch_size=30, epochs=30)
  wide, flat = mesh(data=4, model=2), mesh(data=4)
  halves = {"body": {"kernel": (None, "model"), "bias": ()}, "head": {"kernel": ("model",), "bias": ()}}

  def sharded(params):
    spec = lambda x, s: jax.device_put(x, NamedSharding(wide, PartitionSpec(*s)))
    return jax.tree.map(spec, params, halves)

  def fresh(params, step=step):
    return step.init(UnlearnState.create(params, rng=jax.random.key(1)))

  def layout(state):
    return [str(x.sharding.spec) for x in jax.tree.leaves(state)]

  def difference(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b))
    return max(float(np.abs(np.asarray(x) - np.asarray(y)).max()) for x, y in pairs)

  def compare(name, on, params, step=step):
    alone, _ = fit(step, fresh(jax.device_get(params), step), plan)
    state = place(fresh(params, step), on)
    before, counts = layout(state), []
    state, history = fit(
      step, state, plan, run=Run(mesh=on, writer=lambda label, at, scalars: counts.append(compiled[0]))
    )
    assert len(counts) > 3
    found["compilations"][name] = counts[-1] - counts[0]
    found["drift"][name] = [pair for pair in zip(before, layout(state)) if pair[0] != pair[1]]
    found["difference"][name] = difference(alone.params, state.params)
    return alone

  alone = compare("data", flat, params)
  compare("data and model", wide, sharded(params))
  clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-2))
  compare("adamw, clipped", wide, sharded(params), descend({"retain": xent}, clipped, combine=plain_weighted()))

  def job(on, state, plan=plan):
    return _Fit(step, state, plan, {}, Run(mesh=on), "fit", None)

  def compiled_chunk(one):
    data, _, count = one._take(4)
    assert count == 4
    found["padded rows"] = {
      "rows": data["rows"]["retain"].shape[-1],
      "valid": int((data["rows"]["retain"][0] >= 0).sum()),
    }
    shardings = None if one.job.mesh is None else tuple(x.sharding for x in jax.tree.leaves(one.state))
    args = (step, one.layout, shardings, one.job.mesh, one.job.data_axes, one.state, one.refs, one.tables, data)
    return run_chunk.lower(*args, count, 0, plan.steps).compile()

  big = zip_roles(anchor="retain", forget=data[:25], retain=toy_data(2048), batch_size=1024)
  flops = {}
  for name, on, axes in (("one", None, ("data",)), ("data", flat, ("data",)), ("batch not split", flat, ("other",))):
    one = job(on, fresh(params), big)
    one.job.data_axes = axes
    flops[name] = compiled_chunk(one).cost_analysis()["flops"]
  found["flops"] = {name: value / flops["one"] for name, value in flops.items()}
  found["all-gathers"]["fit"] = compiled_chunk(job(flat, fresh(params))).as_text().count(" all-gather")

  def gathers(update):
    batch = jax.device_put(role_batch(data[:32]), NamedSharding(flat, PartitionSpec("data")))
    state = place(fresh(params, small), flat)
    return jax.jit(update).lower(state, batch).compile().as_text().count(" all-gather")

  small = descend({"retain": xent}, optax.adam(1e-2), combine=plain_weighted(), microbatch=4)
  found["all-gathers"]["microbatch"] = gathers(
    lambda s, b: small.update(s, {"retain": split_batch(b, flat, ("data",))}, {})
  )

  def contiguous(state, batch):
    parts = jax.tree.map(lambda x: x.reshape(4, 8, *x.shape[1:]), batch)
    grad = lambda part: jax.grad(lambda p: xent(p, part, state)[0])(state.params)
    return jax.lax.map(grad, parts)

  found["all-gathers"]["contiguous split"] = gathers(contiguous)

  class Crash(Exception):
    pass

  def bomb(label, at, scalars):
    if at >= 40:
      raise Crash

  for name, first, then in (("one device", wide, None), ("a mesh", None, wide)):
    run = Run(out=out / name, mesh=first, checkpoint_every=16, writer=bomb)
    try:
      fit(step, fresh(sharded(params) if first else params), plan, run=run)
      raise SystemExit("the fit did not crash")
    except Crash:
      pass
    run = Run(out=out / name, mesh=then)
    state, history = fit(step, fresh(sharded(params) if then else params), plan, run=run)
    assert history.steps == plan.steps and run.cost.steps == plan.steps
    found["difference"][f"resume on {name}"] = difference(alone.params, state.params)

  copies = jax.tree.map(lambda *p: jnp.stack(p), *[TOY.init(jax.random.key(i)).params for i in range(3)])
  many = replicate(step)
  make = lambda: many.init(
    jax.vmap(lambda p, k: UnlearnState.create(p, rng=k))(copies, jax.random.split(jax.random.key(3), 3))
  )
  ends = [fit(many, make(), plan, run=Run(mesh=on))[0].params for on in (None, flat)]
  found["difference"]["replicas"] = difference(*ends)

  def toward(params, batch, view):
    value, aux = xent(params, batch, view)
    gap = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), params, view.refs["base"])
    return value + sum(jax.tree.leaves(gap)), aux

  near = descend({"retain": toward}, optax.adam(1e-2), combine=plain_weighted())
  ends = []
  for on in (None, flat):
    state = fresh(params, near)
    ends.append(fit(near, state, plan, {"base": state.params}, Run(mesh=on))[0].params)
    assert not any(x.is_deleted() for x in jax.tree.leaves(params))
  found["difference"]["refs alias the state"] = difference(*ends)

  mean = Statistic(
    lambda m: {"x": jnp.zeros(4), "n": jnp.zeros(())},
    lambda acc, m, b, rng: {"x": acc["x"] + b["valid"] @ b["inputs"]["x"], "n": acc["n"] + b["valid"].sum()},
    lambda acc: acc["x"] / acc["n"],
  )
  model, few = TOY.init(jax.random.key(0)), data[:3]
  everywhere = Run(mesh=mesh(data=8))
  found["few"]["fold"] = difference(fold(mean, model, few, everywhere), few.column("x").mean(0))
  found["few"]["outputs"] = difference(outputs(model, few, everywhere)["logits"], outputs(model, few)["logits"])

  try:
    mesh(data=16)
  except ValueError as e:
    found["mesh error"] = str(e)
  (out / "report.json").write_text(json.dumps(found))


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]))
