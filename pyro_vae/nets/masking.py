"""An encoder that sees which values are missing.

What is missing comes to an encoder as its mean, which no net can tell from a value that happens to
be the mean. One that is given the mask can answer with the wider q that few values deserve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_sizes
from pyro_vae.nets.dense import MLP
from pyro_vae.nets.making import made


class WithMask(nn.Module):
    """A trunk over the values of a datum and, beside them, 1 for each that is there and 0 for each
    that is missing: `(..., *shape)` twice, to `(..., out_features)`.

    Args:
        shape: shape of one datum, or its number of values.
        hidden: hidden units of the trunk.
        encoder: class of the trunk, called as `encoder(shape, hidden)` with twice the channels of
            an image, or twice the values of a row.

    Example:
        >>> net = WithMask((1, 8, 8), (32,))
        >>> net(torch.zeros(5, 1, 8, 8), torch.ones(5, 1, 8, 8)).shape
        torch.Size([5, 32])
    """

    sees_mask = True

    def __init__(
        self,
        shape: int | Sequence[int],
        hidden: Sequence[int] = (200, 200),
        encoder: Callable[..., nn.Module] = MLP,
    ) -> None:
        super().__init__()
        self.shape = check_sizes("shape", shape)
        first, *rest = self.shape or (1,)
        self.trunk = made("encoder", encoder, (2 * first, *rest), check_sizes("hidden", hidden))
        self.out_features = self.trunk.out_features

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        if not self.shape:  # a datum is one value
            return self.trunk(torch.stack([x, there], -1))
        return self.trunk(torch.cat([x, there], -len(self.shape)))


def encoded(encoder: nn.Module, units: nn.Module, x: Tensor) -> Tensor:
    """Features of data `(..., *shape)` in their units, NaN where a value is missing: with the mask
    where the encoder sees it.
    """
    y = units(x)
    if getattr(encoder, "sees_mask", False):
        return encoder(y, (~x.isnan()).to(y))
    return encoder(y)
