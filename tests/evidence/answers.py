"""Programs without a net: what a guide answers whatever the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
from torch import Tensor


def flat(prior: Any) -> Callable[..., None]:
    def model(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", prior)
            pyro.sample("obs", dist.Normal(0 * z[..., None], 1.0).to_event(1), obs=x)

    return model


def answer(**sites: Any) -> Callable[..., None]:
    def guide(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            for name, fn in sites.items():
                pyro.sample(name, fn)

    return guide
