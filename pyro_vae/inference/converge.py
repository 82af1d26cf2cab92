"""Classical VI until each datum has converged: thousands of data in one vectorised program, each at
its own pace.

Given the model, data are independent, so that the rows of a table of parameters are optimised side
by side by Adam with a learning rate, moments and a count of steps for each row. Whether a row still
gains is read off the mean of its own noisy ELBO over windows of steps:

    a row whose window mean has not risen above its best for some windows takes the next, lower
    rate; at the lowest rate it is frozen at the average of its values over those windows, about
    which its noise moves.

The gradient goes through the draws alone (Roeder et al.): its noise vanishes where the family holds
the posterior. What noise is left keeps the ELBO short of its maximum, by an amount that falls as
one over the number of draws in that average (0.03 nats for mean-field with 50 units and one draw a
step), so that `num_particles` buys precision.

When half of the rows are frozen the rest go on in a batch of half the size.

References:
    Roeder, Wu, Duvenaud (2017). Sticking the landing: simple, lower-variance gradient estimators
        for variational inference. arXiv:1703.09194.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vae.graphs import Guard
from pyro_vae.inference.failure import NonFiniteLoss
from pyro_vae.programs.adam import Moments, adam
from pyro_vae.programs.evaluation import evaluation
from pyro_vae.programs.traces import Program, log_joint, plate_depth, sample_guide
from pyro_vae.progress import Progress, tell

WINDOW = 25
PATIENCE = (4, 4, 4, 4, 16)  # windows without a better one, at each rate
RATES = (1.0, 0.3, 0.1, 0.03, 0.01)  # times the learning rate
_AT_ONCE = 8  # particles scored at once
_SMALLEST = 8  # batches are not halved below an eighth of the data

Given = Callable[[Tensor], Program]
"""From rows `(B, P)` to the guide of B data with these parameters."""


@dataclass(frozen=True)
class Rows:
    """Where the rows ended.

    Attributes:
        table: parameters `(N, P)`.
        num_steps: steps that each datum took, `(N,)`.
        num_evaluations: times that the model scored each datum for a gradient, `(N,)`: steps by
            draws.
        converged: whether it was frozen by its own test, `(N,)`; else the steps ran out.
        seconds: wall clock for all data together.
    """

    table: Tensor
    num_steps: Tensor
    num_evaluations: Tensor
    converged: Tensor
    seconds: float

    def or_where(self, better: Tensor, other: Rows) -> Rows:
        """This one, or another run of the same data where that is `better` `(N,)`, and what both of
        them took.
        """
        return Rows(
            torch.where(better[:, None], other.table, self.table),
            self.num_steps + other.num_steps,
            self.num_evaluations + other.num_evaluations,
            torch.where(better, other.converged, self.converged),
            self.seconds + other.seconds,
        )


def converge(
    model: Program,
    given: Given,
    table: Tensor,
    x: Tensor,
    index: Tensor | None = None,
    *,
    learning_rate: float = 0.1,
    num_particles: int = 1,
    max_steps: int = 10_000,
    guard: Guard | None = None,
    progress: Progress | None = None,
) -> Rows:
    """Maximise each datum's ELBO over its row of `table` `(N, P)`, the model as it is and in eval
    mode.

    Args:
        model: Pyro program.
        given: the guide of some rows.
        table: where to start.
        x: data `(N, *shape)`, row n of the table for datum n.
        index: what the model gets as their numbers `(N,)`; 0..N-1 unless given.
        learning_rate: of the first of the rates that a row goes through.
        num_particles: draws of each datum in a step.
        max_steps: most steps of a datum.
        guard: who runs the step; Pyro unless given.
        progress: called with the share of the way that the rows have gone, from 0 to 1.

    Raises:
        NonFiniteLoss: a row became NaN or infinite.
    """
    started = time.monotonic()
    index = torch.arange(len(x), device=x.device) if index is None else index
    run = _Run(model, given, table, x, index, num_particles, max_steps, learning_rate)
    step: Callable[..., Any] = run.step if guard is None else guard(run.step, model)

    with evaluation(model, device=x.device):
        run.depth = plate_depth(model, given(table[:2]), x[:2], index[:2])
        while len(run.active):
            run.window(step)
            if progress is not None:
                progress(run.share())
    tell(progress, 1.0)

    spent, seconds = num_particles * run.num_steps, time.monotonic() - started
    return Rows(run.table, run.num_steps, spent, run.converged, seconds)


def elbo(
    model: Program,
    given: Given,
    table: Tensor,
    x: Tensor,
    index: Tensor,
    seed: int,
    num_particles: int = 128,
) -> Tensor:
    """Each datum's ELBO at its row of the table, `(N,)` nats, by draws of this seed."""
    total = torch.zeros(len(x), dtype=torch.double, device=x.device)

    with evaluation(model, device=x.device, seed=seed):
        depth = plate_depth(model, given(table[:2]), x[:2], index[:2])
        for _ in range(num_particles // _AT_ONCE):
            latents, log_guide = sample_guide(given(table), x, index, _AT_ONCE, depth)
            log_prior, log_likelihood = log_joint(model, latents, x, index, depth)
            total += (log_prior + log_likelihood - log_guide).double().sum(0)
    return total / (num_particles // _AT_ONCE * _AT_ONCE)


class _Run:
    """The state of all rows `(N, ...)`, and of those in the batch."""

    def __init__(
        self,
        model: Program,
        given: Given,
        table: Tensor,
        x: Tensor,
        index: Tensor,
        num_particles: int,
        max_steps: int,
        rate: float,
    ) -> None:

        self.model, self.given, self.x, self.index = model, given, x, index
        self.num_particles, self.max_steps, self.depth = num_particles, max_steps, 1
        self.rates = rate * torch.tensor([*RATES, 0.0], dtype=table.dtype, device=table.device)
        self.patience = torch.tensor(PATIENCE, device=table.device)

        num_data, device = len(table), table.device
        self.table = table.detach().clone()
        self.moments = Moments.of(self.table)
        self.num_steps = torch.zeros(num_data, dtype=torch.long, device=device)
        self.converged = torch.zeros(num_data, dtype=torch.bool, device=device)

        self.best = torch.full((num_data,), -math.inf, dtype=table.dtype, device=device)
        self.stale = torch.zeros(num_data, dtype=torch.long, device=device)
        self.level = torch.zeros(num_data, dtype=torch.long, device=device)
        self.total = torch.zeros_like(self.table)  # of the rows, in the windows since the best one
        self.windows = torch.zeros_like(self.num_steps)  # how many these are

        self.active = torch.arange(num_data, device=device)
        self.size = num_data

    def step(
        self,
        rows: Tensor,
        first: Tensor,
        second: Tensor,
        count: Tensor,
        rate: Tensor,
        x: Tensor,
        index: Tensor,
    ) -> list[Tensor]:
        """A step of Adam up the ELBO of each row: the rows and moments after it, and the ELBO
        before it, `(B,)`.
        """
        with torch.enable_grad():
            rows = rows.detach().requires_grad_()
            latents, _ = sample_guide(self.given(rows), x, index, self.num_particles, self.depth)
            log_guide, _ = log_joint(self.given(rows.detach()), latents, x, index, self.depth)
            log_prior, log_likelihood = log_joint(self.model, latents, x, index, self.depth)
            # its gradient goes through the draws alone
            elbo = (log_prior + log_likelihood - log_guide).mean(0)
            (gradient,) = torch.autograd.grad(elbo.sum(), rows)

        count = (count + 1)[:, None].to(rows.dtype)
        move, moments = adam(gradient, Moments(first, second), count)
        return [rows.detach() + rate[:, None] * move, *moments, elbo.detach()]

    def window(self, step: Callable[..., Any]) -> None:
        """`WINDOW` steps of the rows in the batch, then judge each."""
        batch = self._batch()
        x, index = self.x[batch], self.index[batch]
        count, rate = self.num_steps[batch], self.rates[self.level[batch]]
        rows, first, second = (t[batch] for t in (self.table, *self.moments))
        mean, total = torch.zeros_like(self.best[batch]), torch.zeros_like(rows)

        for number in range(WINDOW):
            rows, first, second, elbo = step(rows, first, second, count + number, rate, x, index)
            mean += elbo / WINDOW
            total += rows

        if not torch.isfinite(rows).all():
            raise NonFiniteLoss("the guide's parameters became non-finite: lower the learning rate")

        some = slice(len(self.active))
        wholes = (self.table, *self.moments)
        for whole, part in zip(wholes, (rows, first, second), strict=True):
            whole[self.active] = part[some]
        self.num_steps[self.active] += WINDOW
        self._judge(mean[some], total[some])

    def share(self) -> float:
        """How far the rows have come, on average: by the rates that they have had, or by steps."""
        rates, steps = self.level / len(RATES), self.num_steps / self.max_steps
        return torch.maximum(rates, steps).mean().item()

    def _batch(self) -> Tensor:
        """The active rows, and copies of the first up to one of few sizes, since each size is a
        graph of its own.
        """
        smallest = math.ceil(len(self.table) / _SMALLEST)
        while 2 * len(self.active) <= self.size and self.size > smallest:
            self.size = math.ceil(self.size / 2)
        return torch.cat([self.active, self.active[:1].expand(self.size - len(self.active))])

    def _judge(self, mean: Tensor, total: Tensor) -> None:
        """Lower the rates of rows that gain no more, and freeze those that have had the lowest."""
        at = self.active
        better = mean > self.best[at]
        self.best[at] = torch.maximum(mean, self.best[at])
        self.stale[at] = torch.where(better, 0, self.stale[at] + 1)
        self.total[at] = torch.where(better[:, None], total, self.total[at] + total)
        self.windows[at] = torch.where(better, 1, self.windows[at] + 1)

        done = self.stale[at] >= self.patience[self.level[at]]
        frozen = done & (self.level[at] == len(RATES) - 1)
        average = self.total[at] / (WINDOW * self.windows[at])[:, None]
        self.table[at[frozen]] = average[frozen]
        self.converged[at[frozen]] = True

        self.level[at] += done
        self.stale[at[done]] = 0
        self.total[at[done]] = 0.0
        self.windows[at[done]] = 0
        self.active = at[~frozen & (self.num_steps[at] < self.max_steps)]
