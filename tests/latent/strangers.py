"""Programs of a stranger: no `sample`, no `decode`, no `shape`, sites of any name."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

torch.manual_seed(7)
UP = torch.randn(3, 2, dtype=torch.float64)  # from two numbers to three
DOWN = torch.randn(4, 3, dtype=torch.float64)  # from three numbers to a datum
NARROW = 0.3  # sd of the layer in the middle
X = torch.randn(6, 4, dtype=torch.float64)


def layered(x: Tensor, index: Any = None) -> None:
    """top ~ N(1, 2), middle ~ N(UP top, NARROW), x ~ N(DOWN middle, 0.1)."""
    with pyro.plate("rows", len(x), dim=-1):
        one = torch.ones(2, dtype=torch.float64)
        top = pyro.sample("top", dist.Normal(one, 2.0).to_event(1))
        middle = pyro.sample("middle", dist.Normal(top @ UP.T, NARROW).to_event(1))
        pyro.sample("seen", dist.Normal(middle @ DOWN.T, 0.1).to_event(1), obs=x)


def layered_guide(x: Tensor, index: Any = None) -> None:
    with pyro.plate("rows", len(x), dim=-1):
        middle = pyro.sample("middle", dist.Normal(x @ DOWN, 1.0).to_event(1))
        pyro.sample("top", dist.Normal(middle @ UP, 1.0).to_event(1))


def plated(x: Tensor, index: Any = None) -> None:
    """A positive scale, and two numbers in a plate of their own; independent of each other."""
    with pyro.plate("rows", len(x), dim=-1):
        scale = pyro.sample("scale", dist.LogNormal(torch.tensor(0.0).double(), 0.5))
        with pyro.plate("parts", 2, dim=-2):
            part = pyro.sample("part", dist.Normal(torch.tensor(0.0).double(), 1.0))
        first, second = part[..., :1, :], part[..., 1:, :]
        mean = torch.stack([first, second, first + second, scale + 0 * first], -1)
        pyro.sample("seen", dist.Normal(mean, 0.1).to_event(1), obs=x)


def plated_guide(x: Tensor, index: Any = None) -> None:
    with pyro.plate("rows", len(x), dim=-1):
        pyro.sample("scale", dist.LogNormal(x[:, 3], 0.1))
        with pyro.plate("parts", 2, dim=-2):
            pyro.sample("part", dist.Normal(x[:, :2].T, 0.1))


def categories(x: Tensor, index: Any = None) -> None:
    """A category and a number."""
    with pyro.plate("rows", len(x), dim=-1):
        kind = pyro.sample("kind", dist.Categorical(torch.ones(3).double()))
        place = pyro.sample("place", dist.Normal(kind.double(), 1.0))
        mean = torch.stack([place] * 4, -1)
        pyro.sample("seen", dist.Normal(mean, 0.1).to_event(1), obs=x)


def categories_guide(x: Tensor, index: Any = None) -> None:
    with pyro.plate("rows", len(x), dim=-1):
        pyro.sample("kind", dist.Categorical(torch.tensor([0.2, 0.3, 0.5]).double()))
        pyro.sample("place", dist.Normal(x.mean(1), 0.1))


STRANGERS = {
    "layered": (layered, layered_guide),
    "plated": (plated, plated_guide),
    "categories": (categories, categories_guide),
}


def doubled(x: Tensor, index: Any = None) -> None:
    """Two observed sites."""
    with pyro.plate("rows", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
        for name in ("one", "other"):
            pyro.sample(name, dist.Normal(z @ x.new_ones(2, 4), 1.0).to_event(1), obs=x)


def doubled_guide(x: Tensor, index: Any = None) -> None:
    with pyro.plate("rows", len(x), dim=-1):
        pyro.sample("z", dist.Normal(x[:, :2], 1.0).to_event(1))


def meanless(x: Tensor, index: Any = None) -> None:
    """Observations without a mean."""
    with pyro.plate("rows", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
        pyro.sample("seen", dist.Cauchy(z @ x.new_ones(2, 4), 1.0).to_event(1), obs=x)
