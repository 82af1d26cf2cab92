"""Grey levels as counts: a binomial whose chance is drawn anew for each pixel.

    v ~ BetaBinomial(n, alpha, beta),    n = levels - 1,    x = v / n

    P(v) = C(alpha + v - 1, v) C(beta + n - v - 1, n - v) / C(alpha + beta + n - 1, n)

Its mean is n alpha / (alpha + beta). With alpha + beta below 2 it has two peaks, at black and at
white; as alpha + beta grows it becomes a binomial.

References:
    Townsend, Bird, Barber (2019). Practical lossless compression with latent variables using bits
        back coding. ICLR, arXiv:1901.04866 (section 3.2: MNIST as 8-bit grey, by this likelihood).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_vae.models.likelihoods.grey import all_levels, check_grey, check_levels, level_of
from pyro_vae.models.likelihoods.likelihood import Likelihood, moments
from pyro_vae.models.likelihoods.multichoose import log_multichoose

_LEAST = 1e-6  # of alpha and beta
_RANGE = (-8.0, 9.0)  # of log (alpha + beta): beyond it the distribution changes no more


class GreyBetaBinomial(dist.TorchDistribution):
    """v / n of v ~ BetaBinomial(n, alpha, beta), n = levels - 1, for each alpha and beta."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.unit_interval
    has_enumerate_support = True

    def __init__(self, alpha: Tensor, beta: Tensor, levels: int) -> None:
        self.alpha, self.beta, self.levels = alpha, beta, levels
        super().__init__(alpha.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        most = self.levels - 1
        v, n = level_of(value, self.levels), torch.full_like(self.alpha, most)
        each = log_multichoose(self.alpha, v) + log_multichoose(self.beta, most - v)
        return each - log_multichoose(self.alpha + self.beta, n)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            odds = _log_gamma(self.alpha.expand(shape)) - _log_gamma(self.beta.expand(shape))
            share = torch.sigmoid(odds).to(self.alpha)
            number = torch.full_like(share, self.levels - 1)
            return torch.binomial(number, share) / (self.levels - 1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = all_levels(self.levels, self.alpha, len(self.batch_shape))
        return values.expand(-1, *self.batch_shape) if expand else values

    @property
    def mean(self) -> Tensor:
        return self.alpha / (self.alpha + self.beta)

    def expand(self, batch_shape: Any, _instance: Any = None) -> GreyBetaBinomial:
        alpha, beta = self.alpha.expand(batch_shape), self.beta.expand(batch_shape)
        return GreyBetaBinomial(alpha, beta, self.levels)


def _log_gamma(shape: Tensor) -> Tensor:
    """Logarithms of gamma variables, float64, which themselves are 0 where the shape is tiny."""
    wide = shape.double()
    return torch._standard_gamma(wide + 1).log() + torch.rand_like(wide).log() / wide


class BetaBinomial(Likelihood):
    """Independent grey levels, each a beta-binomial of mean and concentration from the decoder.

    The decoder gives two outputs for each pixel: the logit of the mean alpha / (alpha + beta), and
    the logarithm of the concentration alpha + beta, about that of the training data (`start`). The
    log-probability is one of grey levels, so it needs no log 256 to be told in bits.

    Args:
        levels: grey levels; data are x = v / (levels - 1).

    Example:
        >>> from pyro_vae import VAE
        >>> model = VAE((1, 8, 8), 2, (16,), BetaBinomial())
        >>> model.rules
        ('none',)
    """

    num_outputs = 2
    rules = ("none",)
    discrete_under = ("none",)

    log_concentration: Tensor

    def __init__(self, levels: int = 256) -> None:
        super().__init__()
        check_levels(levels)
        self.levels = levels
        self.register_buffer("log_concentration", torch.zeros(()))

    def bind(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)

    def forward(self, outputs: Tensor) -> dist.TorchDistribution:
        logit, offset = outputs.unbind(-len(self.shape) - 1)
        concentration = (self.log_concentration + offset).clamp(*_RANGE).exp()
        alpha = concentration * torch.sigmoid(logit) + _LEAST
        beta = concentration * torch.sigmoid(-logit) + _LEAST
        return GreyBetaBinomial(alpha, beta, self.levels).to_event(len(self.shape))

    def check(self, x: Tensor) -> None:
        check_grey(x, self.levels)

    def center(self, bias: Tensor, mean: Tensor) -> None:
        with torch.no_grad():
            bias[0].copy_(torch.logit(mean.clamp(1e-3, 1 - 1e-3)))
            bias[1].zero_()

    def start(self, x: Tensor) -> bool:
        """Take the concentration that gives data `(N, *shape)` their variance about the mean of
        each pixel: var = m (1 - m) (1 + (n - 1) / (concentration + 1)) / n, all pixels together.
        """
        mean, variance = moments(x)
        most, chance = self.levels - 1, (mean * (1 - mean)).sum()
        if not chance > 0:
            return True

        share = ((most * variance.sum() / chance - 1) / max(most - 1, 1)).clamp(1e-4, 0.999)
        self.log_concentration.copy_((1 / share - 1).log())
        return True

    def describe(self) -> str:
        """What it is, in a few words."""
        return f"BetaBinomial of {self.levels} grey levels"
