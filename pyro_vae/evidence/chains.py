"""Annealing: chains that are led along a path of densities, adding up the weights of the way.

    log w = sum_t (beta_t - beta_{t-1}) (log p(x, z_{t-1}) - log start(z_{t-1})),
    z_t by HMC at beta_t from z_{t-1}

From draws of the start, E[w] = p(x) whatever the chains do; downwards from exact draws of the
posterior, E[w] = 1 / p(x). Step sizes are adapted for each datum and along the path in a pilot run,
and frozen: the run that counts has fresh noise. (To adapt while scoring would break the
expectation.) Temperatures are spaced by a logistic curve, denser at both ends; where they go on
beyond 1, evenly up to a knee and geometrically from there, since the chains' distribution shrinks
with 1 / beta.

References:
    Neal (2001). Annealed importance sampling. arXiv:physics/9803008.
    Wu, Burda, Salakhutdinov, Grosse (2017). On the quantitative analysis of decoder-based
        generative models. arXiv:1611.04273.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyro_vae.evidence.hmc import adapted, transition
from pyro_vae.evidence.path import Path, Point
from pyro_vae.progress import Progress, over

_SHARP = 4.0  # half width of the logistic schedule
_PILOT = 100  # temperatures of the pilot run, at most
_SETTLE = 20  # transitions before it in which the first step size is found
_FIRST = 0.3  # step size to begin with
_RATE = 0.3  # of its adaptation
_DRAWS = 64  # of the start, from which the units' scales are taken


class Plan(NamedTuple):
    """How to anneal: temperatures T, chains K of a datum, and leapfrog steps L of a transition."""

    num_temperatures: int
    num_chains: int
    num_leapfrog: int

    @property
    def evaluations(self) -> int:
        """Gradients of the model for each datum, those of the pilot run included."""
        moves = self.num_temperatures + self.pilot_moves
        return self.num_chains * (2 + self.num_leapfrog * moves)

    @property
    def num_pilot(self) -> int:
        """Temperatures of the pilot run."""
        return min(_PILOT, self.num_temperatures)

    @property
    def pilot_moves(self) -> int:
        """Transitions of the pilot run."""
        return _SETTLE + self.num_pilot + 1


class Spacing(NamedTuple):
    """How temperatures are spread: `betas(T)` are those of a run, `place(beta)` is the share, from
    0 to 1, of the way up to one of them.
    """

    betas: Callable[[int], list[float]]
    place: Callable[[float], float]


class Tuning(NamedTuple):
    """What the pilot run leaves: log step sizes `(T' + 1, B)` along the path, the units' scales
    `(B, P)`, and how the path was spaced.
    """

    log_steps: Tensor
    scale: Tensor
    spacing: Spacing

    def step(self, beta: float) -> Tensor:
        """Step sizes `(B,)` at a temperature, between those of its neighbours in the pilot run."""
        spot = self.spacing.place(beta) * (len(self.log_steps) - 1)
        low = min(int(spot), len(self.log_steps) - 2)
        return torch.lerp(self.log_steps[low], self.log_steps[low + 1], spot - low).exp()


class Stage(NamedTuple):
    """The state after a temperature: beta, where the chains are, the log-weights so far and the
    acceptance `(K, B)`.
    """

    beta: float
    point: Point
    log_w: Tensor
    chance: Tensor


def schedule(num_temperatures: int) -> list[float]:
    """beta_0 = 0, ..., beta_T = 1: the logistic function on an even grid of [-4, 4], rescaled.

    Example:
        >>> [round(beta, 3) for beta in schedule(4)]
        [0.0, 0.105, 0.5, 0.895, 1.0]
    """
    curve = 1 / (1 + np.exp(-np.linspace(-_SHARP, _SHARP, num_temperatures + 1)))
    return [float(beta) for beta in (curve - curve[0]) / (curve[-1] - curve[0])]


def place(beta: float) -> float:
    """Where on its way, from 0 to 1, the schedule reaches `beta`."""
    low = 1 / (1 + math.exp(_SHARP))
    value = low + beta * (1 - 2 * low)
    return min(1.0, max(0.0, (math.log(value / (1 - value)) + _SHARP) / (2 * _SHARP)))


LOGISTIC = Spacing(schedule, place)


def geometric(most: float, knee: float) -> Spacing:
    """From 0 to `most`: beta = knee ((1 + most / knee)^s - 1) at a share s of the way.

    Example:
        >>> spacing = geometric(99.0, 1.0)
        >>> [round(beta, 3) for beta in spacing.betas(4)]
        [0.0, 2.162, 9.0, 30.623, 99.0]
        >>> spacing.place(9.0)
        0.5
    """
    whole = math.log1p(most / knee)

    def betas(num_temperatures: int) -> list[float]:
        shares = np.linspace(0.0, 1.0, num_temperatures + 1)[1:-1]
        return [0.0, *(float(beta) for beta in knee * np.expm1(whole * shares)), most]

    def spot(beta: float) -> float:
        return min(1.0, max(0.0, math.log1p(beta / knee) / whole))

    return Spacing(betas, spot)


def anneal(
    path: Path,
    point: Point,
    betas: Sequence[float],
    tuning: Tuning,
    num_leapfrog: int,
) -> Iterator[Stage]:
    """Lead chains from betas[0] along the temperatures, up or down; a stage after each."""
    log_w = torch.zeros_like(point.log_joint, dtype=torch.double)
    for before, beta in pairwise(betas):
        log_w = log_w + (beta - before) * (point.log_joint - point.log_start).double()
        chance = torch.ones_like(point.log_joint)
        if beta > 0:  # there the run ends, and no weight would come after the move
            step = tuning.step(beta)
            point, chance = transition(path, point, beta, step, tuning.scale, num_leapfrog)
        yield Stage(beta, point, log_w, chance)


def pilot(
    path: Path,
    plan: Plan,
    progress: Progress | None = None,
    spacing: Spacing = LOGISTIC,
) -> tuple[Tuning, float]:
    """Adapt the step sizes on the way up, and tell the seconds that a temperature takes."""
    scale = path.draw(_DRAWS).std(0).clamp(min=1e-6)
    point = path.at(path.draw(plan.num_chains))
    log_step = torch.full_like(scale[:, 0], math.log(_FIRST * path.size**-0.25))
    betas = [0.0] * _SETTLE + spacing.betas(plan.num_pilot)

    found, started = [], time.monotonic()
    for number, beta in enumerate(over(betas, len(betas), progress)):
        point, chance = transition(path, point, beta, log_step.exp(), scale, plan.num_leapfrog)
        log_step = adapted(log_step, chance, _RATE)
        if number >= _SETTLE:
            found.append(log_step)

    if scale.is_cuda:
        torch.cuda.synchronize()
    tuning = Tuning(_smooth(torch.stack(found)), scale, spacing)
    return tuning, (time.monotonic() - started) / len(betas)


def _smooth(log_steps: Tensor) -> Tensor:
    """Moving averages over five neighbours along the path `(T' + 1, B)`, fewer at its ends."""
    rows = range(len(log_steps))
    return torch.stack([log_steps[max(0, row - 2) : row + 3].mean(0) for row in rows])
