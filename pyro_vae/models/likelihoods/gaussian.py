"""Real values, in whatever units.

References:
    Dai, Wipf (2019). Diagnosing and enhancing VAE models. arXiv:1903.05789.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.arguments import (
    check_choice,
    check_number,
    check_positive,
)
from pyro_vae.models.likelihoods.likelihood import Likelihood
from pyro_vae.nets import Standardise

Learn = Literal["none", "shared", "pixel", "output"]


class Gaussian(Likelihood):
    """Independent Gaussian pixels, N(shift + scale * output, sigma^2),
    sigma = scale * (floor + exp(log_sigma)).

    Shift and scale are the mean and the standard deviation of the training data (`start`, which
    `fit` calls; 0 and 1 until then). So the decoder's outputs and sigma are of the order of 1
    whatever the units of the data, and sigma is learned from the scale of the data about their mean
    on. (A sigma that starts far above the residuals switches the latent units off before the
    decoder has learned to use them.) The density is in the units of the data all the same, and a
    fixed sigma too: with sigma^2 = 1/2, minus the ELBO is the squared error plus the KL term plus
    D/2 log(pi).

    Args:
        sigma: the (initial) standard deviation in the units of the data; None is the data's own
            scale.
        learn: "shared" learns one number; "pixel" one per pixel, in units of each pixel's own
            standard deviation; "output" lets the decoder give one per pixel and datum; "none" keeps
            it fixed.
        floor: smallest standard deviation, as a share of the scale; without one, sigma goes to zero
            at the optimum (Dai, Wipf, 2019).
    """

    def __init__(
        self, sigma: float | None = None, learn: Learn = "shared", floor: float = 1e-3
    ) -> None:
        super().__init__()
        if sigma is not None:
            check_positive("sigma", sigma)
        check_number("floor", floor, least=0, below=sigma or 1.0)
        check_choice("learn", learn, Learn)
        if learn == "none" and sigma is None:
            raise ValueError(
                "sigma: got None with learn='none', expected a number to keep, or another learn"
            )

        self.sigma, self.learn, self.floor = sigma, learn, floor
        self.rules, self.discrete_under = ("dequantise", "none"), ("dequantise",)
        self.num_outputs = 2 if learn == "output" else 1
        self.units = Standardise(each=learn == "pixel")

    def bind(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        if self.learn in ("shared", "pixel"):
            shape = self.shape if self.learn == "pixel" else ()
            self.log_sigma = nn.Parameter(self._log_sigma(torch.ones(())).expand(shape).clone())

    def forward(self, outputs: Tensor) -> dist.TorchDistribution:
        mean, *rest = outputs.unbind(-len(self.shape) - 1)
        sigma = self.standard_deviation(rest[0] if rest else 0.0)
        return dist.Normal(self.units.undo(mean), sigma).to_event(len(self.shape))

    def standard_deviation(self, offset: Tensor | float = 0.0) -> Tensor | float:
        """sigma in the units of the data; `offset` is added to its logarithm."""
        if self.learn == "none":
            assert self.sigma is not None
            return self.sigma
        output = self.learn == "output"  # follows the scale, which is saved with the weights
        log_sigma = self._log_sigma(self.units.scale) if output else self.log_sigma
        return self.units.scale * (self.floor + (log_sigma + offset).exp())

    def center(self, bias: Tensor, mean: Tensor) -> None:
        with torch.no_grad():
            bias[0].copy_(self.units(mean).reshape(self.shape))
            bias[1:].zero_()  # the offsets of log sigma, where the decoder gives them

    def start(self, x: Tensor) -> bool:
        """Take shift and scale from training data `(N, *shape)`, before anything is trained."""
        self.units.start(x)
        if self.learn in ("shared", "pixel"):
            with torch.no_grad():
                self.log_sigma.copy_(self._log_sigma(self.units.scale))
        return self.units.is_started

    def describe(self) -> str:
        """What it is, in a few words."""
        learned = {
            "shared": "one sigma",
            "pixel": "a sigma for each value",
            "output": "sigma by the decoder",
        }

        if self.learn in learned:
            return f"Gaussian, {learned[self.learn]} learned"
        return f"Gaussian, sigma {self.sigma:g}"

    def _log_sigma(self, scale: Tensor) -> Tensor:
        """log_sigma at the start for data of this scale; a sigma far below the scale starts at the
        floor.
        """
        relative = torch.ones_like(scale) if self.sigma is None else self.sigma / scale
        return (relative - self.floor).clamp(min=max(self.floor, 1e-12)).log()
