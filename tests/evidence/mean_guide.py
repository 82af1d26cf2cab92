"""The best mean-field guide of a linear-Gaussian model."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from pyro_vae import LinearGaussian


class Mean(nn.Module):
    """The best mean-field guide, for any x, its deviations times `width`."""

    def __init__(self, model: LinearGaussian, width: float = 1.0) -> None:
        super().__init__()
        self.best, self.width = model.optimal_mean_field, width

    def forward(self, x: torch.Tensor, index: Any = None) -> torch.Tensor:
        best = self.best(x)
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample(
                "latent", dist.Normal(best.mean, self.width * best.stddev).to_event(1)
            )
