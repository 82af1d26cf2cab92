"""The training datum that each of some data is closest to: did the model copy what it has seen?

The distance is the data's own: the number of values that differ where all values, on both sides,
are 0 or 1, else the Euclidean distance. Blocks of both sides are compared at a time, by one product
of matrices each, so that 64 samples against 50,000 images take a second and little memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import check_finite, check_no_infinity, check_rows
from pyro_vae.latent.centres import told_of
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
        train: training data `(M, *shape)`; of those with missing values (NaN) the others count, as
            much as if all were there.

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
    # squares far from 0 would lose the differences; those of zeros and ones are exact as they are
    middle = 0.0 if binary else x.reshape(len(x), -1).double().mean(0)
    index = torch.cat([_nearest(part, train, middle) for part in x.split(_ROWS)])

    found = train[index]
    difference = (x.double() - found.double()).reshape(len(x), -1)
    # of a datum with missing values, as far as those that are there would have it
    share = 1 - difference.isnan().double().mean(1)
    difference = difference.nan_to_num()
    if binary:
        distance, metric = (difference != 0).sum(1) / share, "values that differ"
    else:
        distance, metric = difference.norm(dim=1) / share.sqrt(), "Euclidean distance"
    return Nearest(x, found, index, distance, metric)


def _nearest(x: Tensor, train: Tensor, middle: Tensor | float) -> Tensor:
    """Rows of `train` `(B,)` at the least squared distance, which of zeros and ones is the number
    of values that differ.
    """
    mine = x.reshape(len(x), -1).double() - middle
    index = torch.zeros(len(x), dtype=torch.int64)
    least = torch.full((len(x),), torch.inf, dtype=torch.float64)
    for number, block in enumerate(train.split(_ROWS)):
        theirs = block.reshape(len(block), -1).double() - middle
        if theirs.isnan().any():
            square = _of_what_is_there(mine, theirs)
        else:
            square = theirs.square().sum(1) - 2 * mine @ theirs.T  # less what is the same for all
        value, row = square.min(1)
        closer = value < least
        index[closer] = row[closer] + number * _ROWS
        least[closer] = value[closer]
    return index


def _of_what_is_there(mine: Tensor, theirs: Tensor) -> Tensor:
    """Squared distances `(B, M)` by the values that are no NaN, as much for each that is as for one
    that is there; less what is the same for all.
    """
    there = (~theirs.isnan()).to(mine)
    filled = theirs.nan_to_num()
    square = mine.square() @ there.T - 2 * mine @ filled.T + filled.square().sum(1)
    square = square * theirs.shape[1] / there.sum(1)  # infinite, or NaN, where nothing is there
    return square.nan_to_num(nan=torch.inf, posinf=torch.inf) - mine.square().sum(1, keepdim=True)


def _is_binary(data: Tensor) -> bool:
    return bool(((data == 0) | (data == 1) | data.isnan()).all())
