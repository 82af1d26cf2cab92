"""The best that can be said of log p(x) here, and in plain words how good that is.

A closed form where the model has one; quadrature with one or two latents; else importance sampling
from the guide. (Where quadrature does not settle, the posterior has more detail than its grid sees;
nothing else closes an interval on such data either.)

Where the weights do not vouch for nearly all data, annealing is run besides, from the guide if its
density is known and it misses no mode that a scout has found. Annealing is then what is reported,
unless the weights lie above it by more than their noise: then fresh weights are, drawn by another
seed. (The larger of two noisy lower bounds is no bound.)
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from pyro_vae.evidence.annealed import Annealed
from pyro_vae.evidence.annealed_estimate import AnnealedEstimate
from pyro_vae.evidence.estimate import Estimate, standard_error
from pyro_vae.evidence.exact import Exact
from pyro_vae.evidence.importance import Importance
from pyro_vae.evidence.importance_estimate import ImportanceEstimate
from pyro_vae.evidence.method import Method
from pyro_vae.evidence.path import Path
from pyro_vae.evidence.quadrature import Quadrature
from pyro_vae.graphs import Engine, check_engine
from pyro_vae.programs.inputs import check_budget, check_numbers
from pyro_vae.programs.pair import Pair
from pyro_vae.programs.protocols import KnowsLogPx, offers
from pyro_vae.progress import Progress, shares

DoubtedT = TypeVar("DoubtedT", ImportanceEstimate, AnnealedEstimate)

_NEARLY_ALL = 0.95
_MATTERS = 0.05  # nats; smaller differences are not worth a warning


@dataclass(frozen=True, repr=False)
class BestEstimate(Estimate):
    """The estimate that was chosen, and what was said of it.

    Attributes:
        chosen: where the figures are from.
        tried: all estimates, by method.
        said: the verdict, a sentence.
    """

    chosen: Estimate
    tried: dict[str, Estimate]
    said: str

    @property
    def method(self) -> str:
        """The chosen one's."""
        return self.chosen.method

    @property
    def reliable(self) -> Tensor:
        """The chosen one's."""
        return self.chosen.reliable

    @property
    def freedom(self) -> float:
        """The chosen one's."""
        return self.chosen.freedom

    @property
    def verdict(self) -> str:
        """How good the best is, in a sentence."""
        return self.said

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """The chosen one's."""
        return self.chosen.interval(level)

    def mean_interval(self, level: float = 0.95) -> tuple[float, float]:
        """The chosen one's."""
        return self.chosen.mean_interval(level)

    def _further(self) -> Iterator[tuple[str, str]]:
        means = [f"{name} {found.mean:.2f}" for name, found in self.tried.items()]
        if len(means) > 1:
            yield "tried", "; ".join(means)
        yield from self.chosen._further()

    def columns(self) -> dict[str, Tensor]:
        return self.chosen.columns()

    def summary(self) -> dict[str, Any]:
        """The chosen one's, the means of all, and the verdict."""
        means = {name: estimate.mean for name, estimate in self.tried.items()}
        own = {"seconds": round(self.seconds, 3), "tried": means, "verdict": self.verdict}
        return self.chosen.summary() | own


@dataclass(frozen=True)
class Best(Method[BestEstimate]):
    """Whatever serves best here, with a verdict.

    Attributes:
        num_particles: of importance sampling.
        num_temperatures: of annealing.
        budget: seconds, about, that annealing may take with all that came before it.
        seed, engine: as in `Importance`.
    """

    num_particles: int = 5000
    num_temperatures: int = 1000
    budget: float | None = None
    seed: int = 0
    engine: Engine = "auto"

    def __post_init__(self) -> None:
        least = {"num_particles": 1, "num_temperatures": 2, "seed": 0}
        check_numbers({name: (getattr(self, name), number) for name, number in least.items()})
        check_budget(self.budget)
        check_engine(self.engine)

    def __call__(self, pair: Pair, progress: Progress | None = None) -> BestEstimate:
        started = time.monotonic()
        weighing, annealing, again = shares(progress, 2, 7, 1)
        if offers(pair.model, KnowsLogPx):
            exact = Exact()(pair)
            return _only(exact, exact.verdict)

        size, unsettled = _latent_size(pair), torch.zeros(len(pair), dtype=torch.bool)
        if size is not None and size <= 2:
            found = Quadrature()(pair)
            worst = found.log_px_error.max().item()
            if found.reliable.all():
                told = f"log p(x) by quadrature over {size} latents, with an error of about"
                return _only(found, f"{told} {worst:.1g} nats")
            unsettled = ~found.reliable

        importance = Importance(self.num_particles, seed=self.seed, engine=self.engine)
        weights = _doubted(importance(pair, weighing), unsettled)
        share = weights.reliable.double().mean().item()
        if share >= _NEARLY_ALL:
            told = f"the weights vouch for {share:.0%} of the data"
            return _only(weights, f"importance sampling can be believed: {told}")

        doubt = f"the weights vouch for only {share:.0%} of the data"
        if unsettled.any():
            many = unsettled.double().mean().item()
            doubt += f", and quadrature does not settle on {many:.0%}"
        if size is None:
            other = "no bijection makes real numbers of the latents: a lower bound"
            return _only(weights, f"{doubt}, and {other}")

        chains = _doubted(self._chains(pair, weights, started, annealing), unsettled)
        chosen, said = _choose(weights, chains, doubt)
        if chosen is weights:
            fresh = replace(importance, seed=self.seed + 1)(pair, again)
            chosen = _doubted(fresh, unsettled)

        log_px, error, seconds = chosen.log_px, chosen.log_px_error, time.monotonic() - started
        evaluations = weights.evaluations + chains.evaluations
        tried: dict[str, Estimate] = {one.method: one for one in (weights, chains)}
        return BestEstimate(log_px, error, evaluations, seconds, self.seed, chosen, tried, said)

    def _chains(
        self, pair: Pair, weights: ImportanceEstimate, started: float, progress: Progress | None
    ) -> AnnealedEstimate:
        """Annealing, in what the budget leaves."""
        left = self.budget
        if left is not None:
            left = max(1e-3, left - (time.monotonic() - started))
        from_guide = not weights.blind.any() and _has_density(pair)
        annealing = Annealed(
            self.num_temperatures,
            "guide" if from_guide else "prior",
            budget=left,
            seed=self.seed,
            engine=self.engine,
        )
        return annealing(pair if from_guide else pair.under(None), progress)


def _doubted(found: DoubtedT, unsettled: Tensor) -> DoubtedT:
    """The same, vouching for none of the data `(N,)` on which quadrature has not settled."""
    return replace(found, blind=found.blind | unsettled)


def _only(found: Estimate, said: str) -> BestEstimate:
    parts = found.log_px, found.log_px_error, found.evaluations, found.seconds, found.seed
    return BestEstimate(*parts, found, {found.method: found}, said)


def _choose(weights: ImportanceEstimate, chains: Estimate, doubt: str) -> tuple[Estimate, str]:
    difference = chains.log_px - weights.log_px
    gain, error = difference.mean().item(), standard_error(difference)
    noise = math.hypot(chains.monte_carlo_error, weights.monte_carlo_error)
    spread = noise if math.isnan(error) else max(error, noise)
    told = f"{abs(gain):.2f} +- {spread:.2f} nats"

    if abs(gain) < max(_MATTERS, 2 * noise):
        agree = f"importance sampling and annealing agree ({told} apart)"
        return chains, f"{agree}, although {doubt}"
    if gain > 0:
        return chains, f"importance sampling is {told} low on these data: use annealed"
    low = f"annealing is {told} below importance sampling: it needs more temperatures"
    return weights, f"{low}; {doubt}"


def _has_density(pair: Pair) -> bool:
    """Whether a path can start from the guide."""
    try:
        pair.check_density()
    except ValueError:
        return False
    return True


def _latent_size(pair: Pair) -> int | None:
    """Latent values of a datum; None where they are not all continuous."""
    try:
        return Path(pair.under(None)).size
    except ValueError:
        return None
