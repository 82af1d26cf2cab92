"""Categories, by their codes 0, 1, ..., K - 1.

References:
    Kingma, Welling (2014). Auto-encoding variational Bayes. arXiv:1312.6114.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_vae.arguments import check_integer
from pyro_vae.models.likelihoods.likelihood import Likelihood, there

MOST_CLASSES = 2**16
_MANY = 1 / 2  # added to each count of a category


class Codes(dist.TorchDistribution):
    """A category of each logits `(*batch, K)`, as a float code 0, 1, ..., K - 1.

    Codes have no mean; `mean` is the most likely code, so that what asks for the centre of p(x | z)
    is given a value that can be read.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.nonnegative
    has_enumerate_support = True
    are_codes = True

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        super().__init__(logits.shape[:-1], validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        log_chances = self.logits.log_softmax(-1)
        code = value.long().unsqueeze(-1)
        lead = torch.broadcast_shapes(code.shape[:-1], log_chances.shape[:-1])
        code, log_chances = code.expand(*lead, 1), log_chances.expand(*lead, -1)
        return log_chances.gather(-1, code).squeeze(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            drawn = torch.distributions.Categorical(logits=self.logits)
            return drawn.sample(torch.Size(sample_shape)).to(self.logits.dtype)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        codes = torch.arange(self.logits.shape[-1], device=self.logits.device)
        values = codes.to(self.logits.dtype).reshape(-1, *[1] * len(self.batch_shape))
        return values.expand(-1, *self.batch_shape) if expand else values

    @property
    def mean(self) -> Tensor:
        return self.logits.argmax(-1).to(self.logits.dtype)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Codes:
        return Codes(self.logits.expand(*batch_shape, self.logits.shape[-1]))


class Categorical(Likelihood):
    """Independent categories, with logits from the decoder.

    Data are codes 0..K-1, as floats. Codes have no order and no mean: where a mean of p(x | z) is
    asked for (`decode`, `reconstruct`), it is the most likely code.

    Args:
        num_classes: K, of every value of a datum.

    Example:
        >>> from pyro_vae import VAE
        >>> VAE((5,), 2, (16,), Categorical(3)).sample(4).shape
        torch.Size([4, 5])
    """

    rules = ("none",)
    discrete_under = ("none",)

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        check_integer("num_classes", num_classes, 2, MOST_CLASSES)
        self.num_classes = self.num_outputs = num_classes
        self.frequencies: Tensor | None = None

    def bind(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)

    def forward(self, outputs: Tensor) -> dist.TorchDistribution:
        logits = outputs.movedim(-len(self.shape) - 1, -1)
        return Codes(logits).to_event(len(self.shape))

    def check(self, x: Tensor) -> None:
        x = there(x)
        if (x != x.round()).any() or x.min() < 0 or x.max() >= self.num_classes:
            wrong = x[(x != x.round()) | (x < 0) | (x >= self.num_classes)][0]
            raise ValueError(
                f"x: got {wrong:g} under a Categorical likelihood, expected codes 0 to"
                f" {self.num_classes - 1}, as floats: number the categories, or give another"
                " num_classes"
            )

    def center(self, bias: Tensor, mean: Tensor) -> None:
        """Begin at the frequencies that `start` has seen, which a mean of codes does not tell;
        without them all codes are equally likely.
        """
        with torch.no_grad():
            if self.frequencies is None:
                bias.zero_()
            else:
                bias.copy_(self.frequencies.log())

    def start(self, x: Tensor) -> bool:
        """Take the frequencies of the codes in data `(N, *shape)`, each with half a count more."""
        counts = [(x == code).sum(0) + _MANY for code in range(self.num_classes)]
        total = torch.stack(counts).to(x)
        self.frequencies = total / total.sum(0)
        return True

    def describe(self) -> str:
        """What it is, in a few words."""
        return f"Categorical of {self.num_classes} classes"
