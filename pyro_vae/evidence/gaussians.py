"""A Gaussian for each datum in the coordinates of its latents, and the path that starts there.

    z = m + R u,    u ~ N(0, I),    log N(z; m, R R^T) = log N(u; 0, I) - log |R|

Seen from u, a posterior that the Gaussian resembles is round and has the scale 1 in every
direction. So draws are weighed there, chains move there without a mass matrix, and a better
Gaussian is looked for there (`refining.py`).

With many latents R is diagonal: a root for each datum has P^2 numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_vae.evidence.path import Path
from pyro_vae.graphs import Guard
from pyro_vae.programs.pair import Pair

_DRAWS = 200  # of a guide, by which its mean and its scales are taken


class Gaussians(NamedTuple):
    """N(m, R R^T) of each datum.

    Attributes:
        mean: m `(B, P)`.
        root: R, lower triangular `(B, P, P)`, or the deviations of independent values `(B, P)`.
    """

    mean: Tensor
    root: Tensor

    @classmethod
    def like(cls, pair: Pair) -> Gaussians:
        """With the means and the deviations of the guide's draws, or of the prior's."""
        drawn = Path(pair.under(None)).layout.vectors(pair.sample(_DRAWS)[0])
        return cls(drawn.mean(0), drawn.std(0).clamp(min=1e-6))

    @property
    def is_full(self) -> bool:
        """Whether latents depend on each other."""
        return self.root.dim() == 3

    @property
    def log_volume(self) -> Tensor:
        """log |R| `(B,)`."""
        scales = torch.diagonal(self.root, dim1=-2, dim2=-1) if self.is_full else self.root
        return scales.log().sum(-1)

    def take(self, rows: Tensor) -> Gaussians:
        """Those of the data at these places."""
        return Gaussians(self.mean[rows], self.root[rows])

    def at(self, u: Tensor) -> Tensor:
        """m + R u at `(K, B, P)`."""
        spread = times(self.root, u) if self.is_full else self.root * u
        return self.mean + spread

    def noise(self, number: int) -> Tensor:
        """Draws `(K, B, P)` of u."""
        like = self.mean
        return torch.randn(number, *like.shape, dtype=like.dtype, device=like.device)

    def draw(self, number: int) -> Tensor:
        """Draws `(K, B, P)` of z."""
        return self.at(self.noise(number))

    def within(self, other: Gaussians) -> Gaussians:
        """This one, whose z is another's u, as one of the other's z."""
        if other.is_full:
            root = self.root if self.is_full else torch.diag_embed(self.root)
            return Gaussians(other.at(self.mean[None])[0], other.root @ root)
        scale = other.root[..., None] if self.is_full else other.root
        return Gaussians(other.at(self.mean), scale * self.root)


class Collected:
    """Gaussians of some of N data, as they are found."""

    def __init__(self, num_data: int) -> None:
        self._parts: list[Gaussians] = []
        self._at = torch.full((num_data,), -1)  # in all of them together

    def add(self, rows: Tensor, part: Gaussians) -> None:
        """Those of the data at these places."""
        count = sum(len(one.mean) for one in self._parts)
        self._at[rows] = count + torch.arange(len(rows))
        self._parts.append(part)

    def has(self, rows: Tensor) -> Tensor:
        """Which of the data have one."""
        return self._at[rows] >= 0

    def of(self, rows: Tensor) -> Gaussians:
        """Those of the data at these places, which have one."""
        whole = Gaussians(*map(torch.cat, zip(*self._parts, strict=True)))
        return whole.take(self._at[rows].to(whole.mean.device))


class Around(Path):
    """The path from a Gaussian to the posterior of each datum, in the coordinates u.

    Args:
        pair: opened; its guide has no part in it.
        shape: the Gaussians of its data.
        guard: who evaluates it; Pyro unless given.
    """

    def __init__(self, pair: Pair, shape: Gaussians, guard: Guard | None = None) -> None:
        super().__init__(pair.under(None), guard)
        self.shape = shape

    def take(self, rows: Tensor) -> Around:
        part = super().take(rows)
        assert isinstance(part, Around)
        part.shape = self.shape.take(rows)
        return part

    def place(self, z: Tensor) -> Tensor:
        """The u of latents z `(K, N, P)` of all data."""
        away, root = z - self.shape.mean, self.shape.root
        if not self.shape.is_full:
            return away / root
        return torch.linalg.solve_triangular(root, away[..., None], upper=False)[..., 0]

    def draw(self, num_chains: int) -> Tensor:
        return self.shape.noise(num_chains)

    def _held(self) -> Sequence[Tensor]:
        return self.shape

    def _densities(
        self, z: Tensor, x: Tensor, index: Tensor, *held: Tensor
    ) -> tuple[Tensor, Tensor]:
        shape = Gaussians(*held)
        _, joint = super()._densities(shape.at(z), x, index)
        return standard_normal(z), joint + shape.log_volume


def times(root: Tensor, u: Tensor) -> Tensor:
    """R u of each datum, of roots `(B, P, P)` and vectors `(K, B, P)`."""
    return torch.bmm(u.transpose(0, 1), root.transpose(1, 2)).transpose(0, 1)


def standard_normal(u: Tensor, scale: float = 1.0) -> Tensor:
    """log N(u; 0, scale^2 I) `(K, B)` at `(K, B, P)`."""
    constant = u.shape[-1] * (math.log(2 * math.pi) / 2 + math.log(scale))
    return -(u / scale).square().sum(-1) / 2 - constant
