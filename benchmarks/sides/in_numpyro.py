"""NumPyro at its best: shuffling, binarisation and all steps of an epoch in one jitted program,
`SVI.update` in a scan.

The state is donated, the last, partial batch is a step after the scan, the batches are gathered in
the scan, the noise is JAX's default generator. Tried and no faster on a CPU (within noise): 16-bit
noise, gathering the whole epoch first, an unrolled scan; slower by a half: the "rbg" generators.
Nets are `stax`, as in NumPyro's own example.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import lax, random
from jax.example_libraries import stax
from numpyro.infer import SVI, Trace_ELBO

from benchmarks.settings import PIXELS, Layer, Net
from benchmarks.timing import Skipped
from benchmarks.worker import Gate, Task


def train(task: Task, gate: Gate) -> None:
    """Train, an epoch at a time."""
    if task.device == "cuda" and jax.default_backend() != "gpu":
        raise Skipped("this jax has no GPU")
    pixels = jnp.asarray(np.load(task.pixels))
    adam = numpyro.optim.Adam(1e-3)
    svi = SVI(partial(model, task.net), partial(guide, task.net), adam, Trace_ELBO())
    state = svi.init(random.PRNGKey(0), jnp.zeros((task.batch, PIXELS)))
    run_epoch = epoch_of(svi, len(pixels), task.batch)
    test = jnp.asarray(task.test_images()) if task.test else jnp.zeros((1, PIXELS))
    evaluate = jax.jit(svi.evaluate)

    def score() -> float:
        return -float(evaluate(state, test)) / len(test)

    for key in random.split(random.PRNGKey(1), task.epochs):
        state, loss = run_epoch(state, pixels, key)
        gate(float(loss), score)


def epoch_of(svi: SVI, num_data: int, batch: int) -> Callable[..., Any]:
    """A jitted epoch `(state, pixels, key) -> (state, mean loss)`."""
    full = num_data // batch

    @partial(jax.jit, donate_argnums=0)
    def run_epoch(state: Any, pixels: jax.Array, key: jax.Array) -> Any:
        key_order, key_draws = random.split(key)
        order = random.permutation(key_order, num_data)

        def step(state: Any, number_and_rows: tuple[jax.Array, jax.Array]) -> Any:
            number, rows = number_and_rows
            grey = pixels[rows].astype(jnp.float32) / 255
            x = random.bernoulli(random.fold_in(key_draws, number), grey).astype(jnp.float32)
            return svi.update(state, x)

        batches = order[: full * batch].reshape(full, batch)
        state, losses = lax.scan(step, state, (jnp.arange(full), batches))
        total = losses.sum()
        if num_data % batch:
            state, loss = step(state, (jnp.asarray(full), order[full * batch :]))
            total += loss
        return state, total / num_data

    return run_epoch


def model(net: Net, x: jax.Array) -> None:
    """p(z) p(x | z)."""
    decoder = numpyro.module("decoder", dense(net.decoder), (len(x), net.latent))
    with numpyro.plate("data", len(x)):
        z = numpyro.sample("latent", dist.Normal(0.0, 1.0).expand([net.latent]).to_event(1))
        numpyro.sample("obs", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)


def guide(net: Net, x: jax.Array) -> None:
    """q(z | x)."""
    encoder = numpyro.module("encoder", dense(net.encoder), (len(x), PIXELS))
    loc, log_scale = jnp.split(encoder(x), 2, axis=-1)
    with numpyro.plate("data", len(x)):
        numpyro.sample("latent", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))


def dense(layers: list[Layer]) -> Any:
    """Dense layers with ReLU between them, started as stax does (Glorot)."""
    parts: list[Any] = []
    for _, n_out in layers:
        parts += [stax.Dense(n_out), stax.Relu]
    return stax.serial(*parts[:-1])
