"""A mixture of Gaussians as the prior."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_integer
from pyro_vae.models.priors.components import Mixture
from pyro_vae.models.priors.prior import Prior


class MixturePrior(Prior):
    """p(z) = sum_k w_k N(z; m_k, diag s_k^2), with weights, means and scales learned.

    The means start spread as far as the components are wide, so that the mixture of many begins
    close to N(0, I).

    Args:
        num_components: K.

    Example:
        >>> from pyro_vae import VAE
        >>> model = VAE((1, 8, 8), latent_dim=2, hidden=(16,), prior=MixturePrior(5))
        >>> model.prior(torch.zeros(1)).sample((3,)).shape
        torch.Size([3, 2])
    """

    def __init__(self, num_components: int = 10) -> None:
        super().__init__()
        check_integer("num_components", num_components, 1)
        self.num_components = num_components

    def bind(self, latent_dim: int, shape: Sequence[int]) -> None:
        super().bind(latent_dim, shape)
        size = (self.num_components, latent_dim)
        alone = self.num_components == 1
        half = 0.0 if alone else math.sqrt(0.5)
        self.means = nn.Parameter(half * torch.randn(size))
        self.log_scales = nn.Parameter(torch.full(size, 0.0 if alone else math.log(half)))
        self.logits = nn.Parameter(torch.zeros(self.num_components))

    def forward(self, like: Tensor) -> dist.TorchDistribution:
        means, log_scales, logits = (
            part.to(like) for part in (self.means, self.log_scales, self.logits)
        )
        return Mixture(logits, dist.Normal(means, log_scales.exp()).to_event(1))

    def describe(self) -> str:
        return f"a mixture of {self.num_components} Gaussians"
