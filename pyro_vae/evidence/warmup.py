"""How step sizes and scales of HMC's chains are learned: in windows, as Stan does, each lane (a
chain of a datum) for itself.

Step sizes go by dual averaging to where proposals are taken with a mean probability of 0.8. The
scales are the standard deviations of the draws of a window, shrunk to 1e-3 as Stan shrinks them;
the first draws (on the way to the posterior) and the last (for the step size) count for none.

References:
    Hoffman, Gelman (2014). The No-U-Turn sampler. arXiv:1111.4246, section 3.2.
    Stan Development Team. Stan reference manual, MCMC sampling: automatic parameter tuning.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_TARGET = 0.8
_FIRST = 0.1  # step size
_BEFORE, _WINDOW, _AFTER = 75, 25, 50  # transitions without scales, the first window, the end
_SHARES = 0.15, 0.1  # of the first and the last, where there are fewer transitions
_PULL, _DELAY, _FADE = 0.05, 10, 0.75  # gamma, t_0 and kappa of dual averaging


def windows(num_warmup: int) -> list[int]:
    """Numbers of transitions at which windows begin and end; at the last one the scales are
    settled.
    """
    if num_warmup < 20:
        return []
    first, last, width = _BEFORE, num_warmup - _AFTER, _WINDOW
    if first + width > last:
        first, last = (int(_SHARES[0] * num_warmup), num_warmup - int(_SHARES[1] * num_warmup))
        return [first, last]

    edges = [first]
    while edges[-1] < last:
        # a window that leaves no room for the next, twice as long, takes the rest
        edges.append(edges[-1] + width if edges[-1] + 3 * width <= last else last)
        width *= 2
    return edges


class Warmup:
    """Step sizes `(L,)` and scales `(L, P)` of L lanes, and how far they have been learned.

    Args:
        like: latents `(L, P)`.
        num_warmup: transitions in which they are learned.
    """

    def __init__(self, like: Tensor, num_warmup: int) -> None:
        lanes = like.new_zeros(len(like))
        self.num_warmup, self.edges = num_warmup, windows(num_warmup)
        self.step, self.scale = lanes + _FIRST, torch.ones_like(like)
        self.done = lanes.long()

        self._centre = (10 * self.step).log()
        self._error, self._mean_log, self._steps = lanes.clone(), lanes.clone(), lanes.clone()
        self._mean, self._square = torch.zeros_like(like), torch.zeros_like(like)
        self._draws = lanes.clone()

    def learn(self, rows: Tensor, z: Tensor, chance: Tensor) -> None:
        """Look at the transitions of some lanes, at their draws `(M, P)` and mean probabilities
        `(M,)`.
        """
        warm = self.done[rows] < self.num_warmup
        self.done[rows] += 1
        rows, z, chance = rows[warm], z[warm], chance[warm]
        if not len(rows):
            return

        self._learn_step(rows, chance)
        done = self.done[rows]
        if self.edges:
            inside = (done > self.edges[0]) & (done <= self.edges[-1])
            self._learn_scale(rows[inside], z[inside])
            ends = torch.tensor(self.edges[1:], device=done.device)
            self._close(rows[torch.isin(done, ends)])
        last = rows[done == self.num_warmup]
        self.step[last] = self._mean_log[last].exp()

    def _learn_step(self, rows: Tensor, chance: Tensor) -> None:
        """One step of dual averaging."""
        count = self._steps[rows] + 1
        share = 1 / (count + _DELAY)
        error = (1 - share) * self._error[rows] + share * (_TARGET - chance)
        log_step = self._centre[rows] - count.sqrt() / _PULL * error

        fade = count**-_FADE
        self._steps[rows], self._error[rows] = count, error
        self._mean_log[rows] = fade * log_step + (1 - fade) * self._mean_log[rows]
        self.step[rows] = log_step.exp()

    def _learn_scale(self, rows: Tensor, z: Tensor) -> None:
        """Mean and sum of squares of one more draw, by Welford's rule."""
        self._draws[rows] += 1
        away = z - self._mean[rows]
        self._mean[rows] += away / self._draws[rows][:, None]
        self._square[rows] += away * (z - self._mean[rows])

    def _close(self, rows: Tensor) -> None:
        """Take a window's scales, and begin another one; steps in z stay as long as they were."""
        count = self._draws[rows][:, None]
        variance = self._square[rows] / (count - 1)
        scale = ((count * variance + 5e-3) / (count + 5)).sqrt()
        longer = (self.scale[rows] / scale).log().mean(-1)

        self.scale[rows] = scale
        log_step = self._mean_log[rows] + longer
        self.step[rows], self._centre[rows] = log_step.exp(), log_step + math.log(10)
        for value in (self._error, self._mean_log, self._steps, self._mean, self._square):
            value[rows] = 0.0
        self._draws[rows] = 0.0
