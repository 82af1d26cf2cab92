"""What guides lose: differences of estimates on the same data, by guide."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vae.evidence import Estimate, ImportanceEstimate
from pyro_vae.evidence.estimate import standard_error
from pyro_vae.results import Result, counted, with_error

_SURE = 2.0  # Monte Carlo standard errors of a mean below which it is not told from 0
_MEANS = ("elbo", "rate", "distortion", "log_px")
_SCORES = ("elbo", "elbo_error", "rate", "distortion", "log_px", "log_px_error", "ess", "pareto_k")


@dataclass(frozen=True, repr=False)
class Gap:
    """A difference of two estimates on the same data, nats.

    Attributes:
        values: per datum `(N,)`.
        errors: Monte Carlo standard errors of these `(N,)`: where one guide's draws gave both, by
            their covariance; else as if the draws were independent. That is too large for guides
            that answer alike, since all draw by one seed.
    """

    values: Tensor
    errors: Tensor

    @property
    def mean(self) -> float:
        """Mean over the data."""
        return self.values.mean().item()

    @property
    def std_error(self) -> float:
        """Standard error of the mean over data: how far the mean of another set of as many data
        would be; paired. NaN for one datum.
        """
        return standard_error(self.values)

    @property
    def monte_carlo_error(self) -> float:
        """Standard error of the mean by the particles' noise alone, on these data."""
        return self.errors.square().sum().sqrt().item() / len(self.errors)

    @property
    def resolved(self) -> bool:
        """Whether the mean is over two Monte Carlo errors away from 0: else the sign is noise."""
        return abs(self.mean) > _SURE * self.monte_carlo_error

    def __repr__(self) -> str:
        if not self.resolved:
            noise = _SURE * self.monte_carlo_error
            return f"not resolved (|{self.mean:.2g}| within {noise:.2g})"
        return f"{self.mean:.3f} +- {self.std_error:.3f}"


@dataclass(frozen=True, repr=False)
class Entry(Result):
    """What one guide costs.

    Attributes:
        family: its family, "" for a guide of none.
        best: name of the local guide of its family, whose ELBO is L[q*]; None where there is none.
        evidence: its ELBO, rate, distortion, log p(x), ESS and k-hat of each datum.
        inference: log p(x) - L[q].
        approximation: log p(x) - L[q*]; None without q*.
        amortization: L[q*] - L[q]; None without q*, and for q* itself.
        evaluations: times that the model scored each datum for a gradient before q was known,
            `(N,)`; 0 for a network alone, NaN for a table of which that is not known.
        seconds: wall clock per datum until q was known, all data together: a forward pass,
            optimisation, or both.
    """

    family: str
    best: str | None
    evidence: ImportanceEstimate
    inference: Gap
    approximation: Gap | None
    amortization: Gap | None
    evaluations: Tensor
    seconds: float

    @property
    def gaps(self) -> dict[str, Gap | None]:
        return {
            "inference": self.inference,
            "approximation": self.approximation,
            "amortization": self.amortization,
        }

    def headline(self) -> str:
        kind = f", {self.family}" if self.family else ""
        return f"a guide{kind}, {counted(len(self.inference.values), 'data')}, nats per datum"

    def figures(self) -> Iterator[tuple[str, str]]:
        for name in _MEANS:
            values = getattr(self.evidence, name)
            yield name, with_error(values.mean().item(), standard_error(values))
        for name, gap in self.gaps.items():
            if gap is not None:
                yield f"{name} gap", repr(gap)
        steps = self.evaluations.double().mean()
        taken = f"{steps:,.0f} evaluations and {1000 * self.seconds:.3g} ms per datum"
        yield "cost", "not known" if steps.isnan() else taken

    def summary(self) -> dict[str, Any]:
        """Means over the data, by name; None for what is absent or not told from noise."""
        found: dict[str, Any] = {"family": self.family, "q*": self.best}
        found |= {name: getattr(self.evidence, name).mean().item() for name in _MEANS}
        found["share_above_threshold"] = self.evidence.share_above_threshold

        for name, gap in self.gaps.items():
            told = gap is not None and gap.resolved
            found[f"{name}_gap"] = gap.mean if gap is not None and told else None
            found[f"{name}_error"] = gap.std_error if gap is not None and told else None

        found["evaluations"] = self.evaluations.double().mean().item()
        return found | {"seconds": self.seconds}

    def columns(self) -> dict[str, Tensor]:
        """Everything that is known of each datum `(N,)`; NaN for a gap that is not there."""
        missing = torch.full_like(self.evidence.elbo, math.nan)
        found = {name: getattr(self.evidence, name) for name in _SCORES}
        for name, gap in self.gaps.items():
            found[f"{name}_gap"] = missing if gap is None else gap.values
            found[f"{name}_gap_error"] = missing if gap is None else gap.errors
        return found | {"evaluations": self.evaluations.double()}


@dataclass(frozen=True, repr=False)
class Ledger(Result):
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
            yield {"guide": name} | entry.summary()

    def headline(self) -> str:
        data = counted(len(self.log_px), "data")
        return f"what each guide loses, {data}, nats per datum (mean +- standard error over data)"

    def figures(self) -> Iterator[tuple[str, str]]:
        estimate = self.estimate
        mean = with_error(estimate.mean, estimate.std_error)
        yield "log p(x)", f"{mean}, by {estimate.method} ({self.estimator})"

        for name, entry in self.entries.items():
            gaps = [f"{kind} {gap}" for kind, gap in entry.gaps.items() if gap is not None]
            told = gaps if entry.approximation is None else gaps[1:]
            yield name, f"ELBO {entry.evidence.elbo.mean():.2f}; gaps: {', '.join(told)}"
        yield "verdict", "; ".join(filter(None, (estimate.verdict, estimate.caveat)))

    def summary(self) -> dict[str, Any]:
        """log p(x), and the rows by the guides' names."""
        guides = {name: entry.summary() for name, entry in self.entries.items()}
        return {"estimator": self.estimator} | self.estimate.summary() | {"guides": guides}

    def columns(self) -> dict[str, Any]:
        """A row for each guide and datum."""
        size, names = len(self.log_px), list(self.entries)
        parts = [entry.columns() for entry in self.entries.values()]
        found: dict[str, Any] = {
            "guide": [name for name in names for _ in range(size)],
            "datum": list(range(size)) * len(names),
        }
        return found | {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
