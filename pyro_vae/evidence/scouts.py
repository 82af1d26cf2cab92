"""Scouts: does the posterior have a mode from which the guide never draws?

Weights cannot say. A guide that holds one of two equal modes gives the same weights as an exact
guide does, but for the factor 2 that is missing in all of them. So some scouts climb log p(x, z),
from draws of the prior and of the guide. Where one ends outside of everything that the guide draws,
and not far below the highest point that any of them has found, the guide is taken to miss it, and
no interval around its estimate is closed.

This finds modes whose basin the prior reaches: of K scouts all miss a basin of prior mass b with
probability (1 - b)^K or less. (Half of them start at the mirror images of the others: of two modes
that a symmetry of the model makes, none is missed.) It compares heights and not masses, so that it
may also object to a mode that is high and narrow. A scout that finds nothing proves nothing.

The prior's own draws are weighed beside the scouts, and alone where there is nothing to climb
because latents are constrained or the likelihood has no gradient. The mean of their p(x | z) is a
bound from below as well: where it lies clearly above the guide's estimate, the guide has missed
something. In few dimensions that finds what no climb does, such as a guide of a smaller support
than the prior's; in many it finds nothing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_vae.evidence.gaussians import Gaussians
from pyro_vae.evidence.path import Path
from pyro_vae.evidence.weights import log_mean_exp, log_mean_exp_error
from pyro_vae.graphs import Engine, Guard
from pyro_vae.processes import dealt, gathered
from pyro_vae.programs.adam import Moments, adam
from pyro_vae.programs.calls import Program
from pyro_vae.programs.evaluation import seed_noise
from pyro_vae.programs.pair import Pair
from pyro_vae.programs.parts import even_blocks
from pyro_vae.programs.traces import sample_guide

NUM_SCOUTS = 8
"""Climbs from the prior of each datum, unless said otherwise."""

_FROM_GUIDE = 4  # further climbs, from the guide's draws
_DRAWS = 100  # of the guide, which say how far it reaches
_STEPS = 80
_FIRST, _LAST = 0.3, 0.01  # step sizes in standard deviations of the prior
_BELOW = 4.0  # nats under the highest point, from which on a mode holds too little to matter
_PRIOR_DRAWS = 500  # that are weighed
_SURE = 3.0  # standard errors of either
_MATTERS = 0.01  # nats
_MOST = 1024  # data
_LIGHT = 100  # values of a datum, with more of which a graph saves more than the rule of all knows
_VALUES = 2**21  # of the data of all climbers that move at once


class Climbs(NamedTuple):
    """Where scouts have ended.

    Attributes:
        ends: `(K, N, P)`.
        high: whether that is high enough to matter, `(K, N)`.
        beyond: whether one of them is a mode that the guide misses, `(N,)`.
        floor: what the prior's own draws say that log p(x) is at least `(N,)`, where they have been
            weighed.
    """

    ends: Tensor
    high: Tensor
    beyond: Tensor
    floor: Tensor | None = None

    def take(self, rows: Tensor) -> Climbs:
        """Those of the data at these places."""
        floor = None if self.floor is None else self.floor[rows.cpu()]
        return Climbs(self.ends[:, rows], self.high[:, rows], self.beyond[rows], floor)


def missed(
    pair: Pair,
    log_px: Tensor,
    error: Tensor,
    num_scouts: int = NUM_SCOUTS,
    seed: int = 0,
    *,
    shape: Gaussians | None = None,
    climbs: Climbs | None = None,
    engine: Engine = "auto",
) -> Tensor:
    """Whether scouts, or the prior's own draws, have found what the guide misses of each datum's
    posterior, `(N,)`, on the CPU.

    Args:
        pair: opened; the noise of its evaluation is set.
        log_px, error: what was estimated from the guide's draws `(N,)`.
        num_scouts: 0 to look for nothing.
        seed: of their noise.
        shape: Gaussians that are asked in place of the guide.
        climbs: of scouts that have set out already; they need not again.
        engine: as in `climbed`.
    """
    if not num_scouts or not pair.has_latents():
        return torch.zeros(len(pair), dtype=torch.bool)
    climbs = climbed(pair, num_scouts, seed, engine) if climbs is None else climbs
    least = None if climbs is None else climbs.floor
    least = floor_by_prior(pair, seed, engine) if least is None else least
    beyond = least > log_px + _SURE * error.nan_to_num(nan=math.inf) + _MATTERS
    if climbs is None:
        return beyond

    found = climbs.beyond if shape is None else _missed_by(shape, climbs, seed)
    return found.cpu() | beyond


def _missed_by(shape: Gaussians, climbs: Climbs, seed: int) -> Tensor:
    """Whether scouts have ended where Gaussians never draw, `(N,)`, by noise that a block of data
    has for itself: of several processes each has some of the blocks.
    """
    places, found = torch.arange(len(shape.mean)).split(_MOST), {}
    for number in dealt(len(places)):
        rows = places[number].to(shape.mean.device)
        seed_noise(seed, number, 6)
        part = climbs.take(rows)
        found[number] = _beyond(shape.take(rows).draw(_DRAWS), part.ends, part.high).cpu()
    return torch.cat(gathered(found, len(places)))


@torch.no_grad()
def climbed(
    pair: Pair, num_scouts: int = NUM_SCOUTS, seed: int = 0, engine: Engine = "auto"
) -> Climbs | None:
    """Where scouts end; None where the latents are not all continuous, and nothing can climb. By a
    graph where many climb, unless the engine is "pyro".
    """
    values, climbers = pair.x[0].numel() * pair.states, num_scouts + _FROM_GUIDE
    most = len(pair) if pair.is_whole else min(max(1, _VALUES // (values * climbers)), _MOST)
    cuts, found = even_blocks(len(pair), most, pair.x.device), {}
    guard = _guard(engine, _STEPS * len(cuts), _STEPS * climbers * len(pair), values)
    try:
        one = Path(pair.under(None).few(1))
        one.at(one.draw(1))
    except Exception:
        # latents that are discrete, or whatever a program without a gradient raises
        return None

    path = Path(pair.under(None), guard)
    for number in dealt(len(cuts)):
        places, count = cuts[number]
        seed_noise(seed, number, 1)
        looked = _look(path.take(places), pair.guide, num_scouts)
        found[number] = (
            looked.ends[:, :count].cpu(),
            looked.high[:, :count].cpu(),
            looked.beyond[:count].cpu(),
        )
    ends, high, beyond = zip(*gathered(found, len(cuts)), strict=True)
    whole = torch.cat(ends, 1), torch.cat(high, 1), torch.cat(beyond)
    return Climbs(*(part.to(pair.x.device) for part in whole))


@torch.no_grad()
def floor_by_prior(pair: Pair, seed: int = 0, engine: Engine = "auto") -> Tensor:
    """What draws of the prior say that log p(x) of each datum is at least, `(N,)`: their mean
    weight, less what of it may be noise. By a graph as `climbed`.
    """
    values, found = pair.x[0].numel() * pair.states, {}
    cuts = even_blocks(len(pair), min(max(1, _VALUES // (values * _PRIOR_DRAWS)), _MOST))
    prior, num_rows = pair.under(None), 2 * _PRIOR_DRAWS * len(pair)  # drawn and weighed
    guard = _guard(engine, len(cuts), num_rows, values)
    try:
        path = Path(prior, guard)
    except ValueError:  # latents that are no numbers
        path = None

    for number in dealt(len(cuts)):
        places, count = cuts[number]
        places = places.to(pair.x.device)
        seed_noise(seed, number, 2)
        if path is None:
            part = prior.take(places)
            log_w = part.score(part.sample(_PRIOR_DRAWS)[0])[1]
        else:
            on = path.take(places)
            start, joint = on.densities(on.draw(_PRIOR_DRAWS))
            log_w = joint - start
        found[number] = log_w[:, :count].double().cpu()
    log_w = torch.cat(gathered(found, len(cuts)), 1)

    share = (_SURE * log_mean_exp_error(log_w)).nan_to_num(nan=1.0).clamp(max=1)
    return log_mean_exp(log_w) + torch.log1p(-share)


def _guard(engine: Engine, calls: int, rows: int, values: int) -> Guard:
    """Whether to compile for so many calls, and so many rows in all, each of so many values: of one
    of 784 a graph saves some 5 microseconds.
    """
    each = rows / calls * max(1.0, values / _LIGHT)
    return Guard("pyro" if engine == "pyro" else "auto", calls, each)


def _look(path: Path, guide: Program, num_scouts: int) -> Climbs:
    """Scouts of a block of data."""
    x, index = path.pair.x, path.pair.index
    latents, _ = sample_guide(guide, x, index, _DRAWS, path.layout.depth)
    drawn = path.layout.vectors(latents)  # (S, B, P)

    z, scale = starts(path, num_scouts)
    ends = climb(path, torch.cat([z, drawn[:_FROM_GUIDE]]), scale)
    _, high = heights(path, ends)
    return Climbs(ends, high, _beyond(drawn, ends, high))


def _beyond(drawn: Tensor, ends: Tensor, high: Tensor) -> Tensor:
    """Whether a high end `(K, B, P)` is outside of all that is drawn `(S, B, P)`, `(B,)`."""
    mean, std = drawn.mean(0), drawn.std(0).clamp(min=1e-6)
    reach = _distance(drawn, mean, std).max(0).values  # (B,)
    return (high & (_distance(ends, mean, std) > reach)).any(0)


def starts(path: Path, number: int) -> tuple[Tensor, Tensor]:
    """Draws of the prior `(K, B, P)`, half of them mirror images of the others, and its standard
    deviations `(B, P)`.
    """
    far = path.draw(max(_DRAWS, number))
    half = far[: (number + 1) // 2]
    mirrored = torch.cat([half, 2 * far.mean(0) - half])[:number]
    return mirrored, far.std(0).clamp(min=1e-6)


def climb(path: Path, z: Tensor, scale: Tensor) -> Tensor:
    """Where Adam on log p(x, z) ends, from each of z `(K, B, P)`, in units of `scale` `(B, P)`."""
    moments = Moments.of(z)
    for step in range(1, _STEPS + 1):
        uphill = torch.nan_to_num(path.at(z).grad_joint * scale, posinf=0.0, neginf=0.0)
        move, moments = adam(uphill, moments, step, floor=1e-24)
        z = z + _rate(step) * scale * move
    return z


def heights(path: Path, ends: Tensor) -> tuple[Tensor, Tensor]:
    """log p(x, z) where climbs end, `(K, B)`, and whether that is high enough to matter."""
    found = path.at(ends).log_joint
    found = torch.where(found.isnan(), -math.inf, found)
    return found, found > found.max(0).values - _BELOW


def _rate(step: int) -> float:
    """A half cosine from the first step size down to the last."""
    return _LAST + (_FIRST - _LAST) * (1 + math.cos(math.pi * step / _STEPS)) / 2


def _distance(z: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """From the guide's mean in its standard deviations, `(K, B)`."""
    return ((z - mean) / std).square().sum(-1).sqrt()
