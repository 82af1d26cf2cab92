"""The standard normal prior, which has nothing to learn, and which prior a model has."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_vae.arguments import check_kind
from pyro_vae.models.priors.prior import Prior


class StandardNormal(Prior):
    """p(z) = N(0, I)."""

    def forward(self, like: Tensor) -> dist.TorchDistribution:
        zero = torch.zeros(self.latent_dim, dtype=like.dtype, device=like.device)
        return dist.Normal(zero, 1.0).to_event(1)

    def describe(self) -> str:
        return "N(0, I)"


def chosen_prior(prior: Prior | None) -> Prior:
    """The prior of a model, `StandardNormal()` unless given; a ValueError for another model's."""
    if prior is None:
        return StandardNormal()
    check_kind("prior", prior, Prior, "a prior such as pyro_vae.MixturePrior(10), or None")
    if hasattr(prior, "latent_dim"):
        raise ValueError(
            f"prior: this {type(prior).__name__} is another model's already, expected one for each"
        )
    return prior
