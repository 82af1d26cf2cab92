"""What a decoder's output means: a map from its `(..., num_outputs, *shape)` to a distribution over
one datum.

A likelihood's own parameters (a learned sigma) are parameters of the model it is part of:

    num_outputs   how many values it needs for each pixel
    rules         by which rules pixels become data for it
    check         refuses data that it cannot score
    center        puts the training mean into the decoder's output bias
    start         takes the data's scale

With `center` and `start`, training begins at the best constant model. `likelihood_for` chooses a
likelihood for a set.

References:
    Dai, Wipf (2019). Diagnosing and enhancing VAE models. arXiv:1903.05789.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.arguments import (
    check_choice,
    check_finite,
    check_flag,
    check_kind,
    check_number,
    check_positive,
)
from pyro_vae.data import Binarise, Dataset
from pyro_vae.nets import Standardise

Learn = Literal["none", "shared", "pixel", "output"]


class Likelihood(nn.Module, ABC):
    """p(x | outputs): subclasses say how many outputs a pixel needs and what they parameterise.

    Attributes:
        num_outputs: values of the decoder for each pixel.
        rules: the rules (`pyro_vae.data.binarise`) that turn pixels into data for it, the usual
            one first; empty where any rule will do.
        discrete_under: those rules under which log p(x) is the log-probability of discrete values,
            or a lower bound of it, and so can be told in bits.
    """

    num_outputs: int = 1
    rules: tuple[Binarise, ...] = ()
    discrete_under: tuple[Binarise, ...] = ()

    @abstractmethod
    def forward(self, outputs: Tensor) -> dist.TorchDistribution:
        """Distribution with event shape `shape` from outputs `(..., num_outputs, *shape)`."""

    @abstractmethod
    def center(self, bias: Tensor, mean: Tensor) -> None:
        """Set `bias` `(num_outputs, *shape)` in place, so that the distribution has the mean `mean`
        `(*shape)`.
        """

    def check(self, x: Tensor) -> None:
        """Raise a ValueError where `x` `(N, *shape)` has values outside the support."""
        check_finite("x", x)

    def bind(self, shape: Sequence[int]) -> None:
        """Make the parameters that depend on the shape of a datum; called once, by the model."""

    def start(self, x: Tensor) -> bool:
        """Take the scale of training data `(N, *shape)`, before anything is trained; whether that
        changed something.
        """
        return False

    def describe(self) -> str:
        """What it is, in a few words."""
        return type(self).__name__

    @property
    def caveat(self) -> str:
        """What must stand beside every figure of log p(x), such as that it is a cross-entropy.

        It is empty for a distribution.
        """
        return ""


GREY = (
    "a Bernoulli of grey pixels does not integrate to 1: these figures are cross-entropies, not log"
    " p(x), and compare with no likelihood"
)


class Bernoulli(Likelihood):
    """Independent Bernoulli pixels with logits from the decoder.

    Args:
        grey: also score values between 0 and 1. The number is then *not* a likelihood (a Bernoulli
            density at a grey value does not integrate to 1), it is the cross-entropy that many
            tutorials report; off unless asked for.
    """

    def __init__(self, grey: bool = False) -> None:
        super().__init__()
        check_flag("grey", grey)
        self.grey = grey

        self.rules = ("none",) if grey else ("dynamic", "static", "threshold", "none")
        self.discrete_under = () if grey else self.rules

    @property
    def caveat(self) -> str:
        """That the figures are no log p(x), where grey pixels are scored."""
        return GREY if self.grey else ""

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
                raise ValueError(
                    f"x: got values in [{x.min():g}, {x.max():g}],"
                    " expected [0, 1]: rescale the data"
                )
        elif not ((x == 0) | (x == 1)).all():
            raise ValueError(
                f"x: got grey values (range [{x.min():g}, {x.max():g}]) under a Bernoulli"
                " likelihood, expected only 0 and 1: binarise the data (binarise='dynamic'), or ask"
                " for the cross-entropy of grey pixels by name with Bernoulli(grey=True)"
            )


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
        if self.learn == "none":
            return

        start = self._log_sigma(torch.ones(()))
        if self.learn == "output":
            self.register_buffer("log_sigma", start, persistent=False)
        else:
            shape = self.shape if self.learn == "pixel" else ()
            self.log_sigma = nn.Parameter(start.expand(shape).clone())

    def forward(self, outputs: Tensor) -> dist.TorchDistribution:
        mean, *rest = outputs.unbind(-len(self.shape) - 1)
        sigma = self.standard_deviation(rest[0] if rest else 0.0)
        return dist.Normal(self.units.undo(mean), sigma).to_event(len(self.shape))

    def standard_deviation(self, offset: Tensor | float = 0.0) -> Tensor | float:
        """sigma in the units of the data; `offset` is added to its logarithm."""
        if self.learn == "none":
            assert self.sigma is not None
            return self.sigma
        return self.units.scale * (self.floor + (self.log_sigma + offset).exp())

    def center(self, bias: Tensor, mean: Tensor) -> None:
        with torch.no_grad():
            bias[0].copy_(self.units(mean).reshape(self.shape))
            bias[1:].zero_()  # the offsets of log sigma, where the decoder gives them

    def start(self, x: Tensor) -> bool:
        """Take shift and scale from training data `(N, *shape)`, before anything is trained."""
        self.units.start(x)
        if self.learn != "none":
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


def chosen(likelihood: Likelihood | None) -> Likelihood:
    """The likelihood of a model, `Bernoulli()` unless given."""
    if likelihood is None:
        return Bernoulli()
    check_kind("likelihood", likelihood, Likelihood, "a likelihood such as pyro_vae.Gaussian()")
    return likelihood


def start_likelihood(model: Any, x: Tensor) -> None:
    """Let a model's likelihood take the scale of training data `(N, *shape)`, and its decoder begin
    at their mean.
    """
    if model.likelihood.start(x) and isinstance(getattr(model.decoder, "bias", None), Tensor):
        model.center(x.mean(0))


def likelihood_for(data: Dataset) -> Likelihood:
    """The likelihood that goes with a set: Bernoulli for binary data, else Gaussian, with one
    learned sigma for images and one for each column of a table.

    Example:
        >>> from pyro_vae import load
        >>> likelihood_for(load("digits")).describe()
        'Bernoulli'
    """
    check_kind("data", data, Dataset, "a Dataset, as pyro_vae.load makes one")
    if data.is_binary:
        return Bernoulli()
    return Gaussian(learn="pixel" if len(data.shape) == 1 else "shared")
