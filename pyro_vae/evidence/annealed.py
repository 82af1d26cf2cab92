"""log p(x) by annealed importance sampling (AIS), from the prior or from a guide, up to the
posterior or down from it.

Upwards, the log of the mean of K weights is a *lower bound* of log p(x) in expectation, tight where
the chains keep up with the path, which more temperatures buy. Backwards from an exact draw of the
posterior, which only data have that the model itself has made, it is an *upper bound*
(`bidirectional.py`). All chains of a block of data move at once.

Each increment of a log-weight is a small step of many, so that log-weights are near normal: the
upper end of an interval is the higher one of the delta method's and of that of a normal log w
(`lognormal.py`).

References: Neal (2001); Wu, Burda, Salakhutdinov, Grosse (2017).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyro_vae.arguments import check_progress
from pyro_vae.evidence.chains import Setting, Stage, Tuning, anneal, pilot, schedule
from pyro_vae.evidence.estimate import Estimate
from pyro_vae.evidence.lognormal import (
    beyond_normal,
    normal_error,
    normal_mean,
    normal_upper,
    upper_level,
)
from pyro_vae.evidence.path import Path
from pyro_vae.evidence.scores import Engine, check_engine
from pyro_vae.evidence.scouts import missed
from pyro_vae.evidence.weights import ess, log_mean_exp, log_mean_exp_error
from pyro_vae.programs.checks import check_programs
from pyro_vae.programs.evaluation import evaluation
from pyro_vae.programs.inputs import check_budget, check_inputs, check_numbers
from pyro_vae.programs.parts import takes_parts
from pyro_vae.programs.traces import Program, prior

_ROWS = 2048  # chains of all data that move at once on a CPU
_ROWS_ON_GPU = 65_536
_WORTH_IT = 3_000_000  # evaluations, over all chains and data, from which on "auto" compiles
_WIDEST = 3.0  # nats; standard deviation of the log-weights above which an interval says nothing
_FEWEST = 10  # temperatures that any budget buys
_LONG = 120.0  # seconds of a budget from which on it bears a compiler


@dataclass(frozen=True)
class Annealed(Estimate):
    """Estimates by annealing: lower bounds in expectation, or upper ones where `upper`.

    Attributes:
        log_weights: `(K, N)`; of a reverse run those of 1 / p(x).
        acceptance: share of proposals taken in the scored run, `(N,)`.
        setting: temperatures, chains, leapfrog steps.
        start: "prior" or "guide".
        upper: whether the chains ran backwards.
        blind: whether a scout, or the prior's own draws, have found what the guide, from which the
            chains start, misses.
    """

    log_weights: Tensor
    acceptance: Tensor
    setting: Setting
    start: str
    upper: bool
    blind: Tensor

    @property
    def method(self) -> str:
        """Such as `AIS(T=1000, K=16, L=5) from the prior`."""
        temperatures, chains, leapfrog = self.setting
        name = "reverse AIS" if self.upper else "AIS"
        return f"{name}(T={temperatures}, K={chains}, L={leapfrog}) from the {self.start}"

    @property
    def reliable(self) -> Tensor:
        """Whether the log-weights spread over at most 3 nats (standard deviation), and the start
        misses no mode.
        """
        return (self.log_weights.std(0) <= _WIDEST) & ~self.blind

    @property
    def freedom(self) -> float:
        """K - 1."""
        return len(self.log_weights) - 1

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """As of every estimate upwards. Of a reverse run, open below, and above it by Markov's
        inequality: E[w] p(x) = 1.

        (All chains of a datum start at the same exact draw, whose own spread their error does not
        know.)
        """
        if self.upper:
            return torch.full_like(self.log_px, -math.inf), self.log_px - math.log1p(-level)
        delta, centre, above = (
            log_mean_exp_error(self.log_weights),
            self._centre(),
            upper_level(level),
        )
        upper = torch.maximum(
            centre + self._quantile(above) * delta, normal_upper(self.log_weights, above)
        )
        return centre - self._quantile(level) * delta, torch.where(self.reliable, upper, math.inf)

    def mean_interval(self, level: float = 0.95) -> tuple[float, float]:
        """The same of the mean over data, of which m + v / 2 has no noise to hide what is not
        normal behind.

        So the next two cumulants, k3 / 6 + k4 / 24, are added to its upper end where they are
        positive on average.
        """
        if self.upper:
            return -math.inf, self.mean - math.log1p(-level)
        delta = log_mean_exp_error(self.log_weights).square().sum().sqrt().item() / len(self.log_px)
        centre = self._centre().mean().item()
        normal = normal_mean(self.log_weights).mean().item() + beyond_normal(self.log_weights)
        quantile = self._quantile(upper_level(level))
        upper = max(centre + quantile * delta, normal + quantile * self.monte_carlo_error)
        return centre - self._quantile(level) * delta, upper if self.reliable.all() else math.inf

    def _centre(self) -> Tensor:
        delta = log_mean_exp_error(self.log_weights)
        return self.log_px + torch.where(self.reliable, delta**2 / 2, 0.0)

    def summary(self) -> dict[str, Any]:
        """Means over the data with standard errors over the data, by name."""
        health = {
            "acceptance": self.acceptance.mean().item(),
            "ess_median": ess(self.log_weights).median().item(),
        }
        return super().summary() | health


def by_annealing(
    model: Program,
    x: Tensor,
    index: Tensor | None = None,
    *,
    guide: Program | None = None,
    num_temperatures: int = 1000,
    num_chains: int = 16,
    num_leapfrog: int = 5,
    budget: float | None = None,
    seed: int = 0,
    engine: Engine = "auto",
    progress: Callable[[int], None] | None = None,
) -> Annealed:
    """Estimate log p(x) of each datum by annealed importance sampling: a lower bound in
    expectation.

    Args:
        model: Pyro program whose latents are real-valued.
        x: data `(N, *shape)`.
        index: rows of the dataset `(N,)`.
        guide: where the path starts; the model's prior unless given. A guide that is good saves
            temperatures, one that misses a mode costs more of them.
        num_temperatures: T.
        num_chains: K of each datum.
        num_leapfrog: L, steps of a trajectory, each an evaluation of the model and its gradient.
        budget: seconds; T is then what fits into them by the pilot run's speed, at most
            `num_temperatures` and at least 10, so that many data take longer than a small budget
            says.
        seed: of the noise; the caller's random state is untouched.
        engine: "compiled", "pyro" or "auto", as in `by_importance`.
        progress: called with the number of data done after each block.

    Raises:
        ValueError: numbers out of range, data that the model cannot score, latents that are not
            real-valued.

    Example:
        >>> from pyro_vae import LinearGaussian
        >>> by_annealing(LinearGaussian(5, 2), torch.randn(3, 5), num_temperatures=10).log_px.shape
        torch.Size([3])
    """
    setting = Setting(num_temperatures, num_chains, num_leapfrog)
    check_progress(progress)
    return run(
        model, guide, x, index, setting, budget=budget, seed=seed, engine=engine, progress=progress
    )


def run(
    model: Program,
    guide: Program | None,
    x: Tensor,
    index: Tensor | None,
    setting: Setting,
    *,
    exact: dict[str, Tensor] | None = None,
    budget: float | None = None,
    seed: int = 0,
    engine: Engine = "auto",
    progress: Callable[[int], None] | None = None,
) -> Annealed:
    """Anneal all data upwards, or downwards from `exact` latents as `simulate` makes them; options
    of `by_annealing`.
    """
    started, parts = time.monotonic(), []
    for block in blocks(
        model, guide, x, index, setting, exact=exact, budget=budget, seed=seed, engine=engine
    ):
        setting, total = block.setting, torch.zeros(())
        for stage in block.stages:
            total = total + stage.chance
        parts.append(
            (stage.log_w[:, : block.size], (total / setting.num_temperatures)[:, : block.size])
        )
        if progress is not None:
            progress(block.size)
    log_w, chance = (torch.cat(part, 1).double().cpu() for part in zip(*parts, strict=True))
    log_px = log_mean_exp(log_w) if exact is None else -log_mean_exp(log_w)
    error = torch.maximum(log_mean_exp_error(log_w), normal_error(log_w))
    blind = torch.zeros(len(log_px), dtype=torch.bool)
    if guide is not None and exact is None:
        x, index = check_inputs(model, guide, x, index)
        with evaluation(model, guide, device=x.device):
            blind = missed(model, guide, x, index, log_px, error, seed=seed)
    return Annealed(
        log_px=log_px,
        log_px_error=error,
        evaluations=setting.evaluations,
        seconds=time.monotonic() - started,
        seed=seed,
        log_weights=log_w,
        acceptance=chance.mean(0),
        setting=setting,
        start="prior" if guide is None else "guide",
        upper=exact is not None,
        blind=blind,
    )


def check_setting(setting: Setting, seed: int, engine: str) -> None:
    """Raise a ValueError for numbers out of range, or an engine that does not exist."""
    least = {"num_temperatures": 2, "num_chains": 2, "num_leapfrog": 1}
    check_numbers(
        {name: (value, least[name]) for name, value in setting._asdict().items()}
        | {"seed": (seed, 0)}
    )
    check_engine(engine)


class Block(NamedTuple):
    """Some of the data on their way: how many count, how they are annealed, and the stages."""

    size: int
    setting: Setting
    stages: Iterator[Stage]


def blocks(
    model: Program,
    guide: Program | None,
    x: Tensor,
    index: Tensor | None,
    setting: Setting,
    *,
    exact: dict[str, Tensor] | None = None,
    budget: float | None = None,
    seed: int = 0,
    engine: Engine = "auto",
) -> Iterator[Block]:
    """Blocks of data one after another, each with a pilot run before it; arguments as of `run`."""
    started = time.monotonic()
    check_setting(setting, seed, engine)
    check_budget(budget)
    x, index = check_inputs(model, guide, x, index)
    worth_it = len(x) * setting.evaluations >= _WORTH_IT and (budget is None or budget >= _LONG)
    compiled = engine == "compiled" or (engine == "auto" and worth_it)
    with evaluation(*filter(None, (model, guide)), device=x.device):
        check_programs(model, guide or prior(model), x, index)
        path = Path(model, guide, x, index, compiled, fallback=engine == "auto")
        z = None if exact is None else path.layout.pack_one(exact)
        whole = guide is not None and not takes_parts(guide, x, index)
        cuts = _cut(len(x), setting.num_chains, x.device, whole)
        for number, (rows, count) in enumerate(cuts):
            for_pilot, for_score = np.random.SeedSequence(
                [seed, number, exact is not None]
            ).generate_state(2, np.uint64)
            torch.manual_seed(int(for_pilot))
            tuning, pace = pilot(path, setting, x[rows], index[rows])
            if budget is not None and number == 0:
                setting = _within(setting, budget - (time.monotonic() - started), pace, len(cuts))
            torch.manual_seed(int(for_score))
            start = None if z is None else z[:, rows]
            yield Block(count, setting, _stages(path, setting, tuning, start, x[rows], index[rows]))


def _stages(
    path: Path, setting: Setting, tuning: Tuning, exact: Tensor | None, x: Tensor, index: Tensor
) -> Iterator[Stage]:
    """Upwards from draws of the path's start, or downwards from `exact` `(1, B, P)`."""
    betas = schedule(setting.num_temperatures)
    if exact is None:
        z = path.draw(x, index, setting.num_chains)
    else:
        z, betas = exact.repeat(setting.num_chains, 1, 1), betas[::-1]
    return anneal(path, path.at(z, x, index), betas, tuning, setting.num_leapfrog, x, index)


def _cut(
    num_data: int, num_chains: int, device: torch.device, whole: bool
) -> list[tuple[Tensor, int]]:
    """Rows of the data in blocks of one size, the last filled up with its last row, and how many of
    them count.
    """
    most = (
        num_data
        if whole
        else max(1, (_ROWS_ON_GPU if device.type == "cuda" else _ROWS) // num_chains)
    )
    size = math.ceil(num_data / math.ceil(num_data / most))
    rows = torch.arange(math.ceil(num_data / size) * size, device=device).clamp(max=num_data - 1)
    return [
        (part, min(size, num_data - number * size)) for number, part in enumerate(rows.split(size))
    ]


def _within(setting: Setting, seconds: float, pace: float, num_blocks: int) -> Setting:
    """As many temperatures as the seconds that are left allow, the pilot runs of the blocks to come
    taken off.
    """
    affordable = int((seconds / pace - (num_blocks - 1) * setting.pilot_moves) / num_blocks)
    return setting._replace(
        num_temperatures=min(setting.num_temperatures, max(_FEWEST, affordable))
    )
