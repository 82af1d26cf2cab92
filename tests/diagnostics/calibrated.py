"""Programs to be calibrated."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch

LIKE = torch.zeros(1, 5)


def prior(x: torch.Tensor, index: Any = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("latent", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def two_site_model(x: torch.Tensor, index: Any = None) -> None:
    with pyro.plate("rows", len(x), dim=-1):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("columns", 3, dim=-2):
            b = pyro.sample("b", dist.LogNormal(a, 1.0))
            pyro.sample("y", dist.Normal(b.log(), 1.0), obs=x.T)


def two_site_guide(scale: float) -> Callable[..., None]:
    """The posterior of a, then that of b given a, whose scale is off by a factor in the second of
    three columns.
    """
    scales = torch.tensor([[1.0], [scale], [1.0]])

    def guide(x: torch.Tensor, index: Any = None) -> None:
        with pyro.plate("rows", len(x), dim=-1):
            a = pyro.sample("a", dist.Normal(x.sum(-1) / 5, math.sqrt(2 / 5)))
            with pyro.plate("columns", 3, dim=-2):
                pyro.sample("b", dist.LogNormal((a + x.T) / 2, scales * math.sqrt(1 / 2)))

    return guide
