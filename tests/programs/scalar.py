"""A scalar latent for each datum."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
from torch import Tensor

SQRT2 = math.sqrt(2)


def scalar_model(x: Tensor, index: Tensor | None = None) -> None:
    """The simplest program: z ~ N(0, 1), x ~ N(z, 1), one number each."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("obs", dist.Normal(z, 1.0), obs=x[:, 0])


def scalar_guide(x: Tensor, index: Tensor | None = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(x[:, 0] / 2, 0.8))


def scalar_log_px(x: Tensor) -> Tensor:
    return dist.Normal(0.0, SQRT2).log_prob(x[:, 0]).double()
