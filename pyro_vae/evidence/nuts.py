"""The no-U-turn sampler for all chains of all data at once, each datum in trees of its own.

The posterior of data that are independent given the model is a product, so that a chain of each
datum needs the step size, the scales and the depth that this datum asks for, and not those of the
most difficult one. All lanes (chains of data) take one leapfrog step with each evaluation of the
model, a batch of lanes (`trees.py`); a lane whose tree is done begins the next one at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_vae.evidence.trees import Point, Tree, grown, planted
from pyro_vae.evidence.warmup import Warmup
from pyro_vae.graphs import CaptureError, Compiled, Guard
from pyro_vae.programs.coordinates import Coordinates
from pyro_vae.programs.pair import Pair
from pyro_vae.programs.traces import log_joint
from pyro_vae.progress import Progress, tell

_TRIES = 100  # draws of the prior for a start


class Sizes(NamedTuple):
    """Chains of each datum, draws kept of each, transitions before them."""

    num_chains: int
    num_samples: int
    num_warmup: int

    @property
    def num_transitions(self) -> int:
        """Of each chain."""
        return self.num_warmup + self.num_samples


class Draws(NamedTuple):
    """Latents of a datum as vectors, `(C, S, N, P)`, and transitions that have diverged."""

    z: Tensor
    num_divergent: int


class Lanes:
    """log p(x, z) of all chains of the data of a pair, a row for each.

    Args:
        pair: opened; its guide is not looked at.
        layout: of the model's latents.
        num_chains: C of each datum.
        guard: who evaluates the model.
    """

    def __init__(self, pair: Pair, layout: Coordinates, num_chains: int, guard: Guard) -> None:
        self.pair, self.layout, self.num_chains = pair, layout, num_chains
        self._run = guard(self._evaluate, pair.model)

    def at(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x, z) `(L,)`, as a density of the vectors, and its gradient `(L, P)`, at latents
        `(L, P)`.
        """
        lanes = z.unflatten(0, (self.num_chains, len(self.pair)))
        value, gradient = self._run(lanes, self.pair.x, self.pair.index)
        return value.flatten(), gradient.flatten(0, 1)

    def start(self) -> Point:
        """Draws of the prior where density and gradient are finite.

        Raises:
            ValueError: there are none, for some datum.
        """
        found = self.drawn()
        for _ in range(_TRIES):
            lost = ~(found.log_joint.isfinite() & found.gradient.isfinite().all(-1))
            if not lost.any():
                return found
            found = found.where(lost, self.drawn())
        raise ValueError(
            "model: NUTS cannot sample its posterior: log p(x, z) or its gradient is not finite at"
            f" {_TRIES} draws of its prior"
        )

    def drawn(self) -> Point:
        """Draws of the prior, whatever log p(x, z) is there."""
        z = self.layout.vectors(self.pair.sample(self.num_chains)[0]).detach().flatten(0, 1)
        value, gradient = self.at(z)
        return Point(z, gradient, value)

    def _evaluate(self, z: Tensor, x: Tensor, index: Tensor) -> list[Tensor]:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            (latents, log_det), depth = self.layout.unpack(z), self.layout.depth
            log_prior, log_likelihood = log_joint(self.pair.model, latents, x, index, depth)
            value = log_prior + log_likelihood
            value = value if log_det is None else value + log_det
            return [value.detach(), torch.autograd.grad(value.sum(), z)[0]]


def nuts(
    pair: Pair, layout: Coordinates, sizes: Sizes, guard: Guard, progress: Progress | None = None
) -> Draws:
    """Draw from the posterior of each datum of a pair, in chains that start from the prior.

    Args:
        pair: opened; its guide is not looked at.
        layout: of the model's latents.
        sizes: of the chains.
        guard: who evaluates the model.
        progress: is told the share of the transitions that are done.

    Raises:
        ValueError: a datum without a start.
    """
    lanes, grow = Lanes(pair, layout, sizes.num_chains, guard), _growing(guard)
    point = lanes.start()
    warmup = Warmup(point.z, sizes.num_warmup)
    tree = planted(point, warmup.step, warmup.scale)
    draws, divergent = point.z.new_empty(sizes.num_samples, *point.z.shape), 0

    while True:
        noise = torch.rand(3, len(tree.z), dtype=tree.z.dtype, device=tree.z.device)
        tree, over, diverged = grow(tree, *lanes.at(tree.z), noise)
        rows = over.nonzero()[:, 0]
        if not len(rows):
            continue

        number = warmup.done[rows] - sizes.num_warmup
        kept = (number >= 0) & (number < sizes.num_samples)
        draws[number[kept], rows[kept]] = tree.best.z[rows[kept]]
        divergent += int((diverged[rows] & kept).sum())

        tree = _replanted(tree, rows, warmup)
        share = (warmup.done / sizes.num_transitions).clamp(max=1)
        tell(progress, share.mean().item())
        if (share == 1).all():
            break

    found = draws.unflatten(1, (sizes.num_chains, len(pair))).movedim(1, 0)
    return Draws(found, divergent)


def _replanted(tree: Tree, rows: Tensor, warmup: Warmup) -> Tree:
    """New trees in the lanes whose trees are done, at the points that were taken."""
    start = Point(*(part[rows] for part in tree.best))
    warmup.learn(rows, start.z, tree.chance[rows] / tree.leaves[rows])
    fresh = planted(start, warmup.step[rows], warmup.scale[rows])
    parts = zip(_flat(tree), _flat(fresh), strict=True)
    return _tree([_put(old, rows, new) for old, new in parts])


def _put(old: Tensor, rows: Tensor, new: Tensor) -> Tensor:
    """A copy with these rows in the dimension of the lanes, the first but for the trees' ends."""
    return old.index_copy(1 if old.dim() == 4 else 0, rows, new)


def _growing(guard: Guard) -> Callable[..., tuple[Tree, Tensor, Tensor]]:
    """`grown`, by a graph of its own where graphs run."""
    compiled = Compiled(_grown_flat)

    def grow(tree: Tree, *args: Tensor) -> tuple[Tree, Tensor, Tensor]:
        if not guard.on:
            return grown(tree, *args)
        try:
            *parts, over, diverged = compiled.plain(*_flat(tree), *args)
        except CaptureError as error:
            guard.give_up(error)
            return grown(tree, *args)
        return _tree(parts), over, diverged

    return grow


def _grown_flat(*parts: Tensor) -> list[Tensor]:
    tree, over, diverged = grown(_tree(parts[:-3]), *parts[-3:])
    return [*_flat(tree), over, diverged]


def _flat(tree: Tree) -> list[Tensor]:
    """The tensors of trees in a row."""
    found: list[Tensor] = []
    for part in tree:
        found += part if isinstance(part, Point) else [part]
    return found


def _tree(parts: Sequence[Tensor]) -> Tree:
    """Trees of tensors in a row."""
    left = iter(parts)
    found: dict[str, Any] = {}
    for name in Tree._fields:
        is_point = name in ("best", "half_best")
        found[name] = Point(next(left), next(left), next(left)) if is_point else next(left)
    return Tree(**found)
