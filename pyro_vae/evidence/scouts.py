"""Scouts: does the posterior have a mode from which the guide never draws?

Weights cannot say. A guide that holds one of two equal modes gives the same weights as an exact
guide does, but for the factor 2 that is missing in all of them. So some scouts climb log p(x, z),
from draws of the prior and of the guide; where one ends outside of everything that the guide draws,
and not far below the highest point that any of them has found, the guide is taken to miss it, and
no interval around its estimate is closed.

This finds modes whose basin the prior reaches: of K scouts all miss a basin of prior mass b with
probability (1 - b)^K or less. (Half of them start at the mirror images of the others: of two modes
that a symmetry of the model makes, none is missed.) It compares heights and not masses, so that it
may also object to a mode that is high and narrow. A scout that finds nothing proves nothing.

Where there is nothing to climb, because latents are constrained or the likelihood has no gradient,
and beside the scouts where there is, the prior's own draws are weighed: where the mean of their p(x
| z), which is a bound from below as well, lies clearly above the guide's estimate, the guide has
missed something. In few dimensions that finds what no climb does, such as a guide of a smaller
support than the prior's; in many it finds nothing.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from pyro_vae.evidence.path import Path
from pyro_vae.evidence.weights import log_mean_exp, log_mean_exp_error
from pyro_vae.programs.parts import batches
from pyro_vae.programs.traces import Program, log_joint, plate_depth, prior, sample_guide

NUM_SCOUTS = 8
"""Climbs from the prior of each datum, unless said otherwise."""

_FROM_GUIDE = 4  # further climbs, from the guide's draws
_DRAWS = 100  # of the guide, which say how far it reaches
_STEPS = 80
_FIRST, _LAST = 0.3, 0.01  # step sizes in standard deviations of the prior
_BETAS = (0.9, 0.99)
_BELOW = 4.0  # nats under the highest point, from which on a mode holds too little to matter
_PRIOR_DRAWS = 500  # that are weighed
_SURE = 3.0  # standard errors of either
_MATTERS = 0.01  # nats
_MOST = 1024  # data
_VALUES = 2**21  # of the data of all climbers that move at once


def missed(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor,
    log_px: Tensor,
    error: Tensor,
    num_scouts: int = NUM_SCOUTS,
    seed: int = 0,
) -> Tensor:
    """Whether scouts, or the prior's own draws, have found what the guide misses of each datum's
    posterior, `(N,)`.

    Args:
        log_px, error: what was estimated from the guide's draws `(N,)`.
        num_scouts: 0 to look for nothing.
    """
    if not num_scouts:
        return torch.zeros(len(x), dtype=torch.bool)
    outside = unreached(model, guide, x, index, num_scouts, seed)
    return outside | outweighed(model, guide, x, index, log_px, error, seed)


@torch.no_grad()
def unreached(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor,
    num_scouts: int = NUM_SCOUTS,
    seed: int = 0,
) -> Tensor:
    """Whether a scout has found a mode of each datum's posterior that the guide misses, `(N,)`, on
    the CPU.

    Nowhere, where the latents are not all real-valued: there is nothing to climb. To be called in
    evaluation state, the noise of which it sets.
    """
    nowhere = torch.zeros(len(x), dtype=torch.bool)
    try:
        path = Path(model, None, x, index)
        path.at(path.draw(x[:1], index[:1], 1), x[:1], index[:1])
    except Exception:
        # latents that are constrained, or whatever a program without a gradient raises
        return nowhere
    size = max(1, _VALUES // (x[0].numel() * (num_scouts + _FROM_GUIDE)))
    found = []
    for number, rows in enumerate(batches(x, index, min(size, _MOST), guide)):
        torch.manual_seed(
            int(np.random.SeedSequence([seed, number, 1]).generate_state(1, np.uint64)[0])
        )
        found.append(_look(path, guide, x[rows], index[rows], num_scouts).cpu())
    return torch.cat(found)


@torch.no_grad()
def outweighed(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor,
    log_px: Tensor,
    error: Tensor,
    seed: int = 0,
) -> Tensor:
    """Whether draws of the prior say that log p(x) `(N,)`, told with this error, is too low for
    each datum, on the CPU.
    """
    depth, found = plate_depth(model, guide, x, index), []
    size = max(1, _VALUES // (x[0].numel() * _PRIOR_DRAWS))
    for number, rows in enumerate(torch.arange(len(x), device=x.device).split(min(size, _MOST))):
        torch.manual_seed(
            int(np.random.SeedSequence([seed, number, 2]).generate_state(1, np.uint64)[0])
        )
        latents, _ = sample_guide(prior(model), x[rows], index[rows], _PRIOR_DRAWS, depth)
        found.append(log_joint(model, latents, x[rows], index[rows], depth)[1].double().cpu())
    log_w = torch.cat(found, 1)
    # of the mean that may be noise
    share = (_SURE * log_mean_exp_error(log_w)).nan_to_num(nan=1.0).clamp(max=1)
    least = log_mean_exp(log_w) + torch.log1p(-share)
    return least > log_px + _SURE * error.nan_to_num(nan=math.inf) + _MATTERS


def _look(path: Path, guide: Program, x: Tensor, index: Tensor, num_scouts: int) -> Tensor:
    """The same of a block of data `(B,)`, on its device."""
    latents, _ = sample_guide(guide, x, index, _DRAWS, path.layout.depth)
    drawn = path.layout.pack(latents)  # (S, B, P)
    mean, std = drawn.mean(0), drawn.std(0).clamp(min=1e-6)
    reach = _distance(drawn, mean, std).max(0).values  # (B,)

    far = path.draw(x, index, max(_DRAWS, num_scouts))
    scale, half = far.std(0).clamp(min=1e-6), far[: (num_scouts + 1) // 2]
    pairs = torch.cat([half, 2 * far.mean(0) - half])[:num_scouts]
    ends = _climb(path, torch.cat([pairs, drawn[:_FROM_GUIDE]]), scale, x, index)
    heights = path.densities(ends, x, index)[1]
    heights = torch.where(heights.isnan(), -math.inf, heights)  # (K, B)

    high = heights > heights.max(0).values - _BELOW
    return (high & (_distance(ends, mean, std) > reach)).any(0)


def _climb(path: Path, z: Tensor, scale: Tensor, x: Tensor, index: Tensor) -> Tensor:
    """Where Adam on log p(x, z) ends, from each of z `(K, B, P)`, in units of `scale` `(B, P)`."""
    first, second = torch.zeros_like(z), torch.zeros_like(z)
    for step in range(1, _STEPS + 1):
        uphill = torch.nan_to_num(path.at(z, x, index).grad_joint * scale, posinf=0.0, neginf=0.0)
        first = torch.lerp(uphill, first, _BETAS[0])
        second = torch.lerp(uphill.square(), second, _BETAS[1])
        move = (first / (1 - _BETAS[0] ** step)) / (
            (second / (1 - _BETAS[1] ** step)).sqrt() + 1e-12
        )
        z = z + _rate(step) * scale * move
    return z


def _rate(step: int) -> float:
    """A half cosine from the first step size down to the last."""
    return _LAST + (_FIRST - _LAST) * (1 + math.cos(math.pi * step / _STEPS)) / 2


def _distance(z: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """From the guide's mean in its standard deviations, `(K, B)`."""
    return ((z - mean) / std).square().sum(-1).sqrt()
