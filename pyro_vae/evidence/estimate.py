"""What every method says of log p(x): a number for each datum, its error, and the interval that can
be honestly drawn.

An estimate p_hat of p(x) that is unbiased, with relative standard error s, has E[log p_hat] = log
p(x) - s^2 / 2 + ...: it is a lower bound in expectation. The interval is centred where that is put
right,

    log p_hat + s^2 / 2  +-  q s,

with q a quantile of Student's t (few chains) or of the normal distribution (many particles), and
its upper end is infinite, its centre log p_hat itself, where the method's own diagnostic says
that s is not to be believed: a set of weights that has missed the bulk of the posterior looks
tight, and is a lower bound and nothing else.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import check_level


@dataclass(frozen=True)
class Estimate(ABC):
    """log p(x) of each datum, `(N,)` float64 nats on the CPU.

    Attributes:
        log_px: the estimate; a subclass says which way it is biased.
        log_px_error: its Monte Carlo standard error.
        evaluations: times that the model scored or differentiated each datum at one latent.
        seconds: wall clock for all data together.
        seed: of the noise.
        caveat: what the model's likelihood says must stand beside these figures; empty where they
            are log p(x).
    """

    log_px: Tensor
    log_px_error: Tensor
    evaluations: float
    seconds: float
    seed: int
    caveat: str = field(default="", kw_only=True)

    @property
    @abstractmethod
    def method(self) -> str:
        """The estimator's name, with its budget."""

    @property
    @abstractmethod
    def reliable(self) -> Tensor:
        """Whether the standard error of each datum can be believed, `(N,)`."""

    @property
    def freedom(self) -> float:
        """Degrees of freedom behind the standard errors."""
        return math.inf

    @property
    def mean(self) -> float:
        """Mean of log p(x) over the data, nats per datum."""
        return self.log_px.mean().item()

    @property
    def std_error(self) -> float:
        """Standard error of `mean` over draws of data and Monte Carlo noise; NaN for one datum."""
        return standard_error(self.log_px)

    @property
    def monte_carlo_error(self) -> float:
        """Standard error of `mean` for this very set of data, from noise alone; NaN if unknown."""
        return self.log_px_error.square().sum().sqrt().item() / len(self.log_px)

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Lower and upper end of an interval for each datum's log p(x), `(N,)` each; infinite above
        where not `reliable`.
        """
        reach, centre = self._quantile(level) * self.log_px_error, self._centre()
        return centre - reach, torch.where(self.reliable, centre + reach, math.inf)

    def mean_interval(self, level: float = 0.95) -> tuple[float, float]:
        """The same for the mean over these data; infinite above where a datum is not `reliable`."""
        reach = self._quantile(level) * self.monte_carlo_error
        centre = self._centre().mean().item()
        return centre - reach, centre + reach if self.reliable.all() else math.inf

    def summary(self) -> dict[str, Any]:
        """Means over the data with standard errors over the data, by name: what a table or a JSON
        file needs.
        """
        lower, upper = self.mean_interval()
        caveat = {"caveat": self.caveat} if self.caveat else {}
        return caveat | {
            "method": self.method,
            "log_px": self.mean,
            "log_px_error": self.std_error,
            "log_px_monte_carlo_error": self.monte_carlo_error,
            "log_px_lower": lower,
            "log_px_upper": upper,
            "share_reliable": self.reliable.double().mean().item(),
            "evaluations": self.evaluations,
            "seconds": round(self.seconds, 3),
            "num_data": len(self.log_px),
            "seed": self.seed,
        }

    def _centre(self) -> Tensor:
        """log p_hat with its bias put right, where the error that this takes can be believed."""
        return self.log_px + torch.where(self.reliable, self.log_px_error**2 / 2, 0.0)

    def _quantile(self, level: float) -> float:
        from scipy import stats  # half a second, which only intervals need

        check_level("level", level)
        return float(stats.t.ppf((1 + level) / 2, self.freedom))


def standard_error(values: Tensor) -> float:
    """Standard error of the mean of `values` `(N,)`; NaN for N = 1."""
    if len(values) > 1 and values.isinf().any():
        return math.inf
    return values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan
