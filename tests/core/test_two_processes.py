"""Two processes of four devices each: the same numbers as one process, and a checkpoint that moves to another mesh.

The processes are started here, on this machine, and talk through `jax.distributed`.
"""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve()


def free_port() -> int:
  with socket.socket() as s:
    s.bind(("localhost", 0))
    return s.getsockname()[1]


def start(devices: int, *args: str) -> subprocess.Popen:
  env = {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    "PYTHONPATH": os.pathsep.join([str(HERE.parents[2]), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]),
  }
  command = [sys.executable, str(HERE), *map(str, args)]
  return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(*processes: subprocess.Popen) -> None:
  outputs = [p.communicate(timeout=400)[0] for p in processes]
  assert all(p.returncode == 0 for p in processes), "\n".join(o[-3000:] for o in outputs)


@pytest.mark.slow
def test_two_processes_equal_one_and_their_checkpoint_goes_on_elsewhere(tmp_path):
  report = lambda name: json.loads((tmp_path / f"{name}.json").read_text())
  port = free_port()
  both = [start(4, "part", tmp_path, port, process) for process in (0, 1)]
  finish(*both)
  finish(start(2, "rest", tmp_path))
  alone, whole, resumed = report("alone"), report("two"), report("resumed")
  assert whole["steps"] == alone["steps"] == resumed["steps"]
  assert max(abs(a - b) for a, b in zip(whole["params"], alone["params"])) < 1e-5
  assert max(abs(a - b) for a, b in zip(resumed["params"], alone["params"])) < 1e-5
  assert resumed["from"] > 0  # the second job did not start again


def main(what: str, out: pathlib.Path, port: int = 0, process: int = 0) -> None:
  import jax

  if what == "part":
    jax.distributed.initialize(f"localhost:{port}", 2, process)
  import numpy as np
  import optax
  from jax.experimental import multihost_utils
  from jax.sharding import NamedSharding, PartitionSpec
  from toy import TOY, plain_weighted, toy_data, toy_xent

  from unlearnjax.core import Run, UnlearnState, descend, fit, zip_roles
  from unlearnjax.sharding import mesh, place, put

  xent = toy_xent()
  step = descend({"forget": xent, "retain": xent}, optax.adam(1e-2), combine=plain_weighted(forget=-0.2))
  data = toy_data(90)
  plan = zip_roles(anchor="retain", forget=data[:25], retain=data[25:], batch_size=32, epochs=20)

  def fresh(on):
    params = jax.device_get(TOY.init(jax.random.key(0)).params)
    halves = {"body": {"kernel": (None, "model"), "bias": ()}, "head": {"kernel": ("model",), "bias": ()}}
    if on is not None:
      lay = lambda x, spec: put(x, NamedSharding(on, PartitionSpec(*spec)))
      params = jax.tree.map(lay, params, halves)
    return place(step.init(UnlearnState.create(params, rng=jax.random.key(1))), on)

  def note(name, state, history, first=0):
    leaves = [multihost_utils.process_allgather(x, tiled=True) for x in jax.tree.leaves(state.params)]
    if process == 0:
      numbers = np.concatenate([np.ravel(x) for x in leaves]).tolist()
      (out / f"{name}.json").write_text(json.dumps({"params": numbers, "steps": history.steps, "from": first}))

  class Stop(Exception):
    pass

  def stop(label, at, scalars):
    if at >= 24:
      raise Stop

  if what == "part":
    on = mesh(data=4, model=2)
    assert len(jax.devices()) == 8 and len(jax.local_devices()) == 4
    note("two", *fit(step, fresh(on), plan, run=Run(mesh=on)))
    try:
      fit(step, fresh(on), plan, run=Run(out=out / "job", mesh=on, checkpoint_every=8, writer=stop))
      raise SystemExit("the fit was not interrupted")
    except Stop:
      pass
    return
  note("alone", *fit(step, fresh(None), plan))
  on, seen = mesh(data=1, model=2), []
  run = Run(out=out / "job", mesh=on, writer=lambda label, at, scalars: seen.append(at))
  note("resumed", *fit(step, fresh(on), plan, run=run), first=seen[0] - 16)


if __name__ == "__main__":
  main(sys.argv[1], pathlib.Path(sys.argv[2]), *map(int, sys.argv[3:]))
