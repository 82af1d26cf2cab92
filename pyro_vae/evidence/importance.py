"""log p(x) by importance sampling, with the guide as the proposal.

    log p_hat(x) = log (1/S) sum_s p(x, z_s) / q(z_s | x),   z_s ~ q(. | x)

p_hat is unbiased, so its log is a *lower bound* of log p(x) in expectation (Burda et al.), by about
half its squared error. The same draws give the ELBO, the rate and the distortion. Weights cannot
say whether there is a mode from which the guide never draws: scouts, and the prior's own draws,
look for one (`scouts.py`). A discrete latent has weights on atoms, without a tail to be judged by.

A guide that misses part of the posterior has weights of infinite variance. With `defensive` a share
a of the particles comes from the prior, and all of them are weighed against the mixture
(1 - a) q + a p(z): no weight is then above p(x | z) / a (Hesterberg). The price is the particles
that the prior wastes.

Memory and noise have different blocks. The guide draws its latents, which are small, in blocks
fixed by the number of particles, each with a seed of its own; the model then scores them in chunks
as large as the byte budget allows. So a result depends on the seed and not on the budget. Only the
log-densities of one block of data (16 where S is in the thousands) are held for all S particles;
k-hat needs them. Several processes deal these blocks out.

Both programs run compiled (`scores.py`) where there is enough to do to pay for it.

References:
    Burda, Grosse, Salakhutdinov (2016). Importance weighted autoencoders. arXiv:1509.00519.
    Hesterberg (1995). Weighted average importance sampling and defensive mixture distributions.
        Technometrics 37, doi:10.1080/00401706.1995.10484303.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import check_choice, check_number, check_positive
from pyro_vae.evidence.importance_estimate import ImportanceEstimate, statistics_of
from pyro_vae.evidence.method import Method
from pyro_vae.evidence.scores import Precision, Scores
from pyro_vae.evidence.scouts import NUM_SCOUTS, missed
from pyro_vae.evidence.tails import FEWEST
from pyro_vae.graphs import Engine, check_engine
from pyro_vae.processes import agreed, dealt, gathered
from pyro_vae.programs.evaluation import seed_noise
from pyro_vae.programs.inputs import check_budget, check_numbers
from pyro_vae.programs.pair import Pair
from pyro_vae.programs.traces import Particles
from pyro_vae.progress import Progress, over, shares, tell

_ROWS = 131_072  # latents drawn in one run of the guide
_DATA = 4_096  # most data of one block
_MORE = 4  # times as many particles for data whose error is too large
_MOST = 10_000_000
_TARGET = 0.01  # nats, where a budget is given and no target


@dataclass(frozen=True)
class Importance(Method[ImportanceEstimate]):
    """Importance sampling from the guide: a lower bound of log p(x) in expectation.

    Attributes:
        num_particles: S, particles per datum; the first of more, with a target or a budget.
        defensive: share of the particles that the prior draws, 0 to 1 without 1.
        target_error: nats; data whose error is larger, or not vouched for, get four times as many
            particles, and again, up to ten million.
        budget: seconds, about, in which that is to end; with a target of 0.01 unless given.
        num_scouts: climbs from the prior of each datum, in search of a mode that the guide misses;
            they need continuous latents, and 200 particles or more, without which no interval is
            closed anyway. 0 for none, and no look at what the prior's own draws weigh: intervals
            are closed then by the weights alone.
        seed: of the particles' noise; the caller's random state is untouched.
        max_bytes: bound on the model's largest tensors at any time, about; changes the speed and
            not the result. 16 MiB on a CPU (its caches decide) and 1 GiB on a GPU unless given.
        engine: "compiled" runs the programs as compiled graphs, "pyro" as they are, "auto" compiles
            where that pays and can be done. The noise is the same.
        precision: "bfloat16" runs the model's matrix products in it. Faster where the processor has
            them, and *biased*: it belongs to exploration, not to a figure that is reported.
    """

    num_particles: int = 5000
    defensive: float = 0.0
    target_error: float | None = None
    budget: float | None = None
    num_scouts: int = NUM_SCOUTS
    seed: int = 0
    max_bytes: int | None = None
    engine: Engine = "auto"
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        least = {"num_particles": 1, "num_scouts": 0, "seed": 0}
        least |= {} if self.max_bytes is None else {"max_bytes": 1}
        check_numbers({name: (getattr(self, name), number) for name, number in least.items()})
        check_number("defensive", self.defensive, least=0, below=1, expected="a share >= 0 and < 1")
        if self.target_error is not None:
            check_positive("target_error", self.target_error)
        check_budget(self.budget)
        check_engine(self.engine)
        check_choice("precision", self.precision, Precision)

    def __call__(self, pair: Pair, progress: Progress | None = None) -> ImportanceEstimate:
        if self.target_error is None and self.budget is None:
            return _once(self, pair, progress)
        return _refined(self, pair, progress)


def _once(options: Importance, pair: Pair, progress: Progress | None = None) -> ImportanceEstimate:
    """The estimate by S particles of each datum."""
    started = time.monotonic()
    num_particles = options.num_particles
    if options.defensive:
        pair.check_density()

    many = num_particles > _ROWS
    size = max(1, 8 * _ROWS // num_particles) if many else max(16, _DATA // num_particles)
    places = pair.blocks(size)
    width = len(places[0])
    programs = Scores(
        pair,
        width,
        _per_block(width, num_particles),
        num_particles * len(pair),
        engine=options.engine,
        precision=options.precision,
        defensive=options.defensive,
        max_bytes=options.max_bytes,
    )

    own: dict[int, dict[str, Tensor]] = {}
    weighing, scouting = shares(progress, 2, 1)
    mine = dealt(len(places))
    for block in over(mine, len(mine), weighing):
        draws = zip(*_draws(programs, options, pair.take(places[block]), block), strict=True)
        own[block] = statistics_of(Particles(*(torch.cat(parts) for parts in draws)))
    done = gathered(own, len(places))
    found = {name: torch.cat([part[name] for part in done]) for name in done[0]}

    blind = torch.full((len(pair),), pair.has_discrete())
    if num_particles >= 2 * FEWEST and not blind.any():
        log_px, error = found["log_px"], found["log_px_error"]
        blind = missed(pair, log_px, error, options.num_scouts, options.seed, engine=options.engine)
    tell(scouting, 1.0)
    return ImportanceEstimate(
        **found,  # type: ignore[arg-type]
        blind=blind,
        num_particles=num_particles,
        evaluations=num_particles,
        seconds=time.monotonic() - started,
        seed=options.seed,
    )


def _per_block(num_data: int, num_particles: int) -> int:
    """Particles of a noise block of so many data."""
    return min(max(1, _ROWS // num_data), num_particles)


def _draws(programs: Scores, options: Importance, pair: Pair, block: int) -> Iterator[Particles]:
    """The log-densities of a block of data, one noise block after another."""
    num_particles = options.num_particles
    size = _per_block(len(pair), num_particles)
    for number, start in enumerate(range(0, num_particles, size)):
        seed_noise(options.seed, block, number)
        yield programs.particles(pair, min(size, num_particles - start))


def _refined(
    options: Importance, pair: Pair, progress: Progress | None = None
) -> ImportanceEstimate:
    """With four times the particles, drawn afresh, for data whose error is above the target.

    An error that is not vouched for is above every target. Data whose weights are `blind` get no
    more particles: a guide that misses something needs another guide, or a `defensive` share,
    before it needs more draws. It stops when no datum is left, when the next round would not end
    within the budget by the last one's pace, or at ten million particles.
    """
    started, budget = time.monotonic(), options.budget
    target = _TARGET if options.target_error is None else options.target_error
    # how many rounds there will be is not known: each is half of what is left
    first, left = shares(progress, 1, 1)
    found = _once(options, pair, first)
    num_particles = options.num_particles
    pace = found.seconds / (len(pair) * num_particles)
    particles = torch.full((len(pair),), float(num_particles))

    for again in range(1, 100):
        enough = (found.log_px_error <= target) & (found.reliable | found.blind)
        todo = (~enough).nonzero().flatten().to(pair.x.device)
        if 0 < len(todo) < len(pair) and pair.is_whole:
            todo = torch.arange(len(pair), device=pair.x.device)

        num_particles *= _MORE
        costs = pace * len(todo) * num_particles
        late = budget is not None and time.monotonic() - started + costs > budget
        if agreed(not len(todo) or num_particles > _MOST or late):
            break

        more = replace(options, num_particles=num_particles, seed=options.seed + again)
        now, left = shares(left, 1, 1)
        part = _once(more, pair.take(todo), now)
        pace = part.seconds / (len(todo) * num_particles)
        particles[todo.cpu()] += num_particles
        blind = found.blind
        found = _replaced(found, part, todo.cpu())
        found = replace(found, blind=found.blind | blind)

    tell(left, 1.0)
    seconds = time.monotonic() - started
    return replace(found, evaluations=particles.mean().item(), seconds=seconds)


def _replaced(
    whole: ImportanceEstimate, part: ImportanceEstimate, rows: Tensor
) -> ImportanceEstimate:
    """An estimate with some of its data taken from another; its S is the smaller one."""
    merged: dict[str, Any] = {}
    for field in fields(whole):
        value = getattr(whole, field.name)
        if isinstance(value, Tensor):
            merged[field.name] = value.index_copy(0, rows, getattr(part, field.name))
    return replace(whole, **merged)
