"""The guide of a mixture of Gaussians, q(centres) q(assignment), which coordinate ascent fits
(`mixture_ascent`).
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_finite, check_shape, refuse


class MixtureGuide(nn.Module):
    """q(centres) q(assignment) of a `GaussianMixture`, sites "centres" and "assignment".

    Args:
        mean: m `(K, D)`.
        variance: v `(K,)`.
        responsibilities: phi `(N, K)`, rows that sum to 1.
    """

    mean: Tensor
    variance: Tensor
    responsibilities: Tensor

    def __init__(self, mean: Tensor, variance: Tensor, responsibilities: Tensor) -> None:
        super().__init__()
        check_shape("mean", mean, (None, None))
        check_finite("mean", mean)
        check_shape("variance", variance, (len(mean),))
        if not (variance > 0).all() or not torch.isfinite(variance).all():
            raise ValueError(
                "variance: got values that are not positive, expected positive and finite ones"
            )

        check_shape("responsibilities", responsibilities, (None, len(mean)))
        off = (responsibilities.sum(1) - 1).abs() > 1e-3
        if len(off) == 0 or off.any() or not (responsibilities >= 0).all():
            expected = f"probabilities (N, {len(mean)}), rows that sum to 1"
            refuse("responsibilities", responsibilities, expected)

        self.register_buffer("mean", mean)
        self.register_buffer("variance", variance)
        self.register_buffer("responsibilities", responsibilities)
        self.num_rows = len(responsibilities)

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Run the guide on all data `(N, D)`; returns the assignments `(..., N)`."""
        pyro.sample("centres", dist.Normal(self.mean, self.variance.sqrt()[:, None]).to_event(2))
        with pyro.plate("data", len(x), dim=-1):
            probabilities = self.responsibilities if index is None else self.responsibilities[index]
            return pyro.sample("assignment", dist.Categorical(probs=probabilities))
