"""The best that can be said of log p(x) of each datum here, and in plain words how good that is.

A closed form where the model has one; quadrature with one or two latents, as far as it settles.
Else a ladder (`ladder.py`): importance sampling from the guide, from a Gaussian refined for each
datum, a short annealing from there, and a long one, each step only for the data that the one before
does not vouch for.

What chose is not what is reported: of a set of particles one half judges and the other half is
reported, and short chains that were judged are run again. (The larger of two noisy lower bounds is
no bound.) Two things are told as they were found: that the reported half, the second run, or chains
of a quarter or half of T are not too noisy, which errs low (`standing.py`), and the longest chains,
after which there is no other step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import check_positive
from pyro_vae.evidence.clock import Clock
from pyro_vae.evidence.estimate import Estimate, standard_error
from pyro_vae.evidence.exact import Exact
from pyro_vae.evidence.ladder import Ladder
from pyro_vae.evidence.method import Method
from pyro_vae.evidence.path import Path
from pyro_vae.evidence.quadrature import Quadrature
from pyro_vae.evidence.standing import Part, Standing, Step, joined, told
from pyro_vae.graphs import Engine, check_engine
from pyro_vae.programs.inputs import check_budget, check_numbers
from pyro_vae.programs.pair import Pair
from pyro_vae.programs.protocols import KnowsLogPx, offers
from pyro_vae.progress import Progress
from pyro_vae.results import share

_MATTERS = 0.05  # nats; smaller differences are not worth a word


@dataclass(frozen=True, repr=False)
class BestEstimate(Estimate):
    """What serves best for each datum, and what was tried.

    Attributes:
        parts: estimates of some of the data each, of all of them together.
        steps: what was tried, in order.
        said: the verdict, a sentence.
    """

    parts: tuple[Part, ...]
    steps: tuple[Step, ...]
    said: str

    @property
    def method(self) -> str:
        """That of all parts, in the order of the ladder."""
        return " or ".join(dict.fromkeys(part.found.method for part in self.parts))

    @property
    def chosen(self) -> Estimate | None:
        """The estimate that serves best for all data; None where it depends on the datum."""
        return self.parts[0].found if len(self.parts) == 1 else None

    @property
    def reliable(self) -> Tensor:
        """Whether the datum's own estimate vouches for its error, `(N,)`."""
        return joined(self.parts, [part.found.reliable for part in self.parts])

    @property
    def freedom(self) -> float:
        """The fewest degrees of freedom behind any of the standard errors."""
        return min(part.found.freedom for part in self.parts)

    @property
    def verdict(self) -> str:
        """How good the best is, in a sentence."""
        return self.said

    def take(self, rows: Tensor) -> BestEstimate:
        """The same of the data at these places; steps and verdict stay those of all."""
        place = torch.full((len(self.log_px),), -1)
        place[rows] = torch.arange(len(rows))
        kept = [part.take(place[part.rows] >= 0) for part in self.parts]
        parts = tuple(Part(place[part.rows], part.found) for part in kept if len(part.rows))
        log_px, error = told(parts)
        return replace(self, log_px=log_px, log_px_error=error, parts=parts)

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """The interval of the datum's own estimate, `(N,)` each."""
        lower, upper = zip(*[part.found.interval(level) for part in self.parts], strict=True)
        return joined(self.parts, lower), joined(self.parts, upper)

    def mean_interval(self, level: float = 0.95) -> tuple[float, float]:
        """An interval for the mean over these data: the mean of its parts' ends, which is wider
        than their noise alone would ask for; infinite above where a datum is not `reliable`.
        """
        ends = [part.found.mean_interval(level) for part in self.parts]
        sizes = [len(part.rows) for part in self.parts]
        lower, upper = (
            sum(size * end for size, end in zip(sizes, one, strict=True)) / sum(sizes)
            for one in zip(*ends, strict=True)
        )
        return lower, upper

    def _further(self) -> Iterator[tuple[str, str]]:
        if len(self.steps) > 1:
            yield "steps", "; ".join(map(str, self.steps))
        if self.chosen is not None:
            yield from self.chosen._further()

    def columns(self) -> dict[str, Tensor | list[str]]:  # type: ignore[override]
        if self.chosen is not None:
            return {**self.chosen.columns()}
        names = [""] * len(self.log_px)
        for part in self.parts:
            for row in part.rows.tolist():
                names[row] = part.found.method
        return {**super().columns(), "method": names}

    def summary(self) -> dict[str, Any]:
        """Means over the data, what was tried on how many of them, and the verdict."""
        steps = [step.summary() for step in self.steps]
        own = {"seconds": round(self.seconds, 3), "steps": steps, "verdict": self.verdict}
        own["evaluations"] = self.evaluations
        return super().summary() | (self.chosen.summary() if self.chosen else {}) | own


@dataclass(frozen=True)
class Best(Method[BestEstimate]):
    """Whatever serves best for each datum here, with a verdict.

    Attributes:
        num_particles: of importance sampling, from the guide and from refined Gaussians.
        num_temperatures: T of the long annealing, at most; the short one has a twentieth.
        target_error: nats; data whose standard error is larger go on to the next step.
        budget: seconds, about, in which that is to end: fewer particles, fewer data on the later
            steps, fewer temperatures on the last.
        seed, engine: as in `Importance`.
    """

    num_particles: int = 5000
    num_temperatures: int = 1000
    target_error: float = 0.05
    budget: float | None = None
    seed: int = 0
    engine: Engine = "auto"

    def __post_init__(self) -> None:
        least = {"num_particles": 1, "num_temperatures": 2, "seed": 0}
        check_numbers({name: (getattr(self, name), number) for name, number in least.items()})
        check_positive("target_error", self.target_error)
        check_budget(self.budget)
        check_engine(self.engine)

    def __call__(self, pair: Pair, progress: Progress | None = None) -> BestEstimate:
        clock = Clock(self.budget)
        if offers(pair.model, KnowsLogPx):
            exact = Exact()(pair)
            return _made([Part.whole(exact)], [], exact.verdict, clock, self.seed)

        standing = Standing(len(pair), self.target_error)
        size = _latent_size(pair)
        if size is not None and size <= 2:
            found = Quadrature()(pair)
            if found.reliable.all():
                worst = found.log_px_error.max().item()
                how = f"log p(x) by quadrature over {size} latents, with an error of about"
                parts, said = [Part.whole(found)], f"{how} {worst:.1g} nats"
                return _made(parts, [], said, clock, self.seed)

            standing.unsettled = ~found.reliable
            standing.take(torch.arange(len(pair)), found, clock.spent(), settles=True)

        ladder = Ladder(
            pair,
            self.num_particles,
            self.num_temperatures,
            self.seed,
            self.engine,
            clock,
            standing,
        )
        ladder.climb(progress)
        parts = standing.parts()
        return _made(parts, standing.steps, _said(ladder, parts), clock, self.seed)


def _latent_size(pair: Pair) -> int | None:
    """Latent values of a datum; None where they are not all continuous."""
    try:
        return Path(pair.under(None)).size
    except ValueError:
        return None


def _made(
    parts: Sequence[Part], steps: Sequence[Step], said: str, clock: Clock, seed: int
) -> BestEstimate:
    log_px, error = told(parts)
    evaluations = sum(step.evaluations * step.num_data for step in steps) / len(log_px)
    if not steps:
        evaluations = parts[0].found.evaluations
    return BestEstimate(
        log_px, error, evaluations, clock.spent(), seed, tuple(parts), tuple(steps), said
    )


def _said(ladder: Ladder, parts: Sequence[Part]) -> str:
    """The verdict of a ladder."""
    standing = ladder.standing
    reliable = joined(parts, [part.found.reliable for part in parts])
    vouched = reliable.double().mean().item()
    last = standing.steps[-1].method
    if vouched == 1 and last.startswith("importance("):
        return "importance sampling can be believed: the weights vouch for all of the data"

    said = f"the error is vouched for on {share(vouched)} of the data"
    said = "; ".join(filter(None, [_low(ladder, parts), said]))
    if vouched < 1:
        said += "; on the others the value is a lower bound and no more"
    if standing.unsettled.any():
        many = share(standing.unsettled.double().mean().item())
        said += f", quadrature not settling on {many}"
    return "; ".join([said, *ladder.remarks])


def _low(ladder: Ladder, parts: Sequence[Part]) -> str:
    """How far the guide's own weights lie below what is told, where that matters."""
    assert ladder.first is not None
    rows, weights = ladder.first.rows, ladder.first.found
    log_px, error = (values[rows] for values in told(parts))

    difference = log_px - weights.log_px
    noise = math.hypot(error.square().sum().sqrt().item() / len(rows), weights.monte_carlo_error)
    gain, spread = difference.mean().item(), standard_error(difference)
    spread = noise if math.isnan(spread) else max(spread, noise)
    if math.isnan(spread) or not gain > max(_MATTERS, 2 * noise):
        return ""
    told_low = f"{gain:.2f} +- {spread:.2f} nats low"
    return f"{weights.method} from the guide is {told_low} on these data"
