"""Which of several estimates of log p(x) is the highest, on the same data, and whether the data
tell.

The difference of two models on one datum, d_n = log p_a(x_n) - log p_b(x_n), varies much less from
datum to datum than log p(x_n) itself, because what is hard for one model is hard for another. So
differences are paired:

    mean d  +-  sd(d) / sqrt(N)

with the noise of the estimates in it, as it is different for each datum. The error is that of
another draw of N data. It does not hold what the estimates have in common on all data: where they
are lower bounds, one may be the tighter, and the ranking then says so.

References:
    Vehtari, Gelman, Gabry (2017). Practical Bayesian model evaluation using leave-one-out
        cross-validation and WAIC. arXiv:1507.04544, section 5 (paired differences).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import check_kind
from pyro_vae.evidence import Estimate
from pyro_vae.evidence.estimate import standard_error
from pyro_vae.results import Result, counted, share, with_error

_LEVEL = 0.95


@dataclass(frozen=True, repr=False)
class Ranking(Result):
    """Estimates of the same data, the highest mean first.

    Attributes:
        estimates: by their names, in their order.
    """

    estimates: dict[str, Estimate]

    @property
    def leader(self) -> str:
        """The name with the highest mean."""
        return next(iter(self.estimates))

    @property
    def others(self) -> list[str]:
        return list(self.estimates)[1:]

    @property
    def num_data(self) -> int:
        return len(self.estimates[self.leader].log_px)

    @property
    def quantile(self) -> float:
        """Standard errors that a difference must exceed to be resolved: 95%, on both sides, over
        all comparisons with the leader together (Bonferroni).
        """
        from scipy import stats

        tail = (1 - _LEVEL) / 2 / max(1, len(self.others))
        return float(stats.t.ppf(1 - tail, max(1, self.num_data - 1)))

    def differences(self, name: str) -> Tensor:
        """log p(x) of the leader less that of another, of each datum, `(N,)` nats."""
        return self.estimates[self.leader].log_px - self.estimates[name].log_px

    def difference(self, name: str) -> tuple[float, float]:
        """Their mean and its paired standard error, nats per datum."""
        paired = self.differences(name)
        return paired.mean().item(), standard_error(paired)

    def is_resolved(self, name: str) -> bool:
        """Whether the data tell the leader from another."""
        mean, error = self.difference(name)
        return mean > self.quantile * error

    @property
    def verdict(self) -> str:
        """Who leads, whom the data do not tell from it, and whether bounds stand in the way."""
        tied = [name for name in self.others if not self.is_resolved(name)]
        if not self.others:
            told = f"{self.leader} alone"
        elif tied:
            told = f"not resolved: {self.leader} and {', '.join(tied)} are level on these data"
            if len(tied) < len(self.others):
                told += ", the others below"
        else:
            told = f"{self.leader} leads"

        open_ones = [name for name, each in self.estimates.items() if not each.reliable.all()]
        if open_ones and self.others:
            told += (
                f"; lower bounds are compared ({self._vouched(open_ones)}), of which one may be"
                " the tighter: a difference of some tenths may be that of the bounds"
            )
        return told

    def _vouched(self, names: list[str]) -> str:
        shares = [self.estimates[name].reliable.double().mean().item() for name in names]
        listed = [f"{name} {share(value)}" for name, value in zip(names, shares, strict=True)]
        return f"errors vouched for: {', '.join(listed)}"

    def headline(self) -> str:
        number = counted(len(self.estimates), "estimates")
        return f"{number} of log p(x) on the same {counted(self.num_data, 'data')}, nats per datum"

    def figures(self) -> Iterator[tuple[str, str]]:
        for name, found in self.estimates.items():
            told = with_error(found.mean, found.std_error)
            if name != self.leader:
                mean, error = self.difference(name)
                told += f"; below the leader by {with_error(mean, error)}"
                told += "" if self.is_resolved(name) else " (not resolved)"
            yield name, told
        yield "verdict", self.verdict

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each: mean, what it lacks to the leader, paired errors, whether it is told."""
        for name, found in self.estimates.items():
            first = name == self.leader
            mean, error = (0.0, math.nan) if first else self.difference(name)
            yield {
                "name": name,
                "log_px": found.mean,
                "log_px_error": found.std_error,
                "below_leader": mean,
                "below_leader_error": error,
                "resolved": None if first else self.is_resolved(name),
                "share_reliable": found.reliable.double().mean().item(),
                "method": found.method,
            }

    def summary(self) -> dict[str, Any]:
        """The leader, the verdict, and a row for each."""
        facts = {"leader": self.leader, "num_data": self.num_data, "verdict": self.verdict}
        return facts | {"rows": list(self.rows())}

    def columns(self) -> dict[str, list[Any]]:
        """A row for each estimate; the leader's is not resolved from itself."""
        rows = [row | {"resolved": bool(row["resolved"])} for row in self.rows()]
        return {name: [row[name] for row in rows] for name in rows[0]}


def rank(estimates: Mapping[str, Estimate]) -> Ranking:
    """Order estimates of log p(x) of the same data, and say which differences the data resolve.

    Args:
        estimates: by a name for each, at least one; row n of each is the same datum, which is for
            the caller to see to (`pyro-vae rank` compares fingerprints).

    Raises:
        ValueError: no estimates, those of other numbers of data, values that are not finite.

    Example:
        >>> from pyro_vae import Exact, LinearGaussian, log_evidence
        >>> model = LinearGaussian(5, 2)
        >>> found = log_evidence(model, None, model.sample(200), Exact())
        >>> rank({"one": found, "the same": found}).verdict
        'not resolved: one and the same are level on these data'
    """
    check_kind("estimates", estimates, Mapping, "estimates by their names")
    if not estimates or not all(isinstance(name, str) for name in estimates):
        raise ValueError(
            f"estimates: got {list(estimates) or 'none'}, expected at least one, by its name"
        )

    for name, found in estimates.items():
        check_kind(f"estimates[{name!r}]", found, Estimate, "an Estimate, as log_evidence returns")
        if not torch.isfinite(found.log_px).all():
            raise ValueError(f"estimates[{name!r}]: got values that are not finite")
    sizes = {name: len(found.log_px) for name, found in estimates.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"estimates: got {sizes}, expected the same data for all")

    order = sorted(estimates, key=lambda name: estimates[name].mean, reverse=True)
    return Ranking({name: estimates[name] for name in order})
