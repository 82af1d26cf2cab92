"""How long to anneal: as long as short chains say that it takes, and as the time bears.

The log-weights of chains spread by a variance that falls as 1 / T, and the log of the mean of K of
them has the error

    e(T, K)  =  e(T', K') sqrt(T' K' / (T K))

From T' = 50 on, 64 images of a kept MNIST run (`mnist_flow`) had 0.98, 0.91 and 1.07 times that
error at T = 250, 500 and 1,000 in the median, 0.66 to 1.5 times for four in five.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_vae.evidence.annealed import Annealed
from pyro_vae.evidence.clock import Clock
from pyro_vae.processes import agreed

_SHORT = 20  # times fewer temperatures of the short annealing
_CHAINS = 32  # of the short annealing
_LEAST = 10  # temperatures
_SHARES = (4, 2, 1)  # of the long annealing: a quarter, half, all of its temperatures
_MARGIN = 1.25  # of a foretold error
_FEW = 8  # data that leave room for more chains,
_ENOUGH = 100  # which these temperatures at least serve
GRADIENT = 3  # evaluations that one with its gradient costs, about


def short_chains(most: int) -> Annealed:
    """The short annealing before one of `most` temperatures."""
    number = min(most, max(_LEAST, most // _SHORT))
    return Annealed(number, "refined", _CHAINS)


def needed(error: Tensor, target: float, most: int) -> Tensor:
    """Temperatures `(N,)` that bring the `error` of a short annealing down to a target, a quarter,
    half or all of `most`; an infinite error needs all.
    """
    before, chains = short_chains(most), Annealed().num_chains
    work = before.num_temperatures * before.num_chains / chains
    asked = work * (_MARGIN * error.double().nan_to_num(nan=math.inf) / target) ** 2
    steps = torch.tensor([most // share for share in _SHARES], dtype=torch.double)
    return steps[torch.searchsorted(steps, asked.clamp(max=most))].long()


def planned(most: int, number: int) -> list[int]:
    """Those lengths, none beyond a `number`, which is the last, and none that short chains have."""
    least = short_chains(most).num_temperatures
    return sorted(n for n in {min(most // share, number) for share in _SHARES} if n > least)


def are_few(num_data: int, number: int) -> bool:
    """Whether so many data take a quarter of the temperatures with four times the chains: as many
    evaluations, but for the pilot run's, in fewer steps.
    """
    return num_data <= _FEW and number >= 4 * _ENOUGH


def long_chains(number: int, num_data: int, budget: float | None = None) -> Annealed:
    """An annealing of so many temperatures; without a budget, which counts evaluations, as suits so
    many data.
    """
    method = Annealed(number, "refined")
    if budget is not None or not are_few(num_data, number):
        return method
    return Annealed(number // 4, "refined", 4 * method.num_chains)


def borne(clock: Clock, num_data: int, most: int) -> int:
    """Temperatures of so many data, as many as the time bears."""
    if clock.budget is None or not num_data:
        return most
    plan = Annealed(most).plan
    gradients = clock.bears(num_data) / GRADIENT
    number = int(gradients / (plan.num_chains * plan.num_leapfrog)) - plan.pilot_moves
    return agreed(min(most, max(_LEAST, number)))
