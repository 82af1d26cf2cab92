"""What the likelihoods of counts share: their data, and the mean exp(output)."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_vae.models.likelihoods.likelihood import there

_HIGHEST = 20.0  # of the logarithm of a mean
_RAREST = 1e-3  # mean of a column in which nothing was counted


def log_mean(output: Tensor) -> Tensor:
    """The logarithm of the mean, at most 20."""
    return output.clamp(max=_HIGHEST)


def center_log(bias: Tensor, mean: Tensor) -> None:
    """Put the logarithm of a mean into a bias."""
    with torch.no_grad():
        bias.copy_(mean.clamp(min=_RAREST).log())


def check_counts(x: Tensor, likelihood: str) -> None:
    """Raise a ValueError where `x` has values that are no counts."""
    x = there(x)
    wrong = (x != x.round()) | (x < 0)
    if wrong.any():
        raise ValueError(
            f"x: got {x[wrong][0]:g} under a {likelihood} likelihood, expected counts, whole"
            " numbers >= 0, as floats and not scaled (values='real', binarise='none')"
        )
