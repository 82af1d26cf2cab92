"""Families: *what q is*, a map from a parameter tensor `(..., P)` to a distribution over a latent `(d,)`.

Where the parameters come from (a network of x, a row of a table per datum) is the guide's business, not the family's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_vae.nets import check_sizes


class Family(ABC):
    """A parametric family of distributions over R^d.

    Attributes:
        dim: d.
        num_params: P, the length of the parameter vector.
    """

    dim: int
    num_params: int

    @abstractmethod
    def __call__(self, params: Tensor) -> dist.TorchDistribution:
        """The distribution with event shape (d,) and batch shape `(...)` for parameters `(..., P)`."""

    @abstractmethod
    def standard(self) -> Tensor:
        """Parameters `(P,)` of N(0, I), a starting point for local optimisation."""


class MeanField(Family):
    """Independent Gaussians, q = prod_i N(mu_i, sigma_i^2), with params = (mu, log sigma) and P = 2 d.

    Example:
        >>> MeanField(3)(torch.zeros(5, 6)).log_prob(torch.zeros(5, 3)).shape
        torch.Size([5])
    """

    def __init__(self, dim: int) -> None:
        (self.dim,) = check_sizes("dim", (dim,))
        self.num_params = 2 * dim

    def __call__(self, params: Tensor) -> dist.TorchDistribution:
        mean, log_scale = params.chunk(2, dim=-1)
        return dist.Normal(mean, log_scale.exp()).to_event(1)

    def standard(self) -> Tensor:
        return torch.zeros(self.num_params)
