"""Values in [0, 1] with a density that is one there.

    p(x) = e^(eta x) eta / (e^eta - 1),    0 <= x <= 1

is the Bernoulli's formula at a grey value, divided by its integral, which `Bernoulli(grey=True)`
leaves out. It is linear in x on a logarithmic scale: its mode is 0 or 1, its mean
1 / (1 - e^-eta) - 1 / eta.

References:
    Loaiza-Ganem, Cunningham (2019). The continuous Bernoulli: fixing a pervasive error in
        variational autoencoders. NeurIPS, arXiv:1907.06845.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_vae.models.likelihoods.likelihood import Likelihood, there

_SMALL = 0.1  # |eta| below which series are used
_FARTHEST = 1e3  # |eta| at the start
_HALVINGS = 60


class Tilted(dist.TorchDistribution):
    """The density on [0, 1] that is proportional to e^(eta x)."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.unit_interval

    def __init__(self, eta: Tensor) -> None:
        self.eta = eta
        super().__init__(eta.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        # log integral = max(eta, 0) + log((1 - e^-|eta|) / |eta|)
        size = self.eta.abs()
        small, safe = size < _SMALL, size.clamp(min=_SMALL)
        square = size * size
        series = -size / 2 + square / 24 - square * square / 2880
        whole = torch.where(small, series, torch.log(-torch.expm1(-safe) / safe))
        return self.eta * value - self.eta.clamp(min=0) - whole

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            uniform = torch.rand(shape, dtype=self.eta.dtype, device=self.eta.device)
            size = self.eta.abs().clamp(min=1e-4)
            falling = (-torch.log1p(uniform * torch.expm1(-size)) / size).clamp(0, 1)
            return torch.where(self.eta > 0, 1 - falling, falling)

    @property
    def mean(self) -> Tensor:
        return tilted_mean(self.eta)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Tilted:
        return Tilted(self.eta.expand(batch_shape))


def tilted_mean(eta: Tensor) -> Tensor:
    """1 / (1 - e^-eta) - 1 / eta."""
    size = eta.abs()
    safe = size.clamp(min=_SMALL)
    above = torch.where(size < _SMALL, size / 12 - size**3 / 720, _above_half(safe))
    return 0.5 + torch.sign(eta) * above


def _above_half(size: Tensor) -> Tensor:
    return -1 / torch.expm1(-size) - 1 / size - 0.5


class ContinuousBernoulli(Likelihood):
    """Independent values in [0, 1], eta of each from the decoder.

    It is a density: what it says of grey levels themselves is a likelihood of real values that
    happen to lie on a grid, and told in bits only of dequantised pixels. `BetaBinomial` and
    `DiscretisedLogistic` give the levels probabilities.

    Example:
        >>> from pyro_vae import VAE
        >>> VAE((1, 8, 8), 2, (16,), ContinuousBernoulli()).rules
        ('dequantise', 'none')
    """

    rules = ("dequantise", "none")
    discrete_under = ("dequantise",)

    def bind(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)

    def forward(self, outputs: Tensor) -> dist.TorchDistribution:
        return Tilted(outputs.squeeze(-len(self.shape) - 1)).to_event(len(self.shape))

    def check(self, x: Tensor) -> None:
        x = there(x)
        if x.min() < 0 or x.max() > 1:
            raise ValueError(
                f"x: got values in [{x.min():g}, {x.max():g}] under a ContinuousBernoulli"
                " likelihood, expected [0, 1]: rescale the data"
            )

    def center(self, bias: Tensor, mean: Tensor) -> None:
        """Find eta by halvings: its mean has no inverse in closed form."""
        with torch.no_grad():
            wanted = mean.double().clamp(1e-3, 1 - 1e-3)
            low, high = torch.full_like(wanted, -_FARTHEST), torch.full_like(wanted, _FARTHEST)
            for _ in range(_HALVINGS):
                middle = (low + high) / 2
                short = tilted_mean(middle) < wanted
                low, high = torch.where(short, middle, low), torch.where(short, high, middle)
            bias[0].copy_(low.reshape(self.shape))

    def start(self, x: Tensor) -> bool:
        """The mean of the data is all there is to take: whether there is one."""
        return True
