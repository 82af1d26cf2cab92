"""A step of Adam as a function, for what climbs inside an estimate: rows of a table, a guide's own
steps, scouts.

    m <- b1 m + (1 - b1) g,    v <- b2 v + (1 - b2) g^2
    step = (m / (1 - b1^t)) / sqrt(v / (1 - b2^t) + floor)

References:
    Kingma, Ba (2015). Adam: a method for stochastic optimization. arXiv:1412.6980.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BETAS = (0.9, 0.99)


class Moments(NamedTuple):
    """Running means of a gradient and of its square, of the gradient's shape."""

    first: Tensor
    second: Tensor

    @classmethod
    def of(cls, values: Tensor) -> Moments:
        """Moments before the first step of what has this shape."""
        return cls(torch.zeros_like(values), torch.zeros_like(values))


def adam(
    gradient: Tensor, moments: Moments, count: int | Tensor, floor: float = 1e-16
) -> tuple[Tensor, Moments]:
    """The direction of a step, about 1 in each coordinate, and the moments after it.

    Args:
        gradient: of what is climbed.
        moments: so far.
        count: t, the number of this step, 1 for the first; a tensor that broadcasts, where rows
            have numbers of their own.
        floor: of the mean square, so that a gradient of 0 makes no step; 1e-12 where the step
            itself is differentiated.
    """
    first = moments.first.lerp(gradient, 1 - BETAS[0])
    second = moments.second.lerp(gradient.square(), 1 - BETAS[1])
    size = (second / (1 - BETAS[1] ** count) + floor).sqrt()
    return first / (1 - BETAS[0] ** count) / size, Moments(first, second)
