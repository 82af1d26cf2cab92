"""Grey levels: x = v / (levels - 1) in [0, 1], for v = 0, 1, ..., levels - 1, which the rule "none"
makes of 8-bit pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_vae.arguments import check_integer
from pyro_vae.models.likelihoods.likelihood import there

MOST_LEVELS = 2**16
_OFF = 1e-2  # of a level, far above the rounding of float32


def check_levels(levels: object) -> None:
    """A number of grey levels."""
    check_integer("levels", levels, 2, MOST_LEVELS)


def level_of(x: Tensor, levels: int) -> Tensor:
    """The grey levels v of values, as floats."""
    return torch.round(x * (levels - 1))


def all_levels(levels: int, like: Tensor, num_dims: int) -> Tensor:
    """The values of all grey levels, `(levels, 1, ..., 1)`, of the dtype and device of `like`."""
    line = torch.arange(levels, dtype=like.dtype, device=like.device) / (levels - 1)
    return line.reshape(-1, *[1] * num_dims)


def check_grey(x: Tensor, levels: int) -> None:
    """Raise a ValueError where `x` has values that are no grey levels."""
    x = there(x)
    if x.min() < 0 or x.max() > 1:
        raise ValueError(
            f"x: got values in [{x.min():g}, {x.max():g}], expected grey levels in [0, 1], which"
            " binarise='none' makes of pixels"
        )

    off = (x * (levels - 1) - level_of(x, levels)).abs()
    if off.max() > _OFF:
        between = x[off > _OFF][0]
        raise ValueError(
            f"x: got {between:g}, which is none of the {levels} grey levels v / {levels - 1},"
            " expected pixels under binarise='none', or other `levels`"
        )
