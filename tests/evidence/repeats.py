"""One datum many times."""

from __future__ import annotations

from torch import Tensor

from pyro_vae import LinearGaussian
from tests.scenarios import linear_gaussian


def repeated(dim: int, repetitions: int) -> tuple[LinearGaussian, Tensor]:
    """A model, and one datum many times."""
    model, x = linear_gaussian(1, dim, dim + 5)
    return model.requires_grad_(False), x.repeat(repetitions, 1)
