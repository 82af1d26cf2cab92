"""How long to anneal: as long as short chains say that it takes, and as the time bears.

The log-weights of chains spread by a variance that falls as 1 / T, and the log of the mean of K of
them has the error

    e(T, K)  =  e(T', K') sqrt(T' K' / (T K))

On the kept MNIST runs that holds within a quarter from T' = 50 to T = 1,000 for four data in five.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_vae.evidence.annealed import Annealed
from pyro_vae.evidence.clock import Clock
from pyro_vae.processes import agreed

_SHORT = 20  # times fewer temperatures of the short annealing
_CHAINS = 32  # of the short annealing
_LEAST = 10  # temperatures
_SHARES = (4, 2, 1)  # of the long annealing: a quarter, half, all of its temperatures
_MARGIN = 1.1  # of a foretold error
_FEW = 32  # data that leave room for more chains,
_ENOUGH = 100  # which these temperatures at least serve
_GRADIENT = 3  # evaluations that one with its gradient costs, about


def short(most: int) -> Annealed:
    """The short annealing before one of `most` temperatures."""
    number = min(most, max(_LEAST, most // _SHORT))
    return Annealed(number, "refined", _CHAINS)


def needed(error: Tensor, target: float, most: int) -> Tensor:
    """Temperatures `(N,)` that bring the `error` of a short annealing down to a target, a quarter,
    half or all of `most`; an infinite error needs all.
    """
    before, chains = short(most), Annealed().num_chains
    work = before.num_temperatures * before.num_chains / chains
    asked = work * (_MARGIN * error / target) ** 2
    steps = torch.tensor([most // share for share in _SHARES], dtype=torch.double)
    return steps[torch.searchsorted(steps, asked.clamp(max=most).double())].long()


def are_few(num_data: int, number: int) -> bool:
    """Whether so many data take a quarter of the temperatures with four times the chains, the same
    work in fewer steps.
    """
    return num_data <= _FEW and number >= 4 * _ENOUGH


def long(number: int, num_data: int) -> Annealed:
    """An annealing of so many temperatures, or of its work."""
    method = Annealed(number, "refined")
    if not are_few(num_data, number):
        return method
    return Annealed(number // 4, "refined", 4 * method.num_chains)


def borne(clock: Clock, num_data: int, most: int) -> int:
    """Temperatures of so many data, as many as the time bears."""
    if clock.budget is None or not num_data:
        return most
    plan = Annealed(most).plan
    gradients = clock.bears(num_data) / _GRADIENT
    number = int(gradients / (plan.num_chains * plan.num_leapfrog)) - plan.pilot_moves
    return agreed(min(most, max(_LEAST, number)))
