"""Bidirectional Monte Carlo (BDMC): log p(x) between two bounds, on data that the model has made
itself.

Latents and data drawn together make the latents an exact draw of the posterior, from which chains
can run backwards:

    forward annealing  <=  log p(x)  <=  reverse annealing     (each in expectation)

The gap between them bounds the error of forward annealing *on these data*. It says something of
real data as far as the model finds them alike; whether it does is looked at side by side, in the
ELBO, the rate and the chains' acceptance.

References:
    Grosse, Ghahramani, Adams (2015). Sandwiching the marginal likelihood using bidirectional Monte
        Carlo. arXiv:1511.02543.
    Wu, Burda, Salakhutdinov, Grosse (2017). On the quantitative analysis of decoder-based
        generative models. arXiv:1611.04273.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pyro_vae.arguments import check_kind, check_progress
from pyro_vae.evidence.annealed import Annealed, annealed
from pyro_vae.evidence.annealed_estimate import AnnealedEstimate
from pyro_vae.evidence.estimate import standard_error
from pyro_vae.evidence.importance import Importance
from pyro_vae.evidence.methods import log_evidence
from pyro_vae.programs.calls import Program
from pyro_vae.programs.inputs import check_any_x, check_like, check_numbers
from pyro_vae.programs.pair import opened
from pyro_vae.programs.simulation import simulated
from pyro_vae.progress import Progress, shares
from pyro_vae.results import Result, counted, with_error

FAR = 0.5


@dataclass(frozen=True, repr=False)
class Sandwich(Result):
    """The two bounds on simulated data.

    Attributes:
        x: the data `(N, *shape)`.
        index: the rows `(N,)` that programs got with them.
        forward: lower bounds.
        reverse: upper bounds.
    """

    x: Tensor
    index: Tensor
    forward: AnnealedEstimate
    reverse: AnnealedEstimate

    @property
    def gaps(self) -> Tensor:
        """Upper less lower bound of each datum, `(N,)` nats; below 0 by noise alone."""
        return self.reverse.log_px - self.forward.log_px

    @property
    def gap(self) -> float:
        """Mean gap: the most, in expectation, that forward annealing is low on such data."""
        return self.gaps.mean().item()

    @property
    def gap_error(self) -> float:
        """Standard error of `gap` over the data, the chains' noise included."""
        return standard_error(self.gaps)

    def headline(self) -> str:
        data = counted(len(self.x), "simulated data")
        return f"two-sided bounds of log p(x), {data}, nats per datum"

    def figures(self) -> Iterator[tuple[str, str]]:
        for name, found in (("lower", self.forward), ("upper", self.reverse)):
            yield name, f"{with_error(found.mean, found.std_error)}, by {found.method}"
        yield "gap", f"{with_error(self.gap, self.gap_error)} (paired, over the data)"
        yield "verdict", self.verdict

    @property
    def verdict(self) -> str:
        """How low forward annealing is at most, in expectation, in a sentence."""
        told = f"at most {self.gap:.2f} +- {self.gap_error:.2f} nats low on simulated data"
        return f"{self.forward.method} is {told}"

    def summary(self) -> dict[str, Any]:
        """The bounds' means, the gap and its error, by name."""
        return {
            "lower": self.forward.mean,
            "upper": self.reverse.mean,
            "gap": self.gap,
            "gap_error": self.gap_error,
            "num_data": len(self.x),
            "seed": self.forward.seed,
        }

    def columns(self) -> dict[str, Tensor]:
        bounds = {"lower": self.forward.log_px, "upper": self.reverse.log_px}
        return {"index": self.index} | bounds | {"gap": self.gaps}


def sandwich(
    model: Program,
    guide: Program | None,
    like: Tensor,
    index: Tensor | None = None,
    *,
    num_data: int = 100,
    method: Annealed | None = None,
    progress: Progress | None = None,
) -> Sandwich:
    """Simulate data from the model, and bound log p(x) of each from below and from above.

    Args:
        model: Pyro program whose latents are continuous, with one observed site.
        guide: where the path starts, a program that answers for any x; None for the model's prior.
        like: data `(N, *shape)` of the kind that the model scores, whose values do not matter.
        index: rows of the dataset `(N,)` of these; simulated data take turns with them.
        num_data: how many to simulate.
        method: how to anneal; `Annealed()` unless given.
        progress: called with the share of the work that is done, from 0 to 1.

    Raises:
        ValueError: what `Annealed` and `simulate` raise, or a guide with parameters per datum.

    Example:
        >>> import torch
        >>> from pyro_vae import LinearGaussian
        >>> quick, like = Annealed(num_temperatures=20), torch.zeros(1, 5)
        >>> sandwich(LinearGaussian(5, 2), None, like, num_data=4, method=quick).gaps.shape
        torch.Size([4])
    """
    method = Annealed() if method is None else method
    check_kind("method", method, Annealed, "an Annealed, or None")
    check_numbers({"num_data": (num_data, 1)})
    check_progress(progress)
    check_like(model, like)

    if guide is not None and method.uses_guide:
        check_any_x(guide, like)
    else:
        guide = None

    latents, x, index = simulated(model, like, index, num_data, seed=method.seed)
    upwards, downwards = shares(progress, 1, 1)
    with opened(model, guide, x, index) as pair:
        forward = annealed(method, pair, progress=upwards)
        reverse = annealed(method, pair, exact=latents, progress=downwards)
    return Sandwich(x, index, forward, reverse)


@dataclass(frozen=True, repr=False)
class Likeness(Result):
    """Real and simulated data side by side.

    Attributes:
        means: by quantity, its mean on real and on simulated data.
        distances: by quantity, their difference in standard deviations over the data.
    """

    means: dict[str, tuple[float, float]]
    distances: dict[str, float]

    @property
    def alike(self) -> bool:
        """Whether every difference is below half a standard deviation."""
        return all(abs(distance) < FAR for distance in self.distances.values())

    @property
    def verdict(self) -> str:
        """Whether they are alike, and by what, in a sentence."""
        told = ", ".join(f"{name} {text}" for name, text in self._sides())
        return f"{'alike' if self.alike else 'not alike'}: real and simulated {told}"

    def headline(self) -> str:
        return "real data beside simulated ones"

    def figures(self) -> Iterator[tuple[str, str]]:
        yield from self._sides()
        yield "verdict", "alike" if self.alike else "not alike"

    def _sides(self) -> Iterator[tuple[str, str]]:
        for name, (real, made) in self.means.items():
            yield name, f"{real:.2f} and {made:.2f} ({self.distances[name]:+.2f} sd)"

    def summary(self) -> dict[str, Any]:
        """The means and their distances, by quantity."""
        return {"means": self.means, "distances": self.distances, "alike": self.alike}

    def columns(self) -> dict[str, list[Any]]:
        return {
            "quantity": list(self.means),
            "real": [real for real, _ in self.means.values()],
            "simulated": [made for _, made in self.means.values()],
            "distance": list(self.distances.values()),
        }


def likeness(
    model: Program,
    guide: Program,
    real: Tensor,
    sandwich: Sandwich,
    chains: AnnealedEstimate | None = None,
    *,
    index: Tensor | None = None,
    num_particles: int = 100,
    seed: int = 0,
) -> Likeness:
    """Compare real data with a sandwich's by the guide's ELBO and rate, and by the acceptance of
    the chains.

    Args:
        model, guide: Pyro programs; the guide answers for any x.
        real: data `(N, *shape)`.
        sandwich: of the same model.
        chains: of the real data, annealed as the sandwich's; without them acceptance is left out.
        index: rows of the dataset `(N,)` of the real data.
        num_particles: of each datum for its ELBO and rate.
        seed: of these particles.
    """
    method = Importance(num_particles, seed=seed)
    one = log_evidence(model, guide, real, method, index=index)
    other = log_evidence(model, guide, sandwich.x, method, index=sandwich.index)
    found = {"elbo": (one.elbo, other.elbo), "rate": (one.rate, other.rate)}
    if chains is not None:
        found["acceptance"] = (chains.acceptance, sandwich.forward.acceptance)

    means, distances = {}, {}
    for name, (ours, theirs) in found.items():
        means[name] = (ours.mean().item(), theirs.mean().item())
        spread = math.sqrt((_variance(ours) + _variance(theirs)) / 2 + 1e-12)
        distances[name] = (means[name][0] - means[name][1]) / spread
    return Likeness(means, distances)


def _variance(values: Tensor) -> float:
    return values.var().item() if len(values) > 1 else 0.0
