"""The ledger of a guide: what it loses, to its family and to its source, datum by datum.

    inference gap  =  approximation gap  +  amortization gap
    log p(x) - L[q]  =  (log p(x) - L[q*])  +  (L[q*] - L[q])

q is the guide, q* the best member of its family for that datum, found by local optimisation. log
p(x) is one estimate for all guides. All candidates, the guides' importance weights and annealing if
it is given, are lower bounds in expectation, so that the highest is the nearest; but the larger of
two noisy numbers is no bound. So the guide is chosen by a pilot run, and reported on draws of its
own: the highest mean, or of those not told from it the one with the lightest tails, and an estimate
that was given before all of these. If log p(x) is itself too low, as a k-hat above its threshold
says, it is so by the same amount for every guide: the differences between guides do not depend on
it.

References: Cremer, Li, Duvenaud (2018).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import check_kind
from pyro_vae.evidence import Estimate, Evidence, log_evidence
from pyro_vae.programs.calls import called
from pyro_vae.programs.evaluation import evaluation
from pyro_vae.programs.inputs import check_inputs
from pyro_vae.programs.parts import own_numbers
from pyro_vae.programs.traces import Program

_SURE = 2.0  # Monte Carlo standard errors of a mean below which it is not told from 0


@dataclass(frozen=True)
class Gap:
    """A difference of two estimates on the same data, nats.

    Attributes:
        values: per datum `(N,)`.
        errors: Monte Carlo standard errors of these `(N,)`: where one guide's draws gave both, by
            their covariance; else as if of independent draws, which is too large for guides that
            answer alike, for all draw by one seed.
    """

    values: Tensor
    errors: Tensor

    @property
    def mean(self) -> float:
        """Mean over the data."""
        return self.values.mean().item()

    @property
    def std_error(self) -> float:
        """Standard error of the mean over data: how far another set of as many data would be;
        paired. NaN for one.
        """
        return (
            self.values.std().item() / math.sqrt(len(self.values))
            if len(self.values) > 1
            else math.nan
        )

    @property
    def monte_carlo_error(self) -> float:
        """Standard error of the mean by the particles' noise alone, on these data."""
        return self.errors.square().sum().sqrt().item() / len(self.errors)

    @property
    def resolved(self) -> bool:
        """Whether the mean is over two Monte Carlo errors away from 0: else the sign is noise."""
        return abs(self.mean) > _SURE * self.monte_carlo_error

    def __str__(self) -> str:
        if not self.resolved:
            return f"not resolved (|{self.mean:.2g}| within {_SURE * self.monte_carlo_error:.2g})"
        return f"{self.mean:.3f} +- {self.std_error:.3f}"


@dataclass(frozen=True)
class Entry:
    """What one guide costs.

    Attributes:
        family: its family, "" for a guide of none.
        best: name of the local guide of its family, whose ELBO is L[q*]; None where there is none.
        evidence: its ELBO, rate, distortion, log p(x), ESS and k-hat of each datum.
        inference: log p(x) - L[q].
        approximation: log p(x) - L[q*]; None without q*.
        amortization: L[q*] - L[q]; None without q*, and for q* itself.
        evaluations: times that the model scored each datum for a gradient before q was known,
            `(N,)`; 0 for a network alone.
        seconds: wall clock per datum until q was known, all data together: a forward pass,
            optimisation, or both.
    """

    family: str
    best: str | None
    evidence: Evidence
    inference: Gap
    approximation: Gap | None
    amortization: Gap | None
    evaluations: Tensor
    seconds: float


@dataclass(frozen=True)
class Ledger:
    """The entries of all guides, and the estimate of log p(x) that they share.

    Attributes:
        entries: by the guides' names.
        estimator: name of the guide whose weights estimate log p(x), or of the further estimate
            that does.
        estimate: that estimate.
        num_particles: S of every estimate.
    """

    entries: dict[str, Entry]
    estimator: str
    estimate: Estimate
    num_particles: int

    @property
    def log_px(self) -> Tensor:
        """log p(x) of each datum `(N,)`, nats: a lower bound in expectation."""
        return self.estimate.log_px

    def rows(self) -> Iterator[dict[str, Any]]:
        """Means over the data, a row per guide; None for what is absent or not told from noise."""
        for name, entry in self.entries.items():
            row: dict[str, Any] = {"guide": name, "family": entry.family, "q*": entry.best}
            row |= {
                key: getattr(entry.evidence, key).mean().item()
                for key in ("elbo", "rate", "distortion", "log_px")
            }
            row["share_above_threshold"] = entry.evidence.share_above_threshold
            for key in ("inference", "approximation", "amortization"):
                gap: Gap | None = getattr(entry, key)
                told = gap is not None and gap.resolved
                row[f"{key}_gap"] = gap.mean if gap is not None and told else None
                row[f"{key}_error"] = gap.std_error if gap is not None and told else None
            row["evaluations"] = entry.evaluations.double().mean().item()
            row["seconds"] = entry.seconds
            yield row


def gap_ledger(
    model: Program,
    guides: Mapping[str, Program],
    x: Tensor,
    index: Tensor | None = None,
    *,
    num_particles: int = 5000,
    estimates: Mapping[str, Estimate] | None = None,
    seed: int = 0,
    **options: Any,
) -> Ledger:
    """Score guides on the same data, model and number of particles, and split what each of them
    loses.

    A guide with a `family` is set beside the local guide (one with a table of rows, `num_rows`) of
    an equal family, if there is one among `guides`: its ELBO is L[q*]. Optimise that one first
    (`fit_local`).

    Args:
        model: Pyro program, frozen.
        guides: by a name for each.
        x: data `(N, *shape)`.
        index: their numbers `(N,)`, one and the same for the model and all guides, local ones
            included, which know no data but their own; the `numbers` of the first local guide,
            0..N-1 unless given.
        num_particles: S.
        estimates: further ones of log p(x) of these data, by name, such as annealed ones, the one
            to be preferred first; one is taken unless the pilot run tells it from the highest, and
            lower.
        seed: of the particles; the pilot run, a quarter as large, has the next one.
        options: further ones of `log_evidence`.

    Raises:
        ValueError: no guide, two local guides of one family, estimates of other data, or what
            `log_evidence` raises.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian, Local, MeanField, fit_local
        >>> model, x = LinearGaussian(5, 2), torch.randn(8, 5)
        >>> classical = fit_local(model, Local(MeanField(2), 8), x)
        >>> guides = {"exact": ExactGuide(model), "classical": classical}
        >>> ledger = gap_ledger(model, guides, x, num_particles=1000)
        >>> abs(ledger.entries["classical"].inference.mean - model.mean_field_gap().item()) < 0.1
        True
    """
    check_kind("guides", guides, Mapping, "guides by their names")
    if not guides or not all(isinstance(name, str) for name in guides):
        raise ValueError(
            f"guides: got {list(guides) or 'none'}, expected at least one, by its name"
        )
    _check_estimates(estimates or {})
    x, _ = check_inputs(model, None, x, None)
    best = _locals(guides)
    given = dict(estimates or {})
    if any(len(estimate.log_px) != len(x) for estimate in given.values()):
        raise ValueError(
            f"estimates: got some of another number of data, expected all of these {len(x)}"
        )
    index = own_numbers(x, *guides.values()) if index is None else index
    scored = {
        name: log_evidence(
            model, guide, x, index, num_particles=num_particles, seed=seed, **options
        )
        for name, guide in guides.items()
    }
    small = options | {
        "num_particles": max(1, num_particles // 4),
        "num_scouts": 0,
        "seed": seed + 1,
        "progress": None,
    }
    pilots = {name: log_evidence(model, guide, x, index, **small) for name, guide in guides.items()}
    estimator = _chosen(pilots, given)
    evidence = {**scored, **given}[estimator]
    entries = {}
    for name, guide in guides.items():
        family = _family(guide)
        star = best.get(family) if family else None
        inference = _below(evidence, scored[name])
        approximation = amortization = None
        if star is not None:
            approximation = _below(evidence, scored[star])
            if star != name:
                lower, upper = scored[name], scored[star]
                amortization = Gap(
                    upper.elbo - lower.elbo, torch.hypot(upper.elbo_error, lower.elbo_error)
                )
                # to the last digit
                inference = Gap(approximation.values + amortization.values, inference.errors)
        entries[name] = Entry(
            family,
            star,
            scored[name],
            inference,
            approximation,
            amortization,
            *_cost(guide, x, index),
        )
    return Ledger(entries, estimator, evidence, num_particles)


def _chosen(pilots: Mapping[str, Evidence], given: Mapping[str, Estimate]) -> str:
    """The name of the estimate of log p(x) that all guides share; see the module."""
    known: dict[str, Estimate] = {**pilots, **given}
    means = {
        name: -math.inf if math.isnan(found.mean) else found.mean for name, found in known.items()
    }
    noise = {name: found.monte_carlo_error for name, found in known.items()}
    top = max(means, key=lambda name: means[name])
    level = [
        name
        for name in known
        if not means[top] - means[name] > _SURE * math.hypot(noise[name], noise[top])
    ]
    preferred = [name for name in level if name in given]
    return preferred[0] if preferred else min(level, key=lambda name: _heaviness(pilots[name]))


def _heaviness(found: Evidence) -> tuple[float, float]:
    """Of the weights' tails, on average over the data: by its upper limit, and where that is
    unknown by k-hat.
    """
    k = torch.nan_to_num(found.pareto_k, nan=math.inf)
    return found.shape_limit.mean().item(), k.mean().item()


def _check_estimates(estimates: Mapping[str, Estimate]) -> None:
    check_kind("estimates", estimates, Mapping, "estimates by their names")
    for estimate in estimates.values():
        check_kind("estimates", estimate, Estimate, "estimates as log_evidence returns them")


def _locals(guides: Mapping[str, Program]) -> dict[str, str]:
    """Names of the local guides by their families."""
    found: dict[str, str] = {}
    for name, guide in guides.items():
        family = _family(guide)
        if not family or not hasattr(guide, "num_rows"):
            continue
        if family in found:
            raise ValueError(
                f"guides: {found[family]!r} and {name!r} are both local guides of {family},"
                " expected one: the best that was found"
            )
        found[family] = name
    return found


def _family(guide: Any) -> str:
    """What tells a guide's family from others: its kind and its sizes."""
    family = getattr(guide, "family", None) or getattr(
        getattr(guide, "amortized", None), "family", None
    )
    return getattr(family, "name", "")


def _cost(guide: Any, x: Tensor, index: Tensor | None) -> tuple[Tensor, float]:
    """Evaluations of the model per datum and seconds per datum that it takes to know q."""
    optimum = getattr(guide, "optimum", None)
    if optimum is not None:
        return optimum.num_evaluations.cpu(), optimum.seconds / len(x)
    steps = getattr(guide, "num_steps", 0)
    counts = torch.full((len(x),), steps if isinstance(steps, int) else 0)
    return counts, _seconds(guide, x, index) / len(x)


def _seconds(guide: Program, x: Tensor, index: Tensor | None) -> float:
    """Of one run of the guide on all data, the better of two; the caller's random state is kept."""
    x, index = check_inputs(None, guide, x, index)
    taken = []
    program = called(guide, "guide")
    with evaluation(guide, device=x.device):
        for _ in range(2):
            started = time.monotonic()
            program(x, index)
            if x.is_cuda:
                torch.cuda.synchronize()
            taken.append(time.monotonic() - started)
    return min(taken)


def _below(evidence: Estimate, lower: Evidence) -> Gap:
    """log p(x) less a guide's ELBO; of the same draws where its own weights estimate log p(x)."""
    error = (
        lower.gap_error
        if evidence is lower
        else torch.hypot(evidence.log_px_error, lower.elbo_error)
    )
    return Gap(evidence.log_px - lower.elbo, error)
