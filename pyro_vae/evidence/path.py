"""The geometric path from a distribution that can be sampled to the posterior, over all latents of
a program at once.

    log f_beta(z) = (1 - beta) log start(z) + beta log p(x, z),    beta from 0 to 1

The start is the model's prior, so that log f_beta = log p(z) + beta log p(x | z), or a guide, which
is closer to the posterior and needs fewer temperatures: q(z | x)^(1 - beta) p(x, z)^beta. log f_0
is normalised, and f_1 integrates to p(x).

The latents of all sites of a datum are one vector of real numbers, `(K, B, P)` for K chains of B
data, whatever their names, plates and supports (`coordinates.py`), and the densities are those of
this vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_vae.graphs import Guard
from pyro_vae.programs.coordinates import Coordinates
from pyro_vae.programs.memory import Fitting, joined, places, tiles
from pyro_vae.programs.pair import Pair
from pyro_vae.programs.traces import log_joint


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
        rows = taken[..., None]
        return Point(*(torch.where(rows if a.dim() == 3 else taken, a, b) for a, b in pairs))


class Path:
    """The path of a pair's model from its prior or from the pair's guide.

    Args:
        pair: opened; a guide of None stands for the prior.
        guard: who evaluates it; Pyro unless given.

    Raises:
        ValueError: latents that are discrete or of no fixed support, or a guide without a fixed
            density.
    """

    def __init__(self, pair: Pair, guard: Guard | None = None) -> None:
        self.pair = pair
        x, index = pair.x[:2], pair.index[:2]
        if pair.given is not None:
            pair.check_density()
        self.layout = Coordinates.of(pair.model, x, index, pair.depth)
        programs = (pair.model,) if pair.given is None else (pair.model, pair.given)
        self._run: Callable[..., Sequence[Tensor]] = self._evaluate
        self._score: Callable[..., Sequence[Tensor]] = self._both
        if guard is not None:
            self._run = guard(self._evaluate, *programs)
            self._score = guard(self._both, *programs)
        self._fitting = Fitting()  # of all parts

    def take(self, rows: Tensor) -> Path:
        """The same path for the data at these places."""
        part = copy(self)
        part.pair = self.pair.take(rows)
        return part

    @property
    def size(self) -> int:
        """P, latent values of a datum."""
        return self.layout.size

    def draw(self, num_chains: int) -> Tensor:
        """Latents from the start, `(K, B, P)`."""
        return self.layout.vectors(self.pair.sample(num_chains)[0]).detach()

    def place(self, z: Tensor) -> Tensor:
        """Where latents `(K, B, P)` are in the coordinates of the path: they are these."""
        return z

    def at(self, z: Tensor) -> Point:
        """Densities and gradients at latents `(K, B, P)`, all at once where memory holds them."""
        rows = z.shape[0] * z.shape[1]
        return Point(z, *self._fitting(partial(self._in_chunks, self._run, z), rows))

    def _in_chunks(
        self, run: Callable[..., Sequence[Tensor]], z: Tensor, rows: int
    ) -> Sequence[Tensor]:
        """What is evaluated at latents, in chunks of at most so many rows."""
        x, index = self.pair.x, self.pair.index
        held = self._held()
        if rows >= z.shape[0] * len(x):
            return run(z, x, index, *held)

        # a guide that answers for all data, and for no part of them
        least = len(x) if self.pair.is_whole else 1
        chains, data = tiles(z.shape[0], len(x), max(rows, least))
        parts = []
        for k in places(len(z), chains):
            pieces = []
            for d in places(len(x), data):
                part = (one[d] for one in held)
                pieces.append(tuple(run(z[k, d], x[d], index[d], *part)))
            parts.append(pieces)
        return joined(parts)

    def densities(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """log start(z) and log p(x, z), `(K, B)` each, at latents `(K, B, P)`."""
        rows = z.shape[0] * z.shape[1]
        start, joint = self._fitting(partial(self._in_chunks, self._score, z), rows)
        return start, joint

    def _held(self) -> Sequence[Tensor]:
        """What else the densities of these data read, a row for each `(B, ...)`."""
        return ()

    def _both(self, z: Tensor, x: Tensor, index: Tensor, *held: Tensor) -> list[Tensor]:
        return list(self._densities(z, x, index, *held))

    def _densities(
        self, z: Tensor, x: Tensor, index: Tensor, *held: Tensor
    ) -> tuple[Tensor, Tensor]:
        (latents, log_det), depth = self.layout.unpack(z), self.layout.depth
        log_prior, log_likelihood = log_joint(self.pair.model, latents, x, index, depth)
        joint, start = log_prior + log_likelihood, log_prior
        if self.pair.given is not None:
            start = log_joint(self.pair.given, latents, x, index, depth)[0]
        return (start, joint) if log_det is None else (start + log_det, joint + log_det)

    def _evaluate(self, z: Tensor, x: Tensor, index: Tensor, *held: Tensor) -> list[Tensor]:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            start, joint = self._densities(z, x, index, *held)
            gradients = [_gradient(density, z) for density in (start, joint)]
        return [start.detach(), joint.detach(), *gradients]


def _gradient(density: Tensor, z: Tensor) -> Tensor:
    """Of the sum of log-densities with respect to the latents; 0 of a flat one."""
    if not density.requires_grad:
        return torch.zeros_like(z)
    return torch.autograd.grad(density.sum(), z, retain_graph=True)[0]
