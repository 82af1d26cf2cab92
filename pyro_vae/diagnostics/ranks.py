"""Ranks of the truth among a guide's draws, and what they say of the guide.

A right guide has uniform ranks. They lean to a side where it is biased, gather at both ends where
it is too narrow and in the middle where it is too wide; the ranks of log q tell how often its
highest-density regions hold the truth.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.arguments import check_level, refuse
from pyro_vae.diagnostics.uniformity import critical, limits, p_value
from pyro_vae.results import Result, counted

DENSITIES = ("log_joint", "log_likelihood", "log_guide")
_LEVELS = (0.5, 0.8, 0.95)
_CLEAR = 3.0  # standard errors from which on the ranks are said to lean or to spread


@dataclass(frozen=True, repr=False)
class Calibration(Result):
    """Ranks of the truth among a guide's draws, by quantity, and what they say of the guide.

    Attributes:
        ranks: of each latent unit (`latent[3]`), "log_joint", "log_likelihood" and "log_guide";
            `(R,)` in 0..L each.
        num_draws: L.
        seed: of the simulations and the draws.
        alpha: the chance, at most, that anything is flagged of a guide that is right; each of Q
            quantities is tested at alpha / Q.
    """

    ranks: dict[str, Tensor]
    num_draws: int
    seed: int
    alpha: float

    @property
    def num_simulations(self) -> int:
        """R."""
        return len(self.ranks["log_guide"])

    @cached_property
    def p_values(self) -> dict[str, float]:
        """Exact probability, by quantity, of ECDFs as far from uniform if the guide is right; not
        corrected for Q.
        """
        return {name: p_value(ranks, self.num_draws) for name, ranks in self.ranks.items()}

    @property
    def flagged(self) -> list[str]:
        """The quantities that deviate, p <= alpha / Q (Bonferroni, as they depend on each other),
        the worst first.
        """
        bound = self.alpha / len(self.ranks)
        worst = sorted(self.p_values.items(), key=lambda item: item[1])
        return [name for name, p in worst if p <= bound]

    @property
    def calibrated(self) -> bool:
        """Whether no quantity deviates, as far as R simulations and these quantities could show."""
        return not self.flagged

    def coverage(self, levels: Sequence[float] = _LEVELS) -> tuple[Tensor, Tensor]:
        """Expected coverage of the guide's highest-density regions at K levels, and its standard
        error, `(K,)` each.

        The region of level c holds z* where the share of draws of higher density is below c, and in
        part where that is between two multiples of 1 / (L + 1): a right guide has mean c at any L.
        Below c a guide is too sure of itself. The error is the binomial one of (k + 1) / (R + 2),
        never 0.
        """
        return held_of(self.num_draws - self.ranks["log_guide"], self.num_draws, levels)

    def ecdf(self, name: str) -> Tensor:
        """Share of a quantity's ranks that are <= i, for i = 0..L, `(L + 1,)`: a straight line to 1
        if it is calibrated.
        """
        if name not in self.ranks:
            refuse("name", name, f"one of {', '.join(self.ranks)}")
        counts = torch.bincount(self.ranks[name], minlength=self.num_draws + 1)
        return counts.cumsum(0) / self.num_simulations

    def band(self, level: float | None = None) -> tuple[Tensor, Tensor]:
        """Lowest and highest ECDF `(L + 1,)`; a right guide's stays within both, all of it, with
        this probability or more.

        The level is 1 - alpha / Q unless given: a quantity is flagged exactly where its ECDF leaves
        that band.
        """
        level = 1 - self.alpha / len(self.ranks) if level is None else level
        check_level("level", level)
        return band_of(self.num_simulations, self.num_draws, level)

    @property
    def verdict(self) -> str:
        """One sentence: what deviates, and in which way where the ranks show one."""
        num, flagged = len(self.ranks), self.flagged
        if not flagged:
            level = f"{100 * self.alpha:g}% level ({self.num_simulations} simulations)"
            return f"calibrated: no deviation of {num} quantities at the {level}"

        shown = ", ".join(f"{name} ({told_p(self.p_values[name])})" for name in flagged[:4])
        more = f" and {len(flagged) - 4} more of {num}" if len(flagged) > 4 else ""
        cause = self._cause(flagged)
        return f"miscalibrated: {shown}{more}" + (f": the guide {cause}" if cause else "")

    def headline(self) -> str:
        made = counted(self.num_simulations, "simulations")
        return f"calibration of {len(self.ranks)} quantities, {made}, {self.num_draws} draws each"

    def figures(self) -> Iterator[tuple[str, str]]:
        held, error = self.coverage(_LEVELS)
        for level, share, noise in zip(_LEVELS, held, error, strict=True):
            told = f"hold the truth in {100 * share:.1f} +- {100 * noise:.1f}%"
            yield f"{100 * level:.0f}% regions", told

        worst = sorted(self.p_values.items(), key=lambda item: item[1])[:4]
        yield "least p", ", ".join(f"{name} {told_p(p)}" for name, p in worst)
        yield "verdict", self.verdict

    def summary(self) -> dict[str, Any]:
        """Coverage, p-values, what is flagged, and the verdict, by name."""
        held, error = self.coverage(_LEVELS)
        return {
            "coverage": dict(zip(map(str, _LEVELS), held.tolist(), strict=True)),
            "coverage_error": error.tolist(),
            "p_values": self.p_values,
            "flagged": self.flagged,
            "verdict": self.verdict,
            "num_simulations": self.num_simulations,
            "num_draws": self.num_draws,
            "seed": self.seed,
        }

    def columns(self) -> dict[str, Tensor]:
        """The ranks of each quantity, a row for each simulation."""
        return self.ranks

    def _cause(self, flagged: list[str]) -> str:
        """What the flagged ranks have in common; "" where they show no direction."""
        units = [name for name in self.ranks if name not in DENSITIES]
        signs = {name: lean_and_spread(self.ranks[name], self.num_draws) for name in flagged}
        words = Counter(_word(*signs[name]) for name in flagged if name in units)
        if any(words):
            told = []
            for word, count in words.most_common():
                if word:
                    told.append(f"{word} in {count} of {len(units)} units")
            return "is " + ", ".join(told)

        if "log_guide" in signs:
            lean, _ = signs["log_guide"]
            if abs(lean) <= _CLEAR:
                return ""
            return f"is too {'narrow' if lean < 0 else 'wide'} as a whole"

        explains_less = "log_likelihood" in signs and signs["log_likelihood"][0] > _CLEAR
        return "ignores x, or a part of it" if explains_less and not words else ""


def held_of(ranks: Tensor, num_draws: int, levels: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Share of the truths in regions of K levels, and its standard error, `(K,)` each, by the
    number of draws `(R,)` that come into the region before the truth does.
    """
    listed = isinstance(levels, Sequence | Tensor)
    numbers = listed and all(isinstance(c, int | float | Tensor) for c in levels)
    asked = torch.as_tensor(levels if numbers else math.nan, dtype=torch.float64)
    if asked.dim() != 1 or not ((asked >= 0) & (asked <= 1)).all():
        refuse("levels", levels, "numbers between 0 and 1")

    held = (asked[:, None] * (num_draws + 1) - ranks).clamp(0, 1).mean(1)
    smooth = (held * len(ranks) + 1) / (len(ranks) + 2)
    return held, (smooth * (1 - smooth) / len(ranks)).sqrt()


def band_of(num: int, num_draws: int, level: float) -> tuple[Tensor, Tensor]:
    """Lowest and highest ECDF `(L + 1,)` of so many uniform ranks, with this probability."""
    bounds = limits(critical(num, num_draws, 1 - level), num, num_draws)
    lower, upper = (torch.as_tensor(np.append(limit, num)) / num for limit in bounds)
    return lower, upper


def told_p(p: float) -> str:
    """A p-value in words."""
    return "p < 1e-4" if p < 1e-4 else f"p = {p:.1g}"


def lean_and_spread(ranks: Tensor, num_draws: int) -> tuple[float, float]:
    """Mean rank and mean square about the middle, less those of uniform ranks, in std. errors."""
    centred = (ranks.double() + 0.5) / (num_draws + 1) - 0.5
    square = centred.square().mean().item() - (1 - (num_draws + 1) ** -2) / 12
    return centred.mean().item() * math.sqrt(12 * len(ranks)), square * math.sqrt(180 * len(ranks))


def _word(lean: float, spread: float) -> str:
    """What a unit's ranks say of the guide: to a side if it is biased, a U where it is narrow, an
    arch where it is wide.
    """
    if max(abs(lean), abs(spread)) < _CLEAR:
        return ""
    if abs(lean) > abs(spread):
        return "biased (too high)" if lean < 0 else "biased (too low)"
    return "too narrow" if spread > 0 else "too wide"
