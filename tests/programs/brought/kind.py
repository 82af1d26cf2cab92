"""What a kind of user program is here: two programs, data, and the closed form of log p(x).

Most kinds are spellings of the same model, whose posterior is known:

    a, b ~ N(0, 1),   x | a, b ~ N(a U_1 + b U_2, I) in three dimensions, U_1 orthogonal to U_2

    log p(x) = log N(x; 0, I + U^T U),   a | x and b | x independent normals

so that each of them is held to the same numbers, and a guide by hand may be all but exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

NUM = 8
UP = torch.tensor([[1.0, 1.0, 0.0], [1.0, -1.0, 1.0]])
PRECISION = 1 + UP.square().sum(1)
WIDE = 1.2
"""By how much the guides' standard deviations are the posterior's: weights that all are the same
would hold no estimator to anything.
"""

Exact = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Brought:
    """What a user brings.

    Attributes:
        model, guide: Pyro programs.
        x: data `(8, *shape)`.
        exact: log p(x) `(N,)` of data and their numbers; None where nobody knows it.
        index: the numbers of the data; None where nobody says.
        arguments: of `fit` besides.
    """

    model: Any
    guide: Any
    x: Tensor
    exact: Exact | None
    index: Tensor | None = None
    arguments: dict[str, Any] = field(default_factory=dict)


def data(dtype: torch.dtype = torch.float32) -> Tensor:
    """Data of the model above, `(8, 3)`, always the same."""
    noise = torch.Generator().manual_seed(1)
    z = torch.randn(NUM, 2, generator=noise)
    return (z @ UP + torch.randn(NUM, 3, generator=noise)).to(dtype)


def log_px(x: Tensor, index: Tensor | None = None) -> Tensor:
    """log p(x) `(N,)` of the model above, by its closed form, in float64."""
    covariance = torch.eye(3).double() + UP.double().T @ UP.double()
    return dist.MultivariateNormal(torch.zeros(3).double(), covariance).log_prob(x.double())


def answers(dtype: torch.dtype = torch.float32) -> nn.Linear:
    """A net from x to the posterior's two means, which is right from the start."""
    net = nn.Linear(3, 2)
    with torch.no_grad():
        net.weight.copy_(UP / PRECISION[:, None])
        net.bias.zero_()
    return net.to(dtype)


def spread() -> Tensor:
    """Standard deviations of the guides `(2,)`."""
    return WIDE * PRECISION.rsqrt()
