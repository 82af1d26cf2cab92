"""A Gaussian is fitted to the posterior of each datum, from one that is near it on.

    maximise  E_u [ log p(x, z(m + L u)) ] + log |L|    over m and L,   u ~ N(0, I)

in the coordinates in which the start is N(0, I) (`gaussians.py`): classical VI with a full-rank
Gaussian, all data side by side. The gradient goes through the draws alone (Roeder et al.), so that
its noise vanishes where the posterior is Gaussian. How well it has gone is not asked here: the
Gaussian is a proposal, and its weights say what it is worth.

References:
    Roeder, Wu, Duvenaud (2017). Sticking the landing: simple, lower-variance gradient estimators
        for variational inference. arXiv:1703.09194.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_vae.evidence.gaussians import Around, Gaussians, times
from pyro_vae.graphs import Engine, Guard
from pyro_vae.processes import dealt, gathered
from pyro_vae.programs.adam import Moments, adam
from pyro_vae.programs.evaluation import seed_noise
from pyro_vae.programs.pair import Pair
from pyro_vae.programs.parts import even_blocks
from pyro_vae.progress import Progress, over, shares

NUM_STEPS, NUM_DRAWS = 200, 8
"""Of a fit, unless said otherwise."""

_ROWS = 2048  # latents in one run of the model, on a CPU
_ROWS_ON_GPU = 65_536
_DATA = 256  # whose starts are found at once
_LARGEST = 128  # latents, with more of which the root is diagonal
_RATE = 0.05  # at the first step, in deviations of the start
_LAST = 0.02  # of it at the last one


class _Place(NamedTuple):
    """Where the fit stands: the mean `(B, P)`, and a root `(B, P, P)` with the logs of its diagonal
    in place of it, or these logs alone `(B, P)`.
    """

    mean: Tensor
    raw: Tensor

    @property
    def root(self) -> Tensor:
        if self.raw.dim() == 2:
            return self.raw.exp()
        return torch.tril(self.raw, -1) + torch.diag_embed(_diagonal(self.raw).exp())


@torch.no_grad()
def starts(pair: Pair, seed: int) -> Gaussians:
    """Where fits of all data of a pair start: the means and deviations of the guide's draws."""
    found = []
    for number, rows in enumerate(pair.blocks(_DATA)):
        seed_noise(seed, number, 3)
        found.append(Gaussians.like(pair.take(rows)))
    return Gaussians(*map(torch.cat, zip(*found, strict=True)))


@torch.no_grad()
def fitted(
    pair: Pair,
    start: Gaussians,
    seed: int,
    engine: Engine,
    *,
    num_steps: int = NUM_STEPS,
    num_draws: int = NUM_DRAWS,
    progress: Progress | None = None,
) -> Gaussians:
    """The Gaussians of all data of a pair, in blocks.

    Args:
        pair: opened; its guide has no part in it.
        start: as `starts` finds them.
        seed: of the noise.
        engine: who runs the model.
        num_steps, num_draws: as in `refined`.
        progress: called with the share of the work that is done.
    """
    at_once = (_ROWS_ON_GPU if pair.x.is_cuda else _ROWS) // (num_draws * pair.states)
    cuts = even_blocks(len(pair), max(1, at_once), pair.x.device)
    guard = Guard(engine, num_steps * len(cuts), num_draws * len(cuts[0][0]))
    path, mine, found = Around(pair, start, guard), dealt(len(cuts)), {}
    for number, told in zip(mine, shares(progress, *[1] * len(mine)), strict=True):
        rows, count = cuts[number]
        seed_noise(seed, number, 4)
        best = refined(path.take(rows), num_steps, num_draws, told)
        found[number] = best.mean[:count].cpu(), best.root[:count].cpu()
    parts = zip(*gathered(found, len(cuts)), strict=True)
    return Gaussians(*(torch.cat(part).to(pair.x.device) for part in parts))


def refined(
    path: Around, num_steps: int, num_draws: int, progress: Progress | None = None
) -> Gaussians:
    """The Gaussians nearest to the posteriors, by so many steps from those of the path on.

    Args:
        path: of a block of data, around where to start.
        num_steps: of Adam, the rate falling by a cosine.
        num_draws: of each datum in a step, an evaluation of the model and its gradient each.
        progress: called with the share of the work that is done.
    """
    mean = torch.zeros_like(path.shape.mean)
    full = mean.shape[-1] <= _LARGEST
    at = _Place(mean, mean.new_zeros(*mean.shape, mean.shape[-1]) if full else mean.clone())
    moments = Moments.of(at.mean), Moments.of(at.raw)

    for step in over(range(1, num_steps + 1), num_steps, progress):
        up = _gradient(path, at, num_draws)
        moves = [adam(g, m, step) for g, m in zip(up, moments, strict=True)]
        moments = moves[0][1], moves[1][1]
        rate = _rate(step / num_steps)
        at = _Place(at.mean + rate * moves[0][0], at.raw + rate * moves[1][0])
    return Gaussians(at.mean, at.root).within(path.shape)


def _gradient(path: Around, at: _Place, num_draws: int) -> tuple[Tensor, Tensor]:
    """Of the ELBO of each datum with respect to its mean and its root."""
    u, root = path.draw(num_draws), at.root
    if root.dim() == 2:
        z = at.mean + root * u
        pull = path.at(z).grad_joint.nan_to_num(posinf=0.0, neginf=0.0) + u / root
        return pull.mean(0), (pull * u).mean(0) * root

    z = at.mean + times(root, u)
    inverse = torch.linalg.solve_triangular(
        root.transpose(1, 2), u.permute(1, 2, 0), upper=True
    ).permute(2, 0, 1)
    pull = path.at(z).grad_joint.nan_to_num(posinf=0.0, neginf=0.0) + inverse  # (K, B, P)

    outer = torch.bmm(pull.permute(1, 2, 0), u.transpose(0, 1)) / num_draws
    on_diagonal = _diagonal(outer) * _diagonal(root)
    return pull.mean(0), torch.tril(outer, -1) + torch.diag_embed(on_diagonal)


def _diagonal(root: Tensor) -> Tensor:
    return torch.diagonal(root, dim1=-2, dim2=-1)


def _rate(share: float) -> float:
    """A half cosine from the first rate to the last."""
    return _RATE * (_LAST + (1 - _LAST) * (1 + math.cos(math.pi * share)) / 2)
