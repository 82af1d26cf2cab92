"""What every likelihood is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import pyro.distributions as dist
from torch import Tensor, nn

from pyro_vae.arguments import check_no_infinity
from pyro_vae.data import Binarise


def there(x: Tensor) -> Tensor:
    """The values that are there, all of `x` or, where some are missing (NaN), the others in a row.

    Raises:
        ValueError: infinity.
    """
    check_no_infinity("x", x)
    missing = x.isnan()
    return x[~missing] if missing.any() else x


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each value of data `(N, *shape)`, `(*shape)` in float64; of those that
    are there.
    """
    wide = x.detach().double()
    if not wide.isnan().any():
        return wide.mean(0), wide.var(0, correction=0)
    mean = wide.nanmean(0).nan_to_num()
    return mean, (wide - mean).square().nanmean(0).nan_to_num()


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
        """Raise a ValueError where `x` `(N, *shape)` has values outside the support. NaN is a
        missing one.
        """
        check_no_infinity("x", x)

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
