"""Simulated data with the latents that made them, and a guide's draws for these data.

The data miss what `like` misses, so that a guide is asked about data as it will see them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from pyro_vae.programs.calls import Program
from pyro_vae.programs.checks import check_programs
from pyro_vae.programs.evaluation import device_of, evaluation, seed_noise
from pyro_vae.programs.inputs import check_any_x, check_like, simulated_rows
from pyro_vae.programs.missing import check_missing, missing_as, observing
from pyro_vae.programs.pair import Latents, Pair
from pyro_vae.programs.simulation import simulate
from pyro_vae.programs.traces import num_states
from pyro_vae.progress import Progress, over

_ROWS = 20_000  # latents drawn, and scored, in one run

MeasuredT = TypeVar("MeasuredT")


def of_simulations(
    model: Program,
    guide: Program,
    like: Tensor,
    index: Tensor | None,
    sizes: tuple[int, int],
    seed: int,
    progress: Progress | None,
    measure: Callable[[Latents, Pair], MeasuredT],
) -> list[MeasuredT]:
    """What `measure` says of each block of simulated data, with the latents that made them and both
    programs on them.

    Args:
        model, guide, like, index: as for `check_calibration`.
        sizes: R, data that are simulated, and L, draws of the guide that each is compared with.
        seed: of each block's noise, with its number.
        progress: called with the share that is done.
        measure: run in evaluation state.

    Raises:
        ValueError: a guide that does not answer for any x, programs that do not match.
    """
    check_like(model, like)
    check_any_x(guide, like)
    like, (num_simulations, num_draws) = like.to(device_of(model, guide) or like.device), sizes

    found = []
    with evaluation(model, guide, device=like.device):
        two = torch.arange(2, device=like.device)
        states = num_states(model, *simulated_rows(like, index, two))
        size = max(1, _ROWS // (states * (num_draws + 1)))
        places = torch.arange(num_simulations, device=like.device).split(size)
        for number, rows in enumerate(over(places, len(places), progress)):
            seed_noise(seed, number)
            some, numbers = simulated_rows(like, index, rows)
            truth, made = simulate(model, some, numbers)
            x = missing_as(some, made)
            pair = Pair(*observing(model, guide, x), x, numbers)
            if number == 0:
                check_missing(pair.model, pair.guide, pair.x, pair.index)
                check_programs(pair.model, pair.guide, pair.x, pair.index)
            found.append(measure(truth, pair))
    return found


def drawn_of(
    model: Program,
    guide: Program,
    like: Tensor,
    index: Tensor | None,
    sizes: tuple[int, int],
    seed: int,
    progress: Progress | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents that made R simulated data `(R, d)`, the guide's draws `(L, R, d)`, and the data
    `(R, D)`, all float64 on the CPU; see `of_simulations`.
    """

    def measure(truth: Latents, pair: Pair) -> tuple[Tensor, Tensor]:
        draws, _ = pair.sample(sizes[1])
        both = {name: before(truth[name], draw) for name, draw in draws.items()}
        return vectors_of(both, pair.depth), pair.x.flatten(1).double().cpu()

    parts = of_simulations(model, guide, like, index, sizes, seed, progress, measure)
    vectors, data = zip(*parts, strict=True)
    found = torch.cat(vectors, 1)
    return found[0], found[1:], torch.cat(data)


def vectors_of(latents: Latents, depth: int) -> Tensor:
    """Latents `(S, ..., B, *event)` by site as vectors `(S, B, d)` of all sites, float64 on the
    CPU.
    """
    parts = []
    for value in latents.values():
        moved = value.movedim(depth, 1)
        parts.append(moved.reshape(*moved.shape[:2], -1).double().cpu())
    return torch.cat(parts, -1)


def before(truth: Tensor, draws: Tensor) -> Tensor:
    """The truth `(..., B, *event)` before the draws `(L, ..., B, *event)`."""
    truth = truth.reshape((1,) * (draws.dim() - truth.dim()) + truth.shape)
    return torch.cat([truth.to(draws.dtype), draws])


def ranked(below: Tensor, equal: Tensor, generator: torch.Generator) -> Tensor:
    """Ranks `(R,)` of truths with so many draws below them and so many equal, where ties are broken
    at random.
    """
    chance = torch.rand(len(below), generator=generator, dtype=torch.float64)
    return below + (chance * (equal + 1)).long()
