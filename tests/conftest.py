"""Shared set-up: tests run on the CPU, quietly, and find their helpers."""

from __future__ import annotations

import os
import pathlib
import sys

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))


@pytest.fixture(autouse=True, scope="session")
def _one_device():
  """Jobs that tests call in this process would divide the CPU for all tests to come, were it not in use by then."""
  import jax

  jax.devices()


@pytest.fixture(autouse=True, scope="module")
def _bounded_memory():
  """Compiled programs are kept for the life of a process: they go once it has grown to 3 GB."""
  yield
  import jax

  pages = pathlib.Path("/proc/self/statm")
  if pages.exists() and int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") > 3e9:
    jax.clear_caches()
