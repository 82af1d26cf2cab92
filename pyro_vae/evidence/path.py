"""The geometric path from a distribution that can be sampled to the posterior, over all latents of
a program at once.

    log f_beta(z) = (1 - beta) log start(z) + beta log p(x, z),    beta from 0 to 1

The start is the model's prior, so that log f_beta = log p(z) + beta log p(x | z), or a guide, which
is closer to the posterior and needs fewer temperatures: q(z | x)^(1 - beta) p(x, z)^beta. log f_0
is normalised, and f_1 integrates to p(x).

The latents of all sites of a datum lie in one vector, `(K, B, P)` for K chains of B data, whatever
their names and plates.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_vae.graphs import CaptureError, Compiled
from pyro_vae.programs.inputs import check_density
from pyro_vae.programs.traces import (
    Program,
    constrained,
    log_joint,
    plate_depth,
    prior,
    sample_guide,
)


class Point(NamedTuple):
    """Latents `(K, B, P)`, both log-densities there `(K, B)`, and their gradients `(K, B, P)`."""

    z: Tensor
    log_start: Tensor
    log_joint: Tensor
    grad_start: Tensor
    grad_joint: Tensor

    def log_density(self, beta: float) -> Tensor:
        """log f_beta, `(K, B)`."""
        return (1 - beta) * self.log_start + beta * self.log_joint

    def gradient(self, beta: float) -> Tensor:
        """Its gradient `(K, B, P)`."""
        return (1 - beta) * self.grad_start + beta * self.grad_joint

    def where(self, taken: Tensor, other: Point) -> Point:
        """The other point where `taken` `(K, B)`, this one elsewhere."""
        pairs = zip(other, self, strict=True)
        return Point(
            *(torch.where(taken[..., None] if a.dim() == 3 else taken, a, b) for a, b in pairs)
        )


@dataclass(frozen=True)
class Layout:
    """How the sites' values `(S, *middle, B, *event)` lie in vectors `(S, B, P)`.

    Attributes:
        depth: dimensions of the plates, the data's last.
        shapes: by site name, `(*middle, *event)`.
    """

    depth: int
    shapes: dict[str, tuple[int, ...]]

    @property
    def sizes(self) -> list[int]:
        """Values of each site of a datum."""
        return [math.prod(shape) for shape in self.shapes.values()]

    def pack(self, latents: dict[str, Tensor]) -> Tensor:
        """Vectors `(S, B, P)`."""
        return torch.cat(
            [latents[name].movedim(self.depth, 1)[..., None].flatten(2) for name in self.shapes], -1
        )

    def pack_one(self, latents: dict[str, Tensor]) -> Tensor:
        """Vectors `(1, N, P)` of values `(*middle, N, *event)` from a run without particles, as
        `simulate` makes them.
        """
        # the data's dimension is the last but for the event's, len(shape) - (depth - 1) of them
        parts = [
            latents[name].movedim(self.depth - len(shape) - 2, 0)[..., None].flatten(1)
            for name, shape in self.shapes.items()
        ]
        return torch.cat(parts, -1)[None]

    def unpack(self, z: Tensor) -> dict[str, Tensor]:
        """Values by site name."""
        parts = zip(self.shapes.items(), z.split(self.sizes, -1), strict=True)
        return {
            name: part.reshape(*z.shape[:2], *shape).movedim(1, self.depth)
            for (name, shape), part in parts
        }


class Path:
    """The path of a model from its prior or from a guide, evaluated by Pyro or as a compiled graph.

    Args:
        model: Pyro program whose latents are all real-valued.
        start: a guide, or None for the model's prior.
        x: data `(N, *shape)`, of which the first are looked at for the sites' shapes.
        index: rows of the dataset `(N,)`.
        compiled: evaluate a captured and compiled graph.
        fallback: where that cannot be, warn and go on without; else a ValueError.

    Raises:
        ValueError: latents that are discrete or constrained, or a guide without a fixed density.
    """

    def __init__(
        self,
        model: Program,
        start: Program | None,
        x: Tensor,
        index: Tensor,
        compiled: bool = False,
        fallback: bool = True,
    ) -> None:
        self.model, self.start, self.fallback = model, start, fallback
        depth = plate_depth(model, start or prior(model), x, index)
        bounded = constrained(model, x[:2], index[:2])
        if bounded:
            raise ValueError(
                f"model: its latents {bounded} are not real-valued, expected all of them on the"
                " whole line: transform them in the model, or use method='importance'"
            )
        if start is not None:
            check_density(start, x, index)
        latents, _ = sample_guide(prior(model), x[:2], index[:2], 1, depth)
        shapes = {name: tuple(value.movedim(depth, 1).shape[2:]) for name, value in latents.items()}
        self.layout = Layout(depth, shapes)
        self._compiled = (
            Compiled(self._evaluate, *filter(None, (model, start))) if compiled else None
        )

    @property
    def size(self) -> int:
        """P, latent values of a datum."""
        return sum(self.layout.sizes)

    def draw(self, x: Tensor, index: Tensor, num_chains: int) -> Tensor:
        """Latents from the start, `(K, B, P)`."""
        latents, _ = sample_guide(
            self.start or prior(self.model), x, index, num_chains, self.layout.depth
        )
        return self.layout.pack(latents).detach()

    def at(self, z: Tensor, x: Tensor, index: Tensor) -> Point:
        """Densities and gradients at latents `(K, B, P)`."""
        if self._compiled is not None:
            try:
                return Point(z, *self._compiled(z, x, index))
            except CaptureError as error:
                if not self.fallback:
                    raise ValueError(
                        f"model, guide: cannot be compiled: {error}; use engine='pyro' or 'auto'"
                    ) from error
                warnings.warn(
                    f"the programs are not compiled, Pyro runs them: {error}", stacklevel=4
                )
                self._compiled = None
        return Point(z, *self._evaluate(z, x, index))

    def densities(self, z: Tensor, x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """log start(z) and log p(x, z), `(K, B)` each, at latents `(K, B, P)`."""
        latents, depth = self.layout.unpack(z), self.layout.depth
        log_prior, log_likelihood = log_joint(self.model, latents, x, index, depth)
        joint = log_prior + log_likelihood
        return log_prior if self.start is None else log_joint(self.start, latents, x, index, depth)[
            0
        ], joint

    def _evaluate(self, z: Tensor, x: Tensor, index: Tensor) -> list[Tensor]:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            start, joint = self.densities(z, x, index)
            gradients = [_gradient(density, z) for density in (start, joint)]
        return [start.detach(), joint.detach(), *gradients]


def _gradient(density: Tensor, z: Tensor) -> Tensor:
    """Of the sum of log-densities with respect to the latents; 0 of a flat one."""
    if not density.requires_grad:
        return torch.zeros_like(z)
    return torch.autograd.grad(density.sum(), z, retain_graph=True)[0]
