"""The trees of the no-U-turn sampler, all chains of all data at once, each at a leaf of its own.

A transition doubles a trajectory forwards or backwards in time until its ends turn to each other,
and takes one of its points by their weights exp(-H). The recursion over halves is a loop here: leaf
n of a doubling closes the halves that end at it, as many as n has trailing ones in base 2, and the
momentum at the first leaf of a half that is still open is kept at the place that its number has
among the open ones. So a lane, a chain of a datum, is a row of tensors, whatever its depth, and one
evaluation of the model moves every lane by a leapfrog step: no lane waits for another one's tree.

Momenta p are standard normal in units of `scale`, the standard deviations of the posterior or what
is known of them:  H = -log p(x, z) + |p|^2 / 2,  dz/dt = s p,  dp/dt = s d log p / dz.

References:
    Hoffman, Gelman (2014). The No-U-Turn sampler. arXiv:1111.4246.
    Betancourt (2017). A conceptual introduction to Hamiltonian Monte Carlo. arXiv:1701.02434.
    Phan, Pradhan, Jankowiak (2019). Composable effects for flexible and accelerated probabilistic
        programming in NumPyro. arXiv:1912.11554 (the loop).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

DEPTH = 10  # doublings of a trajectory at most
_LOST = 1000.0  # nats of energy from which on a trajectory has diverged


class Point(NamedTuple):
    """Latents `(L, P)` of L lanes, their gradients `(L, P)`, and log p(x, z) `(L,)`."""

    z: Tensor
    gradient: Tensor
    log_joint: Tensor

    def where(self, taken: Tensor, other: Point) -> Point:
        """The other point in the lanes that are taken `(L,)`, this one elsewhere."""
        rows = taken[:, None]
        return Point(
            torch.where(rows, other.z, self.z),
            torch.where(rows, other.gradient, self.gradient),
            torch.where(taken, other.log_joint, self.log_joint),
        )


class Tree(NamedTuple):
    """A trajectory of each of L lanes, and the half that is being added to it.

    Attributes:
        z: where the next leaf is, `(L, P)`.
        half: momentum between the last leaf and the next, `(L, P)`.
        side: +1 where the next leaf is later, -1 where it is earlier, `(L,)`.
        step, scale: of the leapfrog steps, `(L,)` and `(L, P)`.
        energy: H of the start, `(L,)`.
        depth: doublings that are done, `(L,)`.
        ends: z, p and gradient of the earliest and the latest leaf, `(2, L, 3, P)`.
        best, weight, total: the point that is taken so far, log of the sum of the weights, sum of
            the momenta.
        leaf: number of the next leaf in the half that is added, from 0, `(L,)`.
        half_best, half_weight, half_total: those of this half.
        kept, kept_total: momenta at the first leaves of its open halves, and the sums up to them,
            `(L, DEPTH, P)`.
        chance: sum of the leaves' probabilities to be taken if they were alone, `(L,)`.
        leaves: so many, `(L,)`.
    """

    z: Tensor
    half: Tensor
    side: Tensor
    step: Tensor
    scale: Tensor
    energy: Tensor
    depth: Tensor
    ends: Tensor
    best: Point
    weight: Tensor
    total: Tensor
    leaf: Tensor
    half_best: Point
    half_weight: Tensor
    half_total: Tensor
    kept: Tensor
    kept_total: Tensor
    chance: Tensor
    leaves: Tensor


def planted(start: Point, step: Tensor, scale: Tensor) -> Tree:
    """New trees of the lanes at these points, with fresh momenta, before their first step."""
    p, side = torch.randn_like(start.z), _side(torch.rand_like(step))
    none, count = torch.zeros_like(step), torch.zeros_like(step, dtype=torch.long)
    end = torch.stack([start.z, p, start.gradient], 1)
    z, half = _onwards(end, side * step, scale)
    kept = start.z.new_zeros(len(step), DEPTH, start.z.shape[-1])
    return Tree(
        z=z,
        half=half,
        side=side,
        step=step,
        scale=scale,
        energy=p.square().sum(-1) / 2 - start.log_joint,
        depth=count,
        ends=torch.stack([end, end]),
        best=start,
        weight=none,
        total=p,
        leaf=count,
        half_best=start,
        half_weight=none - math.inf,
        half_total=torch.zeros_like(p),
        kept=kept,
        kept_total=kept,
        chance=none,
        leaves=count,
    )


def grown(
    tree: Tree, log_joint: Tensor, gradient: Tensor, noise: Tensor
) -> tuple[Tree, Tensor, Tensor]:
    """The trees with one more leaf each, and which lanes are done, and have diverged, `(L,)`.

    Args:
        tree: of L lanes.
        log_joint, gradient: `(L,)` and `(L, P)` at `tree.z`.
        noise: uniform numbers `(3, L)`.
    """
    leaf, p, lost = _leaf(tree, log_joint, gradient)
    half_weight = torch.logaddexp(tree.half_weight, -lost)
    taken = noise[0].log() < -lost - half_weight
    half_best, half_total = tree.half_best.where(taken, leaf), tree.half_total + p
    kept, kept_total, turned = _closed(tree, p, half_total)

    diverged = lost > _LOST
    added = (tree.leaf + 1 == 2**tree.depth) & ~turned & ~diverged
    taken = added & (noise[1].log() < half_weight - tree.weight)
    here = torch.stack([leaf.z, p, gradient], 1)
    going = torch.stack([tree.side < 0, tree.side > 0]) & added
    ends = torch.where(going[..., None, None], here, tree.ends)
    total = torch.where(added[:, None], tree.total + half_total, tree.total)

    depth = tree.depth + added
    over = added & (_turns(ends[0, :, 1], ends[1, :, 1], total) | (depth == DEPTH))
    side = torch.where(added, _side(noise[2]), tree.side)
    side_end = torch.where((side > 0)[:, None, None], ends[1], ends[0])
    last = torch.where(added[:, None, None], side_end, here)
    z, half = _onwards(last, side * tree.step, tree.scale)
    found = Tree(
        z=z,
        half=half,
        side=side,
        step=tree.step,
        scale=tree.scale,
        energy=tree.energy,
        depth=depth,
        ends=ends,
        best=tree.best.where(taken, half_best),
        weight=torch.where(added, torch.logaddexp(tree.weight, half_weight), tree.weight),
        total=total,
        leaf=torch.where(added, 0, tree.leaf + 1),
        half_best=half_best,
        half_weight=half_weight.masked_fill(added, -math.inf),
        half_total=half_total.masked_fill(added[:, None], 0.0),
        kept=kept,
        kept_total=kept_total,
        chance=tree.chance + (-lost).clamp(max=0).exp(),
        leaves=tree.leaves + 1,
    )
    return found, turned | diverged | over, diverged


def _leaf(tree: Tree, log_joint: Tensor, gradient: Tensor) -> tuple[Point, Tensor, Tensor]:
    """The new leaf, its momentum `(L, P)`, and the energy that is lost on the way to it `(L,)`,
    infinite where it is no number.
    """
    p = tree.half + (tree.side * tree.step / 2)[:, None] * tree.scale * gradient
    lost = p.square().sum(-1) / 2 - log_joint - tree.energy
    return Point(tree.z, gradient, log_joint), p, lost.nan_to_num(math.inf, math.inf, -math.inf)


def _closed(tree: Tree, p: Tensor, total: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What is kept of the open halves, and whether one that ends at this leaf has turned `(L,)`."""
    place = torch.arange(DEPTH, device=p.device)
    bits = (tree.leaf[:, None] >> place) & 1
    ending = bits.cumprod(-1).sum(-1, keepdim=True)  # halves that end here
    last = bits[:, 1:].sum(-1, keepdim=True)  # place of the innermost half

    ends_here = (place <= last) & (place > last - ending)
    through = total[:, None] - tree.kept_total + tree.kept
    turned = (_turns(tree.kept, p[:, None], through) & ends_here).any(-1)

    begins = ((place == last) & (ending == 0))[..., None]
    kept = torch.where(begins, p[:, None], tree.kept)
    return kept, torch.where(begins, total[:, None], tree.kept_total), turned


def _turns(first: Tensor, last: Tensor, total: Tensor) -> Tensor:
    """Whether a trajectory with these momenta at its ends, and this sum of all, turns."""
    middle = total - (first + last) / 2
    return ((first * middle).sum(-1) <= 0) | ((last * middle).sum(-1) <= 0)


def _onwards(end: Tensor, move: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Where the leaf after an end `(L, 3, P)` is, and the momentum on the way to it."""
    z, p, gradient = end.unbind(1)
    reach = move[:, None] * scale
    half = p + reach / 2 * gradient
    return z + reach * half, half


def _side(noise: Tensor) -> Tensor:
    """+1 or -1 by uniform numbers."""
    return torch.where(noise < 0.5, 1.0, -1.0).to(noise)
