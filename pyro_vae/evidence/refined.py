"""log p(x) by importance sampling from a Gaussian that is fitted to each datum's posterior.

    q(z | x) = N(m, (c R)(c R)^T),    log p_hat(x) = log (1/S) sum_s p(x, z_s) / q(z_s | x)

m and R maximise the ELBO, from what the guide says of x on (`refining.py`). An encoder pays for its
speed, and a mean-field family for its independence; a full-rank Gaussian of each datum's own pays
for neither, and its weights are often light where the guide's are not.

What maximises the ELBO is narrower than the posterior, so that its weights have a tail. Draws are
therefore spread c = 1 + 0.6 / sqrt(P) times as wide, P the number of latents: where the posterior
is Gaussian that costs not quite half of the effective draws, whatever P is.

The estimate is a *lower bound* of log p(x) in expectation, whatever q is, since the draws that are
weighed are none of those that it was fitted by.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vae.evidence.gaussians import Gaussians, standard_normal
from pyro_vae.evidence.importance_estimate import ImportanceEstimate, statistics_of
from pyro_vae.evidence.method import Method
from pyro_vae.evidence.path import Path
from pyro_vae.evidence.refining import NUM_DRAWS, NUM_STEPS, fitted, starts
from pyro_vae.evidence.scouts import NUM_SCOUTS, Climbs, missed
from pyro_vae.evidence.tails import FEWEST
from pyro_vae.graphs import Engine, Guard, check_engine
from pyro_vae.processes import dealt, gathered
from pyro_vae.programs.evaluation import seed_noise
from pyro_vae.programs.inputs import check_numbers
from pyro_vae.programs.pair import Pair
from pyro_vae.programs.parts import even_blocks
from pyro_vae.programs.traces import Particles
from pyro_vae.progress import Progress, over, shares, tell

_WIDER = 0.6  # how much, times sqrt(P)
_DATA = 16  # most data of one block
_BYTES, _BYTES_ON_GPU = 2**24, 2**30  # of the model's largest tensors, about


@dataclass(frozen=True)
class Refined(Method[ImportanceEstimate]):
    """Importance sampling from a Gaussian fitted to each datum's posterior: a lower bound of
    log p(x) in expectation.

    The latents must be continuous. The Gaussian is full-rank up to 128 latents, and of independent
    values beyond.

    Attributes:
        num_particles: S, particles per datum.
        num_steps: of the fit.
        num_draws: of each datum in a step of the fit.
        num_scouts: climbs from the prior of each datum, as in `Importance`.
        seed: of the fit and of the particles; the caller's random state is untouched.
        engine: "compiled", "pyro" or "auto", as in `Importance`.
    """

    num_particles: int = 5000
    num_steps: int = NUM_STEPS
    num_draws: int = NUM_DRAWS
    num_scouts: int = NUM_SCOUTS
    seed: int = 0
    engine: Engine = "auto"

    def __post_init__(self) -> None:
        least = {"num_particles": 1, "num_steps": 1, "num_draws": 1, "num_scouts": 0, "seed": 0}
        check_numbers({name: (getattr(self, name), number) for name, number in least.items()})
        check_engine(self.engine)

    def __call__(self, pair: Pair, progress: Progress | None = None) -> ImportanceEstimate:
        started = time.monotonic()
        fitting, weighing = shares(progress, 1, 1)
        shape = fitted(
            pair,
            starts(pair, self.seed),
            self.seed,
            self.engine,
            num_steps=self.num_steps,
            num_draws=self.num_draws,
            progress=fitting,
        )
        return weighed(self, pair, shape, started=started, progress=weighing)


def weighed(
    options: Refined,
    pair: Pair,
    shape: Gaussians,
    *,
    climbs: Climbs | None = None,
    started: float | None = None,
    progress: Progress | None = None,
) -> ImportanceEstimate:
    """The estimate by draws of Gaussians that have been fitted; scouts that have climbed already
    need not again.
    """
    started = time.monotonic() if started is None else started
    number, spent = options.num_particles, options.num_steps * options.num_draws
    weighing, scouting = shares(progress, 4, 1)
    found = _statistics(options, pair, shape, weighing)

    blind = torch.zeros(len(pair), dtype=torch.bool)
    if number >= 2 * FEWEST:
        log_px, error = found["log_px"], found["log_px_error"]
        scouts = options.num_scouts, options.seed
        blind = missed(
            pair, log_px, error, *scouts, shape=shape, climbs=climbs, engine=options.engine
        )
    tell(scouting, 1.0)
    return ImportanceEstimate(
        **found,  # type: ignore[arg-type]
        blind=blind,
        num_particles=number,
        proposal="refined",
        evaluations=number + spent,
        seconds=time.monotonic() - started,
        seed=options.seed,
    )


@torch.no_grad()
def _statistics(
    options: Refined, pair: Pair, shape: Gaussians, progress: Progress | None
) -> dict[str, Tensor]:
    """What the weights of all data say, in blocks and chunks of one size."""
    number, scale = options.num_particles, 1 + _WIDER / math.sqrt(shape.mean.shape[-1])
    cuts = even_blocks(len(pair), _DATA, pair.x.device)
    chunk, times = _chunks(pair, len(cuts[0][0]), number)
    calls, rows = times * len(cuts), chunk * len(cuts[0][0])
    path, mine = Path(pair.under(None), Guard(options.engine, calls, rows)), dealt(len(cuts))

    own = {}
    for block in over(mine, len(mine), progress):
        places, count = cuts[block]
        seed_noise(options.seed, block, 5)
        part = path.take(places), shape.take(places)
        drawn = [_particles(*part, chunk, scale) for _ in range(times)]
        whole = (torch.cat(one)[:number, :count] for one in zip(*drawn, strict=True))
        own[block] = statistics_of(Particles(*whole))
    done = gathered(own, len(cuts))
    return {name: torch.cat([one[name] for one in done]) for name in done[0]}


def _chunks(pair: Pair, width: int, num_particles: int) -> tuple[int, int]:
    """Particles of so many data that are scored at once, and how often."""
    size = 4 * pair.x[0].numel() * pair.x.element_size() * pair.states * width
    most = max(1, (_BYTES_ON_GPU if pair.x.is_cuda else _BYTES) // size)
    times = math.ceil(num_particles / most)
    return math.ceil(num_particles / times), times


def _particles(path: Path, shape: Gaussians, number: int, scale: float) -> Particles:
    """Log-densities `(S, B)` of draws that are spread by `scale`."""
    u = scale * shape.noise(number)
    log_prior, log_joint = path.densities(shape.at(u))
    log_guide = standard_normal(u, scale) - shape.log_volume
    nowhere = log_prior.isneginf()  # where a bijection ends: a weight of 0, and not NaN
    return Particles(log_prior, torch.where(nowhere, 0.0, log_joint - log_prior), log_guide)
