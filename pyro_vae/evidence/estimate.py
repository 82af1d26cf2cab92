"""What every method says of log p(x): a number for each datum, its error, and an honest interval.

An estimate p_hat of p(x) that is unbiased, with relative standard error s, has
E[log p_hat] = log p(x) - s^2 / 2 + ...: it is a lower bound in expectation. The interval is centred
where that is put right,

    log p_hat + s^2 / 2  +-  q s,

q a quantile of Student's t (few chains) or of the normal distribution (many particles). Its upper
end is infinite, its centre log p_hat itself, where the method's own diagnostic says that s is not
to be believed: a set of weights that has missed the bulk of the posterior looks tight, and is a
lower bound and nothing else.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self, cast

import torch
from torch import Tensor

from pyro_vae.arguments import check_level
from pyro_vae.results import Result, counted, share, with_error

_NEARLY_ALL = 0.95


@dataclass(frozen=True, repr=False)
class Estimate(Result):
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
        """Standard error of `mean` over the draw of the data (Monte Carlo noise included); NaN for
        one datum.
        """
        return standard_error(self.log_px)

    @property
    def monte_carlo_error(self) -> float:
        """Standard error of `mean` for this very set of data, from the noise alone; NaN where it is
        unknown.
        """
        return self.log_px_error.square().sum().sqrt().item() / len(self.log_px)

    def take(self, rows: Tensor) -> Self:
        """The same of the data at these places."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        parts = {name: v[..., rows] for name, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **cast(dict[str, Any], parts))

    @property
    def verdict(self) -> str:
        """Whether the errors can be believed, in a sentence."""
        vouched = self.reliable.double().mean().item()
        if vouched == 1:
            return "the error is vouched for on all data"
        told = f"the error is vouched for on {share(vouched)} of the data"
        if vouched >= _NEARLY_ALL:
            return f"{told}; on the others the value is a lower bound and no more"
        return (
            f"{told}: read it as a lower bound; the method Best, or Annealed with more"
            " temperatures, may say more"
        )

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

    def reach(self) -> str:
        """The interval of the mean in words, such as `-83.770 to -83.750 (95%)`."""
        lower, upper = self.mean_interval()
        if math.isfinite(upper):
            return f"{lower:.3f} to {upper:.3f} (95%)"
        return f"at least {lower:.3f} (97.5%, in expectation)"

    def headline(self) -> str:
        return f"log p(x) of {counted(len(self.log_px), 'data')} by {self.method}, nats per datum"

    def figures(self) -> Iterator[tuple[str, str]]:
        over = " (over the data)" if math.isfinite(self.std_error) else ""
        yield "log p(x)", f"{with_error(self.mean, self.std_error)}{over}"
        yield "on these data", self.reach()
        yield from self._further()
        cost = f"{self.evaluations:,.0f} evaluations per datum, " if self.evaluations else ""
        yield "cost", f"{cost}{self.seconds:.1f} s, seed {self.seed}"
        yield "verdict", "; ".join(filter(None, (self.verdict, self.caveat)))

    def _further(self) -> Iterator[tuple[str, str]]:
        """Figures of a method's own."""
        yield from ()

    def columns(self) -> dict[str, Tensor]:
        lower, upper = self.interval()
        return {
            "log_px": self.log_px,
            "log_px_error": self.log_px_error,
            "lower": lower,
            "upper": upper,
            "reliable": self.reliable,
        }

    def summary(self) -> dict[str, Any]:
        """Means over the data with standard errors over the data, by name."""
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
