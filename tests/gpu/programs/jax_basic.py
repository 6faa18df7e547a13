# SPDX-License-Identifier: Apache-2.0
"""JAX: jit, grad, scan, random, linear algebra, fft, convolution."""
import os

os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", ".10")
os.environ.setdefault("XLA_FLAGS", "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0")
import jax
import jax.numpy as jnp
import numpy

from common import digest, show

show("devices", [d.device_kind for d in jax.devices()])
key = jax.random.key(0)
a, b = jax.random.normal(key, (256, 128)), jax.random.normal(key, (128, 64))
show("random", digest(numpy.asarray(a)))
show("matmul", digest(numpy.asarray(jax.jit(lambda x, y: jnp.tanh(x @ y))(a, b))))


def loss(w, x):
    return jnp.mean((jnp.dot(x, w) - 1) ** 2)


w = b
for _ in range(5):
    w = w - 0.1 * jax.jit(jax.grad(loss))(w, a)
show("gradient descent", digest(numpy.asarray(w)))
show("scan", digest(numpy.asarray(jax.lax.scan(lambda c, x: (c + x, c), jnp.zeros(128), a)[1])))
s = b.T @ b + 64 * jnp.eye(64)
show("cholesky", digest(numpy.asarray(jnp.linalg.cholesky(s))))
show("eigh", digest(numpy.asarray(jnp.linalg.eigh(s)[0])))
show("svd", digest(numpy.asarray(jnp.linalg.svd(b)[1])))
show("fft", digest(numpy.asarray(jnp.fft.fft(a))))
show("convolution", digest(numpy.asarray(jax.lax.conv(a[None, None], b[None, None, :3, :3], (1, 1), "SAME"))))
show("sort", digest(numpy.asarray(jnp.sort(a.ravel()))))
