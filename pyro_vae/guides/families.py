"""Families: *what q is*, a map from a parameter tensor `(..., P)` to a distribution over a latent
`(d,)`.

Where the parameters come from (a network of x, a row of a table per datum) is the guide's business,
not the family's. The Gaussian families share one form, with eps from a standard normal of the right
size:

    mean-field   z = mu + sigma * eps
    low-rank     z = mu + sigma * (eps + F eps' / sqrt(d)),    F of shape (d, r)
    full-rank    z = mu + sigma * (I + N / sqrt(d)) eps,       N strictly lower triangular

The row scales sigma and the 1 / sqrt(d) make a step of the same size in any parameter move q about
as much, which is what Adam, and a network's head as torch initialises it, presuppose.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_vae.arguments import check_integer, check_kind, check_sizes, refuse


class Family(ABC):
    """A parametric family of distributions over R^d, whose first 2 d parameters are a mean and the
    logs of scales.

    Attributes:
        dim: d.
        blocks: the parts of the parameter vector, in order: what each is, and its length. Parts
            that two families have in common, from the first on, mean the same in both, so that an
            optimum in one is a start in the other.
    """

    dim: int
    blocks: dict[str, int]

    @property
    def num_params(self) -> int:
        """P, the length of the parameter vector."""
        return sum(self.blocks.values())

    @property
    def name(self) -> str:
        """The family with its sizes, such as `LowRank(50, rank=5)`; equal for equal families."""
        sizes = []
        for key, value in vars(self).items():
            if key != "dim" and isinstance(value, int):
                sizes.append(f"{key}={value}")
        return f"{type(self).__name__}({', '.join([str(self.dim), *sizes])})"

    def split(self, params: Tensor) -> tuple[Tensor, ...]:
        """The parts of parameters `(..., P)`."""
        check_kind("params", params, Tensor, f"a tensor (..., {self.num_params})")
        if params.shape[-1:] != (self.num_params,):
            refuse("params", params, f"(..., {self.num_params})")
        return params.split(list(self.blocks.values()), dim=-1)

    def num_shared(self, other: Family) -> int:
        """How many parameters, from the first on, mean the same in another family."""
        shared = 0
        for mine, theirs in zip(self.blocks.items(), other.blocks.items(), strict=False):
            if mine != theirs:
                break
            shared += mine[1]
        return shared

    @abstractmethod
    def __call__(self, params: Tensor) -> dist.TorchDistribution:
        """The distribution, event shape (d,) and batch shape `(...)`, for parameters `(..., P)`."""

    @abstractmethod
    def standard(self) -> Tensor:
        """Parameters `(P,)` of N(0, I), or close to it: a starting point for local optimisation."""

    def given(self, params: Tensor) -> Callable[..., Any]:
        """The guide of B data with these parameters `(B, P)`, a Pyro program that has no parameters
        of its own.
        """
        return lambda x, index=None: self.draw(self(params), len(x))

    def draw(self, q: dist.TorchDistribution, num_data: int) -> Any:
        """The statements of a guide whose q this is: what it draws, `(..., B, d)`, in the plate of
        the data.
        """
        return sample_latent(q, num_data)

    def around(self, other: Family) -> Family:
        """Another family over the same latents as this one's."""
        return other


class MeanField(Family):
    """Independent Gaussians, q = prod_i N(mu_i, sigma_i^2), with params = (mu, log sigma) and
    P = 2 d.

    Example:
        >>> MeanField(3)(torch.zeros(5, 6)).log_prob(torch.zeros(5, 3)).shape
        torch.Size([5])
    """

    def __init__(self, dim: int) -> None:
        check_integer("dim", dim, 1)
        self.dim = dim
        self.blocks = {"mean": dim, "log_scale": dim}

    def __call__(self, params: Tensor) -> dist.TorchDistribution:
        mean, log_scale = self.split(params)
        return dist.Normal(mean, log_scale.exp()).to_event(1)

    def standard(self) -> Tensor:
        return torch.zeros(self.num_params)


class LowRank(Family):
    """N(mu, diag(sigma) (I + F F^T / d) diag(sigma)), with params = (mu, log sigma, F) and
    P = (2 + r) d.

    Args:
        dim: d.
        rank: r, columns of F; with r = d - 1 or more it is a full-rank family, with more parameters
            than needed.

    Example:
        >>> LowRank(3, 2).num_params
        12
    """

    def __init__(self, dim: int, rank: int = 5) -> None:
        self.dim, self.rank = check_sizes("dim, rank", (dim, rank))
        self.blocks = {"mean": dim, "log_scale": dim, f"factor of rank {rank}": rank * dim}

    def __call__(self, params: Tensor) -> dist.TorchDistribution:
        mean, log_scale, factor = self.split(params)
        scale = log_scale.exp()
        factor = scale[..., None] * factor.unflatten(-1, (self.dim, self.rank))
        return dist.LowRankMultivariateNormal(mean, factor / math.sqrt(self.dim), scale**2)

    def standard(self) -> Tensor:
        # a small F: F = 0 is a saddle of every objective, and mean gradients do not leave it
        grid = torch.arange(self.dim)[:, None] * torch.arange(1, self.rank + 1)
        factor = 0.1 * torch.cos(math.pi * grid / self.dim)
        return torch.cat([torch.zeros(2 * self.dim), factor.flatten()])


class FullRank(Family):
    """N(mu, L L^T) with L = diag(sigma) (I + N / sqrt(d)), params = (mu, log sigma, N) and
    P = 2 d + d (d - 1) / 2.

    log det L is the sum of log sigma, whatever N.

    Example:
        >>> FullRank(3).num_params, FullRank(3).num_shared(MeanField(3))
        (9, 6)
    """

    def __init__(self, dim: int) -> None:
        check_integer("dim", dim, 1)
        self.dim = dim
        self.blocks = {"mean": dim, "log_scale": dim, "lower": dim * (dim - 1) // 2}

    def __call__(self, params: Tensor) -> dist.TorchDistribution:
        mean, log_scale, lower = self.split(params)
        return dist.MultivariateNormal(mean, scale_tril=triangular(log_scale, lower))

    def standard(self) -> Tensor:
        return torch.zeros(self.num_params)


def sample_latent(q: dist.TorchDistribution, num_data: int) -> Tensor:
    """The statement of a guide with one latent: z `(..., B, d)` from q, in the data's plate."""
    with pyro.plate("data", num_data, dim=-1):
        return pyro.sample("latent", q)


def triangular(log_scale: Tensor, lower: Tensor) -> Tensor:
    """L = diag(sigma) (I + N / sqrt(d)) `(..., d, d)`, from log sigma `(..., d)` and the entries of
    N row by row.
    """
    dim = log_scale.shape[-1]
    row, column = torch.tril_indices(dim, dim, -1, device=lower.device)
    identity = torch.eye(dim, dtype=lower.dtype, device=lower.device)
    matrix = identity.expand(*lower.shape[:-1], dim, dim).clone()
    matrix[..., row, column] = lower / math.sqrt(dim)
    return log_scale.exp()[..., None] * matrix
