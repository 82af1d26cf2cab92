"""Counts of what happens at a rate: variance = mean."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
from torch import Tensor

from pyro_vae.models.likelihoods.counts import center_log, check_counts, log_mean
from pyro_vae.models.likelihoods.likelihood import Likelihood


class Poisson(Likelihood):
    """Independent counts, the logarithm of their rate from the decoder.

    Where the counts of a column vary more than their mean explains, `NegativeBinomial` fits better.

    Example:
        >>> from pyro_vae import VAE
        >>> VAE((5,), 2, (16,), Poisson()).sample(4).min() > 0
        tensor(True)
    """

    rules = ("none",)
    discrete_under = ("none",)

    def bind(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)

    def forward(self, outputs: Tensor) -> dist.TorchDistribution:
        rate = log_mean(outputs.squeeze(-len(self.shape) - 1)).exp()
        return dist.Poisson(rate).to_event(len(self.shape))

    def check(self, x: Tensor) -> None:
        check_counts(x, "Poisson")

    def center(self, bias: Tensor, mean: Tensor) -> None:
        center_log(bias[0], mean)

    def start(self, x: Tensor) -> bool:
        """The mean of the data is all there is to take: whether there is one."""
        return True
