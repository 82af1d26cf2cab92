"""The best that can be said of log p(x) here, and in plain words how good that is.

A closed form where the model has one; quadrature with one or two latents; else importance sampling
from the guide. (Data on which quadrature does not settle have posteriors with more detail than its
grid sees; nothing else closes an interval on them either.) Where the weights do not vouch for it on
nearly all data, annealing besides, from the guide if its density is known and it misses no mode
that a scout has found. Annealing is then what is reported. Only where the weights lie above it, by
more than their noise, are they: and of those, fresh ones, drawn by another seed. (The larger of two
noisy lower bounds is none.)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from pyro_vae.arguments import check_progress
from pyro_vae.evidence.annealed import Annealed, by_annealing
from pyro_vae.evidence.estimate import Estimate, standard_error
from pyro_vae.evidence.importance import Evidence, by_importance
from pyro_vae.evidence.path import Path
from pyro_vae.evidence.quadrature import by_closed_form, by_quadrature
from pyro_vae.evidence.scores import Engine, check_engine
from pyro_vae.programs.evaluation import evaluation
from pyro_vae.programs.inputs import check_budget, check_density, check_inputs, check_numbers
from pyro_vae.programs.traces import Program

DoubtedT = TypeVar("DoubtedT", Evidence, Annealed)

_NEARLY_ALL = 0.95
_MATTERS = 0.05  # nats; smaller differences are not worth a warning


@dataclass(frozen=True)
class Best(Estimate):
    """The estimate that was chosen, and what was said of it.

    Attributes:
        chosen: where the figures are from.
        tried: all estimates, by method.
        verdict: a sentence.
    """

    chosen: Estimate
    tried: dict[str, Estimate]
    verdict: str

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

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """The chosen one's."""
        return self.chosen.interval(level)

    def mean_interval(self, level: float = 0.95) -> tuple[float, float]:
        """The chosen one's."""
        return self.chosen.mean_interval(level)

    def summary(self) -> dict[str, Any]:
        """The chosen one's, the means of all, and the verdict."""
        means = {name: estimate.mean for name, estimate in self.tried.items()}
        return self.chosen.summary() | {
            "seconds": round(self.seconds, 3),
            "tried": means,
            "verdict": self.verdict,
        }


def best_evidence(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor | None = None,
    *,
    num_particles: int = 5000,
    num_temperatures: int = 1000,
    budget: float | None = None,
    seed: int = 0,
    engine: Engine = "auto",
    progress: Callable[[int], None] | None = None,
) -> Best:
    """Estimate log p(x) by whatever serves best, and say how far that can be trusted.

    Args:
        model, guide: Pyro programs.
        x: data `(N, *shape)`.
        index: rows of the dataset `(N,)`.
        num_particles: of importance sampling.
        num_temperatures: of annealing.
        budget: seconds, about, that annealing may take with all that came before it.
        seed, engine, progress: as of `by_importance`.
    """
    started = time.monotonic()
    check_numbers(
        {
            "num_particles": (num_particles, 1),
            "num_temperatures": (num_temperatures, 2),
            "seed": (seed, 0),
        }
    )
    check_budget(budget)
    check_engine(engine)
    check_progress(progress)
    x, index = check_inputs(model, guide, x, index)
    if hasattr(model, "log_px"):
        return _only(
            by_closed_form(model, x, index), "log p(x) is exact, by the model's own closed form"
        )
    size, unsettled = _latent_size(model, guide, x, index), torch.zeros(len(x), dtype=torch.bool)
    if size is not None and size <= 2:
        found = by_quadrature(model, x, index)
        worst = found.log_px_error.max().item()
        if found.reliable.all():
            return _only(
                found,
                f"log p(x) by quadrature over {size} latents, with an error"
                f" of about {worst:.1g} nats",
            )
        unsettled = ~found.reliable
    options: dict[str, Any] = {"seed": seed, "engine": engine, "progress": progress}
    weights = _doubted(
        by_importance(model, guide, x, index, num_particles=num_particles, **options), unsettled
    )
    share = weights.reliable.double().mean().item()
    if share >= _NEARLY_ALL:
        return _only(
            weights,
            f"importance sampling can be believed: the weights vouch for {share:.0%} of the data",
        )
    doubt = f"the weights vouch for only {share:.0%} of the data"
    if unsettled.any():
        doubt += f", and quadrature does not settle on {unsettled.double().mean():.0%}"
    if size is None:
        return _only(
            weights,
            f"{doubt}, and the latents are not real-valued, so nothing else applies: a lower bound",
        )
    left = None if budget is None else max(1e-3, budget - (time.monotonic() - started))
    missed = bool(weights.blind.any())
    start = guide if not missed and _has_density(guide, x, index) else None
    chains = by_annealing(
        model, x, index, guide=start, num_temperatures=num_temperatures, budget=left, **options
    )
    chains = _doubted(chains, unsettled)
    tried: dict[str, Estimate] = {estimate.method: estimate for estimate in (weights, chains)}
    chosen, verdict = _choose(weights, chains, doubt)
    if chosen is weights:
        again = by_importance(
            model, guide, x, index, num_particles=num_particles, **options | {"seed": seed + 1}
        )
        chosen = _doubted(again, unsettled)
    seconds, evaluations = time.monotonic() - started, weights.evaluations + chains.evaluations
    return Best(
        chosen.log_px, chosen.log_px_error, evaluations, seconds, seed, chosen, tried, verdict
    )


def _doubted(found: DoubtedT, unsettled: Tensor) -> DoubtedT:
    """The same, vouching for none of the data `(N,)` on which quadrature has not settled."""
    return replace(found, blind=found.blind | unsettled)


def _only(found: Estimate, verdict: str) -> Best:
    parts = found.log_px, found.log_px_error, found.evaluations, found.seconds, found.seed
    return Best(*parts, found, {found.method: found}, verdict)


def _choose(weights: Evidence, chains: Estimate, doubt: str) -> tuple[Estimate, str]:
    difference = chains.log_px - weights.log_px
    gain, error = difference.mean().item(), standard_error(difference)
    noise = math.hypot(chains.monte_carlo_error, weights.monte_carlo_error)
    told = f"{abs(gain):.2f} +- {noise if math.isnan(error) else max(error, noise):.2f} nats"
    if abs(gain) < max(_MATTERS, 2 * noise):
        return chains, f"importance sampling and annealing agree ({told} apart), although {doubt}"
    if gain > 0:
        return chains, f"importance sampling is {told} low on these data: use annealed"
    return (
        weights,
        f"annealing is {told} below importance sampling: it needs more temperatures; {doubt}",
    )


def _has_density(guide: Program, x: Tensor, index: Tensor | None) -> bool:
    """Whether a path can start from the guide."""
    x, rows = check_inputs(None, guide, x, index)
    with evaluation(guide, device=x.device):
        try:
            check_density(guide, x, rows)
        except ValueError:
            return False
    return True


def _latent_size(model: Program, guide: Program, x: Tensor, index: Tensor | None) -> int | None:
    """Latent values of a datum; None where they are not all real-valued."""
    x, rows = check_inputs(model, guide, x, index)
    with evaluation(model, device=x.device), torch.no_grad():
        try:
            return Path(model, None, x, rows).size
        except ValueError:
            return None
