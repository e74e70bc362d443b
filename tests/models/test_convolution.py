"""Both ways to convolve give the same numbers and gradients."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unlearnjax.models import conv2d


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(
  "size, kernel, stride, padding", [(7, 3, 1, 1), (8, 3, 2, 1), (7, 1, 2, 0), (6, 2, 1, 0), (9, 5, 3, 2)]
)
def test_canonical_equals_xla(channels, size, kernel, stride, padding):
  x = jax.random.normal(jax.random.key(0), (2, size, size + 1, channels))
  w = jax.random.normal(jax.random.key(1), (kernel, kernel, channels, 4))
  run = lambda how: lambda x, w: conv2d(x, w, stride=stride, padding=padding, implementation=how)
  loss = lambda how: lambda *args: jnp.sum(jnp.sin(run(how)(*args)))
  a, b = run("canonical")(x, w), run("xla")(x, w)
  assert a.shape == (2, (size + 2 * padding - kernel) // stride + 1, (size + 1 + 2 * padding - kernel) // stride + 1, 4)
  np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
  for g, h in zip(jax.grad(loss("canonical"), (0, 1))(x, w), jax.grad(loss("xla"), (0, 1))(x, w)):
    np.testing.assert_allclose(g, h, rtol=1e-4, atol=1e-4)


def test_it_composes_with_second_derivatives_and_batches_of_kernels():
  x, w = jax.random.normal(jax.random.key(0), (2, 5, 5, 4)), jax.random.normal(jax.random.key(1), (3, 3, 4, 2))
  loss = lambda how: lambda w: jnp.sum(jnp.sin(conv2d(x, w, implementation=how)))
  hvp = lambda how: jax.jvp(jax.grad(loss(how)), (w,), (jnp.ones_like(w),))[1]
  np.testing.assert_allclose(hvp("canonical"), hvp("xla"), rtol=1e-4, atol=1e-4)
  each = jax.vmap(jax.grad(loss("canonical")))(jnp.stack([w, 2 * w]))
  np.testing.assert_allclose(each[1], jax.grad(loss("xla"))(2 * w), rtol=1e-4, atol=1e-4)
  images = jnp.stack([x, -x], 1)  # along another axis than the first
  slope = jax.grad(lambda x: jnp.sum(conv2d(x, w, implementation="canonical") ** 2))
  np.testing.assert_allclose(jax.vmap(slope, 1, 1)(images), jnp.stack([slope(x), -slope(x)], 1), rtol=1e-4, atol=1e-4)


def test_types_are_promoted():
  out = conv2d(jnp.ones((1, 3, 3, 1), jnp.bfloat16), jnp.ones((3, 3, 1, 1), jnp.bfloat16))
  assert (
    out.dtype == jnp.bfloat16
    and conv2d(jnp.ones((1, 3, 3, 1)), jnp.ones((1, 1, 1, 1), jnp.bfloat16)).dtype == jnp.float32
  )


def test_what_does_not_fit_is_refused():
  with pytest.raises(ValueError, match=r"conv2d needs x \[B, H, W, C\] and kernel \[h, w, C, K\], got \(1, 3, 3, 2\)"):
    conv2d(jnp.ones((1, 3, 3, 2)), jnp.ones((3, 3, 1, 1)))
  with pytest.raises(ValueError, match=r"a kernel \(5, 5\) does not fit into images \(3, 3\) padded by 0"):
    conv2d(jnp.ones((1, 3, 3, 1)), jnp.ones((5, 5, 1, 1)))
  with pytest.raises(ValueError, match="implementation must be one of auto, xla, canonical; got 'fft'"):
    conv2d(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)), implementation="fft")


def test_derivatives_of_any_order_hold_only_convolutions_of_the_fast_form():
  x, w = jnp.ones((2, 6, 6, 4)), jnp.ones((3, 3, 4, 8))
  loss = lambda x, w: jnp.sum(jnp.sin(conv2d(x, w, padding=1, implementation="canonical")))

  def step(i, w):
    slope, curved = jax.jvp(lambda w: jax.grad(loss, (0, 1))(x, w), (w,), (w,))
    return w - slope[1] - jnp.sum(slope[0]) - curved[1] - jnp.sum(curved[0])

  program = jax.jit(lambda w: jax.lax.fori_loop(0, 3, step, w)).lower(w).as_text("hlo")
  layouts = re.findall(r"dim_labels=(\S+?)[,\s]", program)
  assert len(layouts) >= 7 and set(layouts) == {"b01f_01io->b01f"}, layouts
