"""Counts that vary more than a rate explains, as those of molecules in single cells do.

    P(x) = Gamma(x + theta) / (Gamma(theta) x!) (theta / (theta + mu))^theta (mu / (theta + mu))^x

has the mean mu and the variance mu + mu^2 / theta: a Poisson variable whose rate is a gamma
variable of shape theta, its inverse dispersion. As theta grows it becomes a Poisson.

References:
    Lopez, Regier, Cole, Jordan, Yosef (2018). Deep generative modeling for single-cell
        transcriptomics. Nature Methods 15, 1053-1058, doi:10.1038/s41592-018-0229-2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn.functional import softplus

from pyro_vae.arguments import check_choice
from pyro_vae.models.likelihoods.counts import center_log, check_counts, log_mean
from pyro_vae.models.likelihoods.likelihood import Likelihood, moments
from pyro_vae.models.likelihoods.multichoose import log_multichoose

Dispersion = Literal["pixel", "output"]

_RANGE = (-6.0, 12.0)  # of log theta; beyond it the distribution is a Poisson


class Overdispersed(dist.TorchDistribution):
    """A negative binomial of each mean and inverse dispersion, given by their logarithms."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.nonnegative_integer

    def __init__(self, log_mean: Tensor, log_theta: Tensor) -> None:
        self.log_mean, self.log_theta = torch.broadcast_tensors(log_mean, log_theta)
        super().__init__(self.log_mean.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        theta, logit = self.log_theta.exp(), self.log_mean - self.log_theta
        ways = log_multichoose(theta, value)
        return ways - theta * softplus(logit) - value * softplus(-logit)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            theta = self.log_theta.exp()
            rate = torch.distributions.Gamma(theta, theta / self.log_mean.exp())
            return torch.poisson(rate.sample(torch.Size(sample_shape)))

    @property
    def mean(self) -> Tensor:
        return self.log_mean.exp()

    @property
    def variance(self) -> Tensor:
        return self.mean + self.mean.square() * torch.exp(-self.log_theta)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Overdispersed:
        return Overdispersed(self.log_mean.expand(batch_shape), self.log_theta.expand(batch_shape))


class NegativeBinomial(Likelihood):
    """Independent counts of mean mu and variance mu + mu^2 / theta, log mu from the decoder.

    Args:
        dispersion: "pixel" learns one theta for each value of a datum (a gene's, in single cells);
            "output" lets the decoder give one per value and datum. It starts at what gives the
            training data their variance.

    Example:
        >>> from pyro_vae import VAE
        >>> VAE((5,), 2, (16,), NegativeBinomial()).likelihood.describe()
        'NegativeBinomial, a dispersion for each value learned'
    """

    rules = ("none",)
    discrete_under = ("none",)

    def __init__(self, dispersion: Dispersion = "pixel") -> None:
        super().__init__()
        check_choice("dispersion", dispersion, Dispersion)
        self.dispersion = dispersion
        self.num_outputs = 2 if dispersion == "output" else 1

    def bind(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        begin = torch.zeros(self.shape)
        if self.dispersion == "output":
            self.register_buffer("log_theta", begin)
        else:
            self.log_theta = nn.Parameter(begin)

    def forward(self, outputs: Tensor) -> dist.TorchDistribution:
        mean, *rest = outputs.unbind(-len(self.shape) - 1)
        log_theta = self.log_theta + rest[0] if rest else self.log_theta
        made = Overdispersed(log_mean(mean), log_theta.clamp(*_RANGE))
        return made.to_event(len(self.shape))

    def check(self, x: Tensor) -> None:
        check_counts(x, "NegativeBinomial")

    def center(self, bias: Tensor, mean: Tensor) -> None:
        center_log(bias[0], mean)
        with torch.no_grad():
            bias[1:].zero_()  # the offsets of log theta, where the decoder gives them

    def start(self, x: Tensor) -> bool:
        """Take theta = mean^2 / (variance - mean) of each value of data `(N, *shape)`; between 0.1
        and 100, since a latent explains part of the variance.
        """
        mean, variance = moments(x)
        theta = mean.square() / (variance - mean).clamp(min=1e-6)
        with torch.no_grad():
            self.log_theta.copy_(theta.clamp(0.1, 100.0).log().reshape(self.shape))
        return True

    def describe(self) -> str:
        """What it is, in a few words."""
        told = "by the decoder" if self.dispersion == "output" else "for each value learned"
        return f"NegativeBinomial, {'' if self.dispersion == 'output' else 'a '}dispersion {told}"
