"""Simulated data with the latents that made them, and a guide's draws for these data, as vectors of
all latents together.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_vae.programs.calls import Program
from pyro_vae.programs.checks import check_programs
from pyro_vae.programs.evaluation import device_of, evaluation, seed_noise
from pyro_vae.programs.inputs import check_any_x, check_like, simulated_rows
from pyro_vae.programs.pair import Latents, Pair
from pyro_vae.programs.simulation import simulate
from pyro_vae.progress import Progress, over

_ROWS = 20_000  # latents drawn in one run


def drawn_of(
    model: Program,
    guide: Program,
    like: Tensor,
    index: Tensor | None,
    num_simulations: int,
    num_draws: int,
    seed: int,
    progress: Progress | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents that made R simulated data `(R, d)`, the guide's draws `(L, R, d)`, and the data
    `(R, D)`, all float64 on the CPU.

    Raises:
        ValueError: a guide that does not answer for any x, programs that do not match.
    """
    check_like(model, like)
    check_any_x(guide, like)
    like = like.to(device_of(model, guide) or like.device)

    vectors, data = [], []
    with evaluation(model, guide, device=like.device):
        places = torch.arange(num_simulations, device=like.device)
        parts = places.split(max(1, _ROWS // (num_draws + 1)))
        for number, rows in enumerate(over(parts, len(parts), progress)):
            seed_noise(seed, number)
            some, numbers = simulated_rows(like, index, rows)
            truth, x = simulate(model, some, numbers)
            if number == 0:
                check_programs(model, guide, x, numbers)
            vectors.append(_vectors(Pair(model, guide, x, numbers), truth, num_draws))
            data.append(x.flatten(1).double().cpu())

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


def _vectors(pair: Pair, truth: Latents, num_draws: int) -> Tensor:
    """The truth, and draws of the guide, `(1 + L, B, d)`."""
    draws, _ = pair.sample(num_draws)
    known = {}
    for name, draw in draws.items():
        lead = (1,) * (draw.dim() - truth[name].dim())
        known[name] = truth[name].reshape(lead + truth[name].shape)
    return torch.cat([vectors_of(each, pair.depth) for each in (known, draws)])
