"""log p(x) by annealed importance sampling (AIS), from the prior or from a guide, up to the
posterior or down from it.

Upwards, the log of the mean of K weights is a *lower bound* of log p(x) in expectation, tight where
the chains keep up with the path, which more temperatures buy. Backwards from an exact draw of the
posterior, which only data have that the model itself has made, it is an *upper bound*
(`bidirectional.py`). All chains of a block of data move at once.

References:
    Neal (2001). Annealed importance sampling. arXiv:physics/9803008.
    Wu, Burda, Salakhutdinov, Grosse (2017). On the quantitative analysis of decoder-based
        generative models. arXiv:1611.04273.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyro_vae.arguments import check_choice
from pyro_vae.evidence.annealed_estimate import AnnealedEstimate
from pyro_vae.evidence.chains import LOGISTIC, Plan, Spacing, Stage, Tuning, anneal, pilot
from pyro_vae.evidence.gaussians import Around, Gaussians
from pyro_vae.evidence.lognormal import normal_error
from pyro_vae.evidence.method import Method
from pyro_vae.evidence.path import Path
from pyro_vae.evidence.refining import fitted, starts
from pyro_vae.evidence.scouts import Climbs, missed
from pyro_vae.evidence.weights import log_mean_exp, log_mean_exp_error
from pyro_vae.graphs import Engine, Guard, check_engine
from pyro_vae.processes import agreed, dealt, gathered
from pyro_vae.programs.inputs import check_budget, check_numbers
from pyro_vae.programs.pair import Latents, Pair
from pyro_vae.programs.parts import even_blocks
from pyro_vae.progress import Progress, over, shares, tell

_ROWS = 2048  # chains of all data that move at once on a CPU
_ROWS_ON_GPU = 65_536
_FEWEST = 10  # temperatures that any budget buys
_LONG = 120.0  # seconds of a budget from which on it bears a compiler

Start = Literal["guide", "prior", "refined"]


@dataclass(frozen=True)
class Annealed(Method[AnnealedEstimate]):
    """Annealed importance sampling: a lower bound of log p(x) in expectation.

    Attributes:
        num_temperatures: T, from the start to the posterior.
        start: where the path begins, at the "guide", the "prior", or at a Gaussian that is
            "refined" from the guide for each datum, as by `Refined`. What is near the posterior
            saves temperatures, what misses a mode costs more of them.
        num_chains: K of each datum.
        num_leapfrog: L, steps of a trajectory, each an evaluation of the model and its gradient.
        budget: seconds; T is then what fits into them by the pilot run's speed, at most
            `num_temperatures` and at least 10: many data take longer than a small budget.
        seed: of the noise; the caller's random state is untouched.
        engine: "compiled", "pyro" or "auto", as in `Importance`.
    """

    num_temperatures: int = 1000
    start: Start = "guide"
    num_chains: int = 16
    num_leapfrog: int = 5
    budget: float | None = None
    seed: int = 0
    engine: Engine = "auto"

    def __post_init__(self) -> None:
        least = {"num_temperatures": 2, "num_chains": 2, "num_leapfrog": 1, "seed": 0}
        check_numbers({name: (getattr(self, name), number) for name, number in least.items()})
        check_choice("start", self.start, Start)
        check_budget(self.budget)
        check_engine(self.engine)

    @property
    def uses_guide(self) -> bool:
        return self.start != "prior"

    @property
    def plan(self) -> Plan:
        """Temperatures, chains and leapfrog steps."""
        return Plan(self.num_temperatures, self.num_chains, self.num_leapfrog)

    def __call__(self, pair: Pair, progress: Progress | None = None) -> AnnealedEstimate:
        return annealed(self, pair, progress=progress)


def annealed(
    options: Annealed,
    pair: Pair,
    *,
    exact: Latents | None = None,
    shape: Gaussians | None = None,
    climbs: Climbs | None = None,
    progress: Progress | None = None,
) -> AnnealedEstimate:
    """Anneal all data of a pair upwards, or downwards from `exact` latents, as `simulate` makes
    them; from Gaussians where a `shape` is given. Scouts that have climbed already need not again.
    """
    started, own = time.monotonic(), {}
    start = _start(options, pair, shape)
    if start == "refined" and shape is None:
        shape = fitted(pair, starts(pair, options.seed), options.seed, options.engine)

    looks = start != "prior" and exact is None
    annealing, scouting = shares(progress, 9, 1 if looks else 0)
    late = time.monotonic() - started  # by which the budget is shorter
    on = pair if shape is None else pair.under(None)  # a guide may answer only for all data
    for block in blocks(options, on, exact=exact, shape=shape, progress=annealing, late=late):
        total = torch.zeros(())
        for stage in block.stages:
            total = total + stage.chance
        found = stage.log_w, total / block.plan.num_temperatures
        own[block.number] = block.plan, *(part[:, : block.size].double().cpu() for part in found)

    plans, *parts = zip(*gathered(own, num_blocks(options, on)), strict=True)
    log_w, chance = (torch.cat(part, 1) for part in parts)
    log_px = log_mean_exp(log_w) if exact is None else -log_mean_exp(log_w)
    error = torch.maximum(log_mean_exp_error(log_w), normal_error(log_w))
    blind = torch.zeros(len(log_px), dtype=torch.bool)
    if looks:
        blind = missed(
            pair,
            log_px,
            error,
            seed=options.seed,
            shape=shape,
            climbs=climbs,
            engine=options.engine,
        )
    tell(scouting, 1.0)
    return AnnealedEstimate(
        log_px=log_px,
        log_px_error=error,
        evaluations=plans[0].evaluations,
        seconds=time.monotonic() - started,
        seed=options.seed,
        log_weights=log_w,
        acceptance=chance.mean(0),
        plan=plans[0],
        start=start,
        upper=exact is not None,
        blind=blind,
    )


def _start(options: Annealed, pair: Pair, shape: Gaussians | None) -> Start:
    if shape is not None:
        return "refined"
    return "prior" if pair.given is None else options.start


class Block(NamedTuple):
    """Some of the data on their way, and how many of them count."""

    number: int
    size: int
    plan: Plan
    stages: Iterator[Stage]


def blocks(
    options: Annealed,
    pair: Pair,
    *,
    exact: Latents | None = None,
    shape: Gaussians | None = None,
    progress: Progress | None = None,
    spacing: Spacing = LOGISTIC,
    late: float = 0.0,
) -> Iterator[Block]:
    """Blocks of data one after another, each with a pilot run before it; of several processes each
    has some of them, and takes as many temperatures as the first one. Arguments as in `annealed`,
    and how the temperatures are spread.
    """
    started, plan, budget = time.monotonic() - late, options.plan, options.budget
    cuts = _cut(pair, plan.num_chains)
    mine = dealt(len(cuts))
    guard = _guard(options, len(cuts), len(cuts[0][0]) * plan.num_chains)
    path = Path(pair, guard) if shape is None else Around(pair, shape, guard)
    z = None if exact is None else path.place(path.layout.of_one_run(exact))

    for number, told in zip(mine, shares(progress, *[1] * len(mine)), strict=True):
        rows, size = cuts[number]
        piloting, annealing = shares(told, plan.pilot_moves, plan.num_temperatures)
        noise = np.random.SeedSequence([options.seed, number, exact is not None])
        for_pilot, for_score = noise.generate_state(2, np.uint64)
        part = path.take(rows)

        torch.manual_seed(int(for_pilot))
        tuning, pace = pilot(part, plan, piloting, spacing)

        if budget is not None and number == mine[0]:
            left = budget - (time.monotonic() - started)
            plan = agreed(_within(plan, left, pace, len(mine)))
        torch.manual_seed(int(for_score))
        stages = _stages(part, plan, tuning, None if z is None else z[:, rows])
        yield Block(number, size, plan, over(stages, plan.num_temperatures, annealing))

    if budget is not None and not mine:
        agreed(plan)


def num_blocks(options: Annealed, pair: Pair) -> int:
    """How many blocks there are, of all processes together."""
    return len(_cut(pair, options.num_chains))


def _guard(options: Annealed, num_blocks: int, rows: int) -> Guard:
    """Who evaluates the path: Pyro where a budget is too short for a compiler."""
    short = options.engine == "auto" and options.budget is not None and options.budget < _LONG
    calls = num_blocks * options.plan.evaluations / options.num_chains
    return Guard("pyro" if short else options.engine, calls, rows)


def _stages(path: Path, plan: Plan, tuning: Tuning, exact: Tensor | None) -> Iterator[Stage]:
    """Upwards from draws of the path's start, or downwards from `exact` `(1, B, P)`."""
    betas = tuning.spacing.betas(plan.num_temperatures)
    if exact is None:
        z = path.draw(plan.num_chains)
    else:
        z, betas = exact.repeat(plan.num_chains, 1, 1), betas[::-1]
    return anneal(path, path.at(z), betas, tuning, plan.num_leapfrog)


def _cut(pair: Pair, num_chains: int) -> list[tuple[Tensor, int]]:
    """Blocks of one size for so many chains of each datum; all data where the guide answers only
    for all.
    """
    at_once = _ROWS_ON_GPU if pair.x.is_cuda else _ROWS
    most = len(pair) if pair.is_whole else max(1, at_once // (num_chains * pair.states))
    return even_blocks(len(pair), most, pair.x.device)


def _within(plan: Plan, seconds: float, pace: float, num_blocks: int) -> Plan:
    """As many temperatures as the seconds that are left allow, the pilot runs to come taken off."""
    affordable = int((seconds / pace - (num_blocks - 1) * plan.pilot_moves) / num_blocks)
    return plan._replace(num_temperatures=min(plan.num_temperatures, max(_FEWEST, affordable)))
