"""What annealed chains say of log p(x).

Each increment of a log-weight is a small step of many, so that log-weights are near normal: the
upper end of an interval is the higher one of the delta method's and of that of a normal log w
(`lognormal.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vae.evidence.chains import Plan
from pyro_vae.evidence.estimate import Estimate
from pyro_vae.evidence.lognormal import beyond_normal, normal_mean, normal_upper, upper_level
from pyro_vae.evidence.weights import ess, log_mean_exp_error

WIDEST = 3.0  # nats; standard deviation of the log-weights above which an interval says nothing


@dataclass(frozen=True, repr=False)
class AnnealedEstimate(Estimate):
    """Estimates by annealing: lower bounds in expectation, or upper ones where `upper`.

    Attributes:
        log_weights: `(K, N)`; of a reverse run those of 1 / p(x).
        acceptance: share of proposals taken in the scored run, `(N,)`.
        plan: temperatures, chains, leapfrog steps.
        start: "prior", "guide" or "refined".
        upper: whether the chains ran backwards.
        blind: whether a scout, or the prior's own draws, have found what the guide, from which the
            chains start, misses.
    """

    log_weights: Tensor
    acceptance: Tensor
    plan: Plan
    start: str
    upper: bool
    blind: Tensor

    @property
    def method(self) -> str:
        """Such as `AIS(T=1000, K=16, L=5) from the prior`."""
        temperatures, chains, leapfrog = self.plan
        settings = f"(T={temperatures}, K={chains}, L={leapfrog})"
        start = "refined Gaussians" if self.start == "refined" else f"the {self.start}"
        return f"{'reverse ' * self.upper}AIS{settings} from {start}"

    @property
    def reliable(self) -> Tensor:
        """Whether the log-weights spread over at most 3 nats (standard deviation), and the start
        misses no mode.
        """
        return (self.log_weights.std(0) <= WIDEST) & ~self.blind

    @property
    def freedom(self) -> float:
        """K - 1."""
        return len(self.log_weights) - 1

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Upwards as for every estimate. For a reverse run, open below, and closed above by
        Markov's inequality: E[w] p(x) = 1.

        (All chains of a datum start at the same exact draw, whose own spread their error does not
        know.)
        """
        if self.upper:
            return torch.full_like(self.log_px, -math.inf), self.log_px - math.log1p(-level)

        delta, centre, above = self._delta(), self._centre(), upper_level(level)
        normal = normal_upper(self.log_weights, above)
        upper = torch.maximum(centre + self._quantile(above) * delta, normal)
        upper = torch.where(self.reliable, upper, math.inf)
        return centre - self._quantile(level) * delta, upper

    def mean_interval(self, level: float = 0.95) -> tuple[float, float]:
        """The same for the mean over data.

        The mean of m + v / 2 has little noise left, behind which a departure from the normal could
        hide. So the next two cumulants, k3 / 6 + k4 / 24, are added to its upper end where they are
        positive on average.
        """
        if self.upper:
            return -math.inf, self.mean - math.log1p(-level)

        delta = self._delta().square().sum().sqrt().item() / len(self.log_px)
        centre = self._centre().mean().item()
        normal = normal_mean(self.log_weights).mean().item() + beyond_normal(self.log_weights)

        quantile = self._quantile(upper_level(level))
        upper = max(centre + quantile * delta, normal + quantile * self.monte_carlo_error)
        lower = centre - self._quantile(level) * delta
        return lower, upper if self.reliable.all() else math.inf

    def _centre(self) -> Tensor:
        return self.log_px + torch.where(self.reliable, self._delta() ** 2 / 2, 0.0)

    def _delta(self) -> Tensor:
        return log_mean_exp_error(self.log_weights)

    def _further(self) -> Iterator[tuple[str, str]]:
        bound = "upper" if self.upper else "lower"
        yield "bound", f"{bound}, in expectation"
        taken = f"{self.acceptance.mean():.2f} of the proposals taken"
        yield "chains", f"{taken}, median ESS {ess(self.log_weights).median():.1f}"

    def columns(self) -> dict[str, Tensor]:
        return super().columns() | {
            "acceptance": self.acceptance,
            "ess": ess(self.log_weights),
            "log_weight_sd": self.log_weights.std(0),
        }

    def summary(self) -> dict[str, Any]:
        """Means over the data with standard errors over the data, by name."""
        return super().summary() | {
            "acceptance": self.acceptance.mean().item(),
            "ess_median": ess(self.log_weights).median().item(),
        }
