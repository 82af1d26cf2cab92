"""What importance weights say of log p(x), and of themselves.

The interval comes from two halves of the particles. Weights that have missed their own tail look
light, and are low: so one half says whether an interval may be closed, by an upper limit of the
tail's shape (`tails.py`), and the other half draws it, up to what its unseen tail may add.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pyro_vae.evidence.estimate import Estimate, standard_error
from pyro_vae.evidence.tails import tail
from pyro_vae.evidence.weights import (
    ess,
    log_mean_exp,
    log_mean_exp_error,
    pareto_smoothed,
    pareto_threshold,
)
from pyro_vae.programs.traces import Particles
from pyro_vae.results import share, with_error

_HEAVIEST = 0.7  # shape of a tail by its upper limit, up to which an interval is closed


@dataclass(frozen=True, repr=False)
class ImportanceEstimate(Estimate):
    """Importance-sampling estimates per datum, `(N,)` float64 nats on the CPU, with their health.

    `log_px` is a lower bound of log p(x) in expectation; elbo = -(rate + distortion) is a looser
    one.

    Attributes:
        smoothed: log p(x) from Pareto-smoothed weights: less noise, no bound.
        elbo, elbo_error, rate, distortion: of the guide; with `defensive`, of its mixture with the
            prior.
        gap_error: standard error of log_px - elbo, which share their draws.
        ess: effective number of the particles.
        pareto_k: shape of the weights' tail.
        shape_limit: upper limit of that shape, by one half of the particles.
        judge_error: the error of log p(x) by that half.
        half_log_px, half_error, unseen: log p(x), its error (that of rounding included) and what
            the unseen tail may add, by the other half.
        blind: whether such particles cannot vouch: a scout, or the prior's own draws, have found
            what the guide misses, or a latent is discrete.
        num_particles: S, the fewest of any datum.
        proposal: what drew them; "importance" stands for the guide.
    """

    smoothed: Tensor
    elbo: Tensor
    elbo_error: Tensor
    rate: Tensor
    distortion: Tensor
    gap_error: Tensor
    ess: Tensor
    pareto_k: Tensor
    shape_limit: Tensor
    judge_error: Tensor
    half_log_px: Tensor
    half_error: Tensor
    unseen: Tensor
    blind: Tensor
    num_particles: int
    proposal: str = field(default="importance", kw_only=True)

    @property
    def method(self) -> str:
        """Such as `importance(S=5000)`, or `importance(S=1000 or more)` where some had more."""
        some = self.proposal == "importance" and self.evaluations > self.num_particles
        more = " or more" * some
        return f"{self.proposal}(S={self.num_particles}{more})"

    @property
    def reliable(self) -> Tensor:
        """Whether the tail's shape is at most 0.7 by its upper limit, and nothing makes the weights
        blind.
        """
        light = (self.shape_limit <= _HEAVIEST) & self.unseen.isfinite()
        return light & self.half_error.isfinite() & ~self.blind

    def spoken(self) -> ImportanceEstimate:
        """The same with log p(x) by the half of the particles that has not judged: a lower bound in
        expectation for data that are chosen by what the other half says.
        """
        return replace(self, log_px=self.half_log_px, log_px_error=self.half_error)

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Lower and upper end for each datum's log p(x), `(N,)` each; where `reliable` by one half
        of the particles.

        Elsewhere from below the estimate by all of them up to infinity.
        """
        quantile = self._quantile(level)
        lower, upper = self._by_half(quantile)
        open_end = self.log_px - quantile * self.log_px_error
        reliable = self.reliable
        return torch.where(reliable, lower, open_end), torch.where(reliable, upper, math.inf)

    def mean_interval(self, level: float = 0.95) -> tuple[float, float]:
        """The same for the mean over these data: noise averages out over data, what unseen tails
        may add does not.
        """
        if not self.reliable.all():
            return super().mean_interval(level)

        quantile = self._quantile(level)
        centre = (self.half_log_px + self.half_error**2 / 2).mean().item()
        reach = quantile * self.half_error.square().sum().sqrt().item() / len(self.half_error)

        _, upper = self._by_half(quantile)
        tails = upper - self.half_log_px - self.half_error**2 / 2 - quantile * self.half_error
        return centre - reach, centre + reach + tails.mean().item()

    def _by_half(self, quantile: float) -> tuple[Tensor, Tensor]:
        reach, centre = quantile * self.half_error, self.half_log_px + self.half_error**2 / 2
        with_tail = self.half_log_px + (reach**2 + self.unseen**2).sqrt()
        return centre - reach, torch.maximum(centre + reach, with_tail)

    @property
    def share_above_threshold(self) -> float:
        """Share of the data whose k-hat is above `pareto_threshold(S)`, or unknown; NaN with too
        few particles to tell.
        """
        threshold = pareto_threshold(self.num_particles)
        if math.isnan(threshold):
            return math.nan
        return (~(self.pareto_k <= threshold)).double().mean().item()

    def _further(self) -> Iterator[tuple[str, str]]:
        scores = (("ELBO", self.elbo), ("rate", self.rate), ("distortion", self.distortion))
        for name, values in scores:
            yield name, with_error(values.mean().item(), standard_error(values))

        threshold, above = pareto_threshold(self.num_particles), share(self.share_above_threshold)
        healthy = f"k-hat above {threshold:.2f} on {above} of the data, " * math.isfinite(threshold)
        yield "weights", f"{healthy}median ESS {self.ess.median():,.0f}"

    def columns(self) -> dict[str, Tensor]:
        names = ("elbo", "elbo_error", "rate", "distortion", "smoothed", "ess", "pareto_k")
        return super().columns() | {name: getattr(self, name) for name in names}

    def summary(self) -> dict[str, Any]:
        """Means over the data with standard errors over the data, by name."""
        names = ("elbo", "rate", "distortion")
        means = {name: getattr(self, name).mean().item() for name in names}
        errors = {f"{name}_error": standard_error(getattr(self, name)) for name in names}
        return means | errors | super().summary() | {
            "log_px_smoothed": self.smoothed.mean().item(),
            "ess_median": self.ess.median().item(),
            "pareto_k_max": self.pareto_k.max().item(),
            "share_above_threshold": self.share_above_threshold,
            "share_blind": self.blind.double().mean().item(),
            "num_particles": self.num_particles,
        }  # fmt: skip


def statistics_of(draws: Particles) -> dict[str, Tensor]:
    """Per-datum statistics of log-densities `(S, B)`, in float64, by attribute: computed where the
    densities are, and brought to the CPU.
    """
    log_prior, log_likelihood, log_guide = (part.double() for part in draws)
    log_w = log_prior + log_likelihood - log_guide
    khat, smoothed = pareto_smoothed(log_w)

    size = log_prior.abs() + log_likelihood.abs() + log_guide.abs()
    size = size.nan_to_num(posinf=0.0)  # of those that weigh
    rounding = torch.finfo(draws.log_prior.dtype).eps * size.mean(0)

    judge, other = log_w[0::2], log_w[1::2] if len(log_w) > 1 else log_w
    found = {
        "log_px": log_mean_exp(log_w),
        "log_px_error": log_mean_exp_error(log_w),
        "elbo": log_w.mean(0),
        "elbo_error": _error(log_w),
        "rate": (log_guide - log_prior).mean(0),
        "distortion": -log_likelihood.mean(0),
        "gap_error": _gap_error(log_w),
        "ess": ess(log_w),
        "pareto_k": khat,
        "smoothed": smoothed,
        "shape_limit": tail(judge).limit,
        "judge_error": log_mean_exp_error(judge),
        "half_log_px": log_mean_exp(other),
        "half_error": torch.hypot(log_mean_exp_error(other), rounding),
        "unseen": tail(other).unseen,
    }
    return {name: values.cpu() for name, values in found.items()}


def _error(values: Tensor) -> Tensor:
    """Standard error of the mean of values `(S, B)`, `(B,)`: NaN for S = 1, infinite where a value
    is.
    """
    if len(values) == 1:
        return torch.full_like(values[0], math.nan)
    infinite = values.isinf().any(0)
    return torch.where(infinite, math.inf, values.std(0) / math.sqrt(len(values)))


def _gap_error(log_w: Tensor) -> Tensor:
    """Standard error of log mean w - mean log w `(B,)`, by the delta method: that of the mean of
    w / mean w - log w.
    """
    return _error(torch.exp(log_w - log_mean_exp(log_w)) - log_w)
