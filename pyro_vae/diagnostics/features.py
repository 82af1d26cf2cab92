"""What a classifier sees of latents and their data: latents in the units of the guide, and a few
principal components of the data and of the guide's means.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

_COMPONENTS = 4  # of x, and of the guide's means
_BENDS = 8  # curved functions of them
_TIED = 8  # units up to which products of two are looked at


class Seen(NamedTuple):
    """What a classifier sees of R latents `(R, ...)`: in units of the guide, and of their data."""

    u: Tensor
    about: Tensor

    def features(self, is_network: bool) -> np.ndarray[Any, Any]:
        """Of a network u and the components; of a regression all their products."""
        if is_network:
            return torch.cat([self.u, self.about], 1).numpy()
        dim = self.u.shape[1]
        first, second = (
            torch.triu_indices(dim, dim) if dim <= _TIED else torch.arange(dim).repeat(2, 1)
        )
        products = self.u[:, first] * self.u[:, second] - (first == second).double()
        of_z = torch.cat([self.u, products], 1)
        bends = torch.tanh(self.about @ _turn(self.about.shape[1]))
        with_one = torch.cat([torch.ones_like(self.u[:, :1]), self.about, bends], 1)
        return (of_z[:, :, None] * with_one[:, None]).flatten(1).clamp(-50, 50).numpy()


def _turn(size: int) -> Tensor:
    """Random directions among so many components, always the same, `(size, 8)`."""
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.randn(size, _BENDS, generator=generator, dtype=torch.float64) / size**0.5


class Seeing:
    """From latents and data to what a classifier sees, in the units of the simulations."""

    def __init__(self, draws: Tensor, x: Tensor) -> None:
        self.of_means, self.of_data = _Components(draws.mean(0)), _Components(x)

    def __call__(self, z: Tensor, draws: Tensor, x: Tensor) -> Seen:
        """Of latents `(S, R, d)`, a guide's draws `(L, R, d)` and data `(R, D)`: S R rows, those of
        a draw of all data together.
        """
        mean, sd = draws.mean(0), draws.std(0).clamp(min=1e-12)
        about = torch.cat([self.of_means(mean), self.of_data(x)], 1)
        return Seen(((z - mean) / sd).flatten(0, 1), about.repeat(len(z), 1))


class _Components:
    """The first principal components of some rows `(R, D)`, of variance 1. What is missing is put
    at its mean, and whether it is missing is a value beside the others.
    """

    def __init__(self, rows: Tensor) -> None:
        holes = rows.isnan()
        self.usual = rows.nanmean(0).nan_to_num()
        self.asked = holes.any(0) & ~holes.all(0)
        rows = self._whole(rows)

        self.mean, self.sd = rows.mean(0), rows.std(0).clamp(min=1e-12)
        _, values, axes = torch.linalg.svd((rows - self.mean) / self.sd, full_matrices=False)
        kept = (values > 1e-8 * values[0].clamp(min=1e-12))[:_COMPONENTS]
        scale = values[:_COMPONENTS][kept] / len(rows) ** 0.5
        self.turn = axes[:_COMPONENTS][kept].T / scale

    def __call__(self, rows: Tensor) -> Tensor:
        return ((self._whole(rows) - self.mean) / self.sd) @ self.turn

    def _whole(self, rows: Tensor) -> Tensor:
        holes = rows.isnan()
        return torch.cat([torch.where(holes, self.usual, rows), holes[:, self.asked].to(rows)], 1)
