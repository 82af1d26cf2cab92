"""The training datum that each of some data is closest to: did the model copy what it has seen?

The distance is the data's own: the number of values that differ where all values, on both sides,
are 0 or 1, else the Euclidean distance. A value that is missing of a training datum counts as one
drawn from that value of the others, by the mean of its squared distance:

    E (x_j - t_j)^2 = (x_j - m_j)^2 + v_j,   m_j, v_j the mean and variance of t_j over these data

so that a datum of which little is known is near to nothing, and no copy of it. Blocks of both sides
are compared at a time, by one product of matrices each, so that 64 samples against 50,000 images
take a second and little memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import check_finite, check_no_infinity, check_rows
from pyro_vae.latent.centres import told_of
from pyro_vae.programs.missing import has_missing
from pyro_vae.results import Result, counted

_ROWS = 2048  # of each side at a time


@dataclass(frozen=True, repr=False)
class Nearest(Result):
    """The nearest training datum of each of some data.

    Attributes:
        x: the data `(N, *shape)`.
        found: their nearest training data `(N, *shape)`.
        index: rows of these in the training data `(N,)`; of zeros and ones the first of several
            that are as near.
        distance: `(N,)`, in the unit of `metric`.
        metric: "values that differ", or "Euclidean distance".
    """

    x: Tensor
    found: Tensor
    index: Tensor
    distance: Tensor
    metric: str

    def headline(self) -> str:
        return f"the nearest training datum of {counted(len(self.x), 'data')}"

    def figures(self) -> Iterator[tuple[str, str]]:
        yield self.metric, told_of(self.distance)
        same = int((self.distance == 0).sum())
        yield "verdict", f"{same} of {len(self.x)} are copies of a training datum"

    def summary(self) -> dict[str, Any]:
        """Mean and least distance, and how many are copies."""
        distance = self.distance
        told = {"num_data": len(distance), "metric": self.metric}
        told |= {"mean": distance.mean().item(), "least": distance.min().item()}
        return told | {"num_copies": int((distance == 0).sum())}

    def columns(self) -> dict[str, Any]:
        """A row for each datum: which is its nearest, and how far that is."""
        number = torch.arange(len(self.x))
        return {"datum": number, "nearest": self.index, "distance": self.distance}


def nearest(x: Tensor, train: Tensor) -> Nearest:
    """Find the nearest training datum of each datum.

    Args:
        x: data `(N, *shape)`, such as `sample(...).x`.
        train: training data `(M, *shape)`; what is missing (NaN) counts by its expectation.

    Raises:
        ValueError: no data, data that are infinite, `x` with missing values, or two shapes.

    Example:
        >>> nearest(torch.tensor([[0.0, 1.0]]), torch.eye(2)).index
        tensor([1])
    """
    for name, data in (("x", x), ("train", train)):
        check_rows(name, data)
        if data.is_complex():
            raise ValueError(f"{name}: got {data.dtype}, expected real numbers")
    if x.is_floating_point():
        check_finite("x", x)
    if train.is_floating_point():
        check_no_infinity("train", train)
    if x.shape[1:] != train.shape[1:]:
        raise ValueError(
            f"train: got data of shape {tuple(train.shape[1:])}, expected"
            f" {tuple(x.shape[1:])}, that of x"
        )

    x, train = x.detach().cpu(), train.detach().cpu()
    binary = _is_binary(x) and _is_binary(train)
    flat, known = x.reshape(len(x), -1).double(), train.reshape(len(train), -1)
    # squares far from 0 would lose the differences; those of zeros and ones are exact as they are
    middle = torch.zeros(()) if binary else flat.mean(0)
    moments = _moments(known) if has_missing(train) else None
    index = torch.cat([_nearest(part, known, middle, moments) for part in flat.split(_ROWS)])

    filled, more = _filled(known[index], moments)
    square = (flat - filled).square().sum(1) + more
    if binary:
        return Nearest(x, train[index], index, square, "values that differ")
    return Nearest(x, train[index], index, square.sqrt(), "Euclidean distance")


def _moments(train: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each value of training data `(M, D)` over those that have it, float64
    `(D,)`; 0 and infinity where none has.
    """
    there = ~train.isnan()
    number = there.sum(0).double()
    mean = train.nansum(0, dtype=torch.float64) / number
    square = sum((part.double() - mean).square().nan_to_num().sum(0) for part in train.split(_ROWS))
    return mean.nan_to_num(), torch.where(number > 0, square / number, torch.inf)


def _filled(train: Tensor, moments: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    """Training data `(M, D)` as float64 with the mean of what is missing, and what this adds to
    their squared distances, `(M,)`.
    """
    if moments is None:
        return train.double(), torch.zeros(len(train), dtype=torch.float64)
    mean, variance = moments
    filled = torch.where(train.isnan(), mean, train.double())
    return filled, torch.where(train.isnan(), variance, 0.0).sum(1)


def _nearest(
    mine: Tensor, train: Tensor, middle: Tensor, moments: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Rows of `train` `(B,)` at the least squared distance, which of zeros and ones is the number
    of values that differ; data and training data `(B, D)` and `(M, D)`.
    """
    mine = mine - middle
    index = torch.zeros(len(mine), dtype=torch.int64)
    least = torch.full((len(mine),), torch.inf, dtype=torch.float64)
    for number, block in enumerate(train.split(_ROWS)):
        theirs, more = _filled(block, moments)
        theirs = theirs - middle
        # less what is the same for all
        square = theirs.square().sum(1) + more - 2 * mine @ theirs.T
        value, row = square.min(1)
        closer = value < least
        index[closer] = row[closer] + number * _ROWS
        least[closer] = value[closer]
    return index


def _is_binary(data: Tensor) -> bool:
    return bool(((data == 0) | (data == 1) | data.isnan()).all())
