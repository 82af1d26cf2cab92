"""What a decoder's output means: a map from its `(..., num_outputs, *shape)` to a distribution over one datum.

A likelihood's own parameters (a learned sigma) are parameters of the model it is part of. `num_outputs` says how many
values it needs for each pixel, `check` refuses data that it cannot score, and `center` puts the training mean into the
decoder's output bias, so that training starts from the best constant model.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

Learn = Literal["none", "shared", "pixel", "output"]


class Likelihood(nn.Module, ABC):
    """p(x | outputs): subclasses say how many outputs a pixel needs and what they parameterise."""

    num_outputs: int = 1

    @abstractmethod
    def forward(self, outputs: Tensor) -> dist.TorchDistribution:
        """Distribution with event shape `shape` from outputs `(..., num_outputs, *shape)`."""

    @abstractmethod
    def center(self, bias: Tensor, mean: Tensor) -> None:
        """Write into `bias` `(num_outputs, *shape)` what makes the distribution's mean `mean` `(*shape)`, in place."""

    def check(self, x: Tensor) -> None:
        """Raise a ValueError where `x` `(N, *shape)` has values outside the support."""
        if not torch.isfinite(x).all():
            raise ValueError("x: got NaN or infinite values, expected finite data: clean the data first")

    def bind(self, shape: Sequence[int]) -> None:
        """Make the parameters that depend on the shape of a datum; called once, by the model."""


class Bernoulli(Likelihood):
    """Independent Bernoulli pixels with logits from the decoder.

    Args:
        grey: also score values between 0 and 1. The number is then *not* a likelihood (a Bernoulli density at a grey
            value does not integrate to 1), it is the cross-entropy that many tutorials report; off unless asked for.
    """

    def __init__(self, grey: bool = False) -> None:
        super().__init__()
        self.grey = grey

    def forward(self, outputs: Tensor) -> dist.TorchDistribution:
        logits = outputs.squeeze(-len(self.shape) - 1)
        validate = False if self.grey else None
        return dist.Bernoulli(logits=logits, validate_args=validate).to_event(len(self.shape))

    def bind(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)

    def center(self, bias: Tensor, mean: Tensor) -> None:
        with torch.no_grad():
            bias.copy_(torch.logit(mean.clamp(1e-3, 1 - 1e-3)))

    def check(self, x: Tensor) -> None:
        super().check(x)
        if self.grey:
            if x.min() < 0 or x.max() > 1:
                raise ValueError(f"x: got values in [{x.min():g}, {x.max():g}], expected [0, 1]: rescale the data")
        elif not ((x == 0) | (x == 1)).all():
            raise ValueError(
                f"x: got grey values (range [{x.min():g}, {x.max():g}]) under a Bernoulli likelihood, expected only 0"
                " and 1: binarise the data (binarise='dynamic'), or ask for the cross-entropy of grey pixels by name"
                " with Bernoulli(grey=True)"
            )


class Gaussian(Likelihood):
    """Independent Gaussian pixels, N(output, sigma^2).

    With sigma^2 = 1/2 fixed, minus the ELBO is the squared error plus the KL term plus D/2 log(pi).

    Args:
        sigma: the (initial) standard deviation.
        learn: "none" keeps it fixed; "shared" learns one number; "pixel" one per pixel; "output" lets the decoder give
            one per pixel and datum.
        floor: smallest standard deviation: a free one goes to zero at the optimum (Dai and Wipf, 2019).
    """

    def __init__(self, sigma: float = 1.0, learn: Learn = "none", floor: float = 1e-3) -> None:
        super().__init__()
        if not (sigma > 0 and math.isfinite(sigma)):
            raise ValueError(f"sigma: got {sigma}, expected a positive number")
        if not 0 <= floor < sigma:
            raise ValueError(f"floor: got {floor}, expected 0 <= floor < sigma = {sigma}")
        if learn not in ("none", "shared", "pixel", "output"):
            raise ValueError(f"learn: got {learn!r}, expected 'none', 'shared', 'pixel' or 'output'")
        self.sigma, self.learn, self.floor = sigma, learn, floor
        self.num_outputs = 2 if learn == "output" else 1

    def bind(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        start = torch.tensor(math.log(self.sigma - self.floor))
        if self.learn in ("shared", "pixel"):
            size = self.shape if self.learn == "pixel" else ()
            self.log_sigma = nn.Parameter(start.expand(size).clone())
        else:
            self.register_buffer("log_sigma", start, persistent=False)

    def forward(self, outputs: Tensor) -> dist.TorchDistribution:
        mean, *rest = outputs.unbind(-len(self.shape) - 1)
        log_sigma = self.log_sigma + rest[0] if rest else self.log_sigma
        return dist.Normal(mean, self.floor + log_sigma.exp()).to_event(len(self.shape))

    def center(self, bias: Tensor, mean: Tensor) -> None:
        with torch.no_grad():
            bias[0].copy_(mean)
