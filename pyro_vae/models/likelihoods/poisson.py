"""Counts of what happens at a rate: variance = mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_vae.models.likelihoods.counts import center_log, check_counts, log_mean
from pyro_vae.models.likelihoods.likelihood import Likelihood


class LogPoisson(dist.TorchDistribution):
    """A Poisson variable of each rate, given by its logarithm: a rate of 0 has a gradient too."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.nonnegative_integer

    def __init__(self, log_rate: Tensor) -> None:
        self.log_rate = log_rate
        super().__init__(log_rate.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return value * self.log_rate - self.log_rate.exp() - torch.lgamma(value + 1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return torch.poisson(self.mean.expand(self._extended_shape(sample_shape)))

    @property
    def mean(self) -> Tensor:
        return self.log_rate.exp()

    def expand(self, batch_shape: Any, _instance: Any = None) -> LogPoisson:
        return LogPoisson(self.log_rate.expand(batch_shape))


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
        log_rate = log_mean(outputs.squeeze(-len(self.shape) - 1))
        return LogPoisson(log_rate).to_event(len(self.shape))

    def check(self, x: Tensor) -> None:
        check_counts(x, "Poisson")

    def center(self, bias: Tensor, mean: Tensor) -> None:
        center_log(bias[0], mean)

    def start(self, x: Tensor) -> bool:
        """The mean of the data is all there is to take: whether there is one."""
        return True
