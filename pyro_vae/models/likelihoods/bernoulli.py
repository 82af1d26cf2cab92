"""Binary pixels."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_vae.arguments import (
    check_flag,
)
from pyro_vae.models.likelihoods.likelihood import Likelihood, there

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
        x = there(x)

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
