"""What is installed, and what the library can use of it: `python -m unlearnjax info`."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from typing import Any

JAX_RANGE = ("0.10", "0.12")
"""The oldest jax that is supported, and the first that is not."""

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
EXTRAS = {
  "test": ("hypothesis", "pytest", "pytest-xdist", "ruff"),
  "lm": ("rouge-score", "safetensors", "tokenizers"),
  "curvature": ("matfree",),
  "privacy": ("dp-accounting",),
  "launch": ("xmanager", "protobuf"),
  "tensorboard": ("tensorboardX",),
  "docs": ("jupytext", "mkdocs", "mkdocs-material", "mkdocstrings-python"),
  "tpu-aot": ("jax",),
  "parity": ("torch", "transformers"),
}
"""Distributions behind each optional extra of the package."""


def version_of(distribution: str) -> str | None:
  """The installed version of a distribution, None where it is missing.

  Example:
    >>> version_of("jax") is not None, version_of("no-such-distribution") is None
    (True, True)
  """
  try:
    return importlib.metadata.version(distribution)
  except importlib.metadata.PackageNotFoundError:
    return None


def versions() -> dict[str, str | None]:
  """Versions of Python, of this package and of what its numbers depend on.

  Example:
    >>> list(versions())
    ['python', 'unlearnjax', 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy']
  """
  import unlearnjax

  own = {"python": platform.python_version(), "unlearnjax": unlearnjax.__version__}
  return own | {name: version_of(name) for name in _PACKAGES}


def jax_supported(version: str | None) -> bool:
  """Whether a version of jax lies in `JAX_RANGE`.

  Example:
    >>> [jax_supported(v) for v in ("0.9.2", "0.10.0", "0.11.1.dev3", "0.12.0", None)]
    [False, True, True, False, False]
  """
  if version is None:
    return False
  low, got, high = (tuple(int(n) for n in re.findall(r"\d+", v)[:2]) for v in (JAX_RANGE[0], version, JAX_RANGE[1]))
  return low <= got < high


def collect() -> dict[str, Any]:
  """Everything that `info` prints, as a JSON value."""
  found = versions()
  return {
    "versions": found,
    "jax": {"supported": f">={JAX_RANGE[0]},<{JAX_RANGE[1]}", "met": jax_supported(found["jax"])},
    "devices": _devices(),
    "data": _data(),
    "extras": {extra: {name: version_of(name) for name in names} for extra, names in EXTRAS.items()},
  }


def text(info: dict[str, Any]) -> str:
  """`collect()` for people.

  Example:
    >>> lines = text(collect()).splitlines()
    >>> lines[0].split()[0], [line for line in lines if line and line[0] != " "]
    ('versions', ['versions', 'jax', 'devices', 'data', 'extras'])
  """
  jax = info["jax"]
  sections = {
    "versions": {name: version or "missing" for name, version in info["versions"].items()},
    "jax": {"supported": jax["supported"], "met": "yes" if jax["met"] else f"no, found {info['versions']['jax']}"},
    "devices": info["devices"],
    "data": info["data"],
    "extras": {extra: _extra(names) for extra, names in info["extras"].items()},
  }
  width = max(len(name) for section in sections.values() for name in section)
  lines = []
  for title, section in sections.items():
    lines += [title, *(f"  {name:<{width}}  {value}" for name, value in section.items())]
  return "\n".join(lines)


def _extra(names: dict[str, str | None]) -> str:
  missing = [name for name, version in names.items() if version is None]
  have = ", ".join(f"{name} {version}" for name, version in names.items() if version is not None)
  return (
    ("installed: " + have) if not missing else f"missing {', '.join(missing)}" + (f" (have {have})" if have else "")
  )


def _devices() -> dict[str, Any]:
  import jax

  try:
    devices = jax.devices()
  except RuntimeError as error:  # a driver that does not match is what this command should show, not die of
    return {"error": str(error).splitlines()[0]}
  kinds = sorted({device.device_kind for device in devices})
  return {
    "backend": jax.default_backend(),
    "count": len(devices),
    "kind": ", ".join(kinds),
    "hosts": jax.process_count(),
  }


def _data() -> dict[str, str]:
  from unlearnjax import data

  return data.available()
