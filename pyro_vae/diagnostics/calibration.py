"""Is a guide right under its own model? Simulation-based calibration, expected coverage, and a
verdict.

Latents and data drawn together, (z*, x) ~ p(z, x), make z* an exact draw from the posterior of x.
So if q(z | x) is that posterior, z* is one more of its draws, and for any quantity f the rank of
the truth is uniform:

    r = #{l : f(z_l, x) < f(z*, x)},  z_1, ..., z_L ~ q(. | x)   =>   r ~ Uniform{0, ..., L}

with ties broken at random. f is each latent unit, log p(x, z), log p(x | z) and log q(z | x). A
guide that returns the prior passes the units and fails the likelihood; the ranks of log q tell how
often its highest-density regions hold the truth. The ECDF of the ranks of each quantity is held to
a simultaneous band (`uniformity.py`). All of this is about data of the *model*: a guide that passes
may be wrong on real data that the model would not draw.

References: Talts, Betancourt, Simpson, Vehtari, Gelman (2018); Modrak et al. (2023); Hermans et al.
(2022).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pyro_vae.arguments import check_level, refuse
from pyro_vae.diagnostics.uniformity import critical, limits, p_value
from pyro_vae.programs.calls import called
from pyro_vae.programs.checks import check_programs
from pyro_vae.programs.evaluation import device_of, evaluation, isolated_noise
from pyro_vae.programs.inputs import check_like, check_numbers, check_sites, simulated_rows
from pyro_vae.programs.parts import takes_parts
from pyro_vae.programs.simulation import simulate
from pyro_vae.programs.traces import Program, log_joint, plate_depth, sample_guide

DENSITIES = ("log_joint", "log_likelihood", "log_guide")
_ROWS = 20_000  # latents drawn and scored in one run
_CLEAR = 3.0  # standard errors from which on the ranks are said to lean or to spread


@dataclass(frozen=True)
class Calibration:
    """Ranks of the truth among a guide's draws, by quantity, and what they say of the guide.

    Attributes:
        ranks: of each latent unit (`latent[3]`), "log_joint", "log_likelihood" and "log_guide";
            `(R,)` in 0..L each.
        num_draws: L.
        seed: of the simulations and the draws.
        alpha: chance of flagging anything of a guide that is right, at most; each of Q quantities
            is tested at alpha / Q.
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
        return [
            name
            for name, p in sorted(self.p_values.items(), key=lambda item: item[1])
            if p <= bound
        ]

    @property
    def calibrated(self) -> bool:
        """Whether no quantity deviates: what R simulations and these quantities could show, they
        did not.
        """
        return not self.flagged

    def coverage(self, levels: Sequence[float] = (0.5, 0.8, 0.95)) -> tuple[Tensor, Tensor]:
        """Expected coverage of the guide's highest-density regions at K levels, and its standard
        error, `(K,)` each.

        The region of level c holds z* where the share of draws of higher density is below c, and in
        part where that is between two multiples of 1 / (L + 1): a right guide has mean c at any L.
        Below c a guide is too sure of itself. The error is the binomial one of (k + 1) / (R + 2),
        never 0.
        """
        numbers = isinstance(levels, Sequence | Tensor) and all(
            isinstance(c, int | float | Tensor) for c in levels
        )
        asked = torch.as_tensor(levels if numbers else math.nan, dtype=torch.float64)
        if asked.dim() != 1 or not ((asked >= 0) & (asked <= 1)).all():
            refuse("levels", levels, "numbers between 0 and 1")
        higher = self.num_draws - self.ranks["log_guide"]
        held = (asked[:, None] * (self.num_draws + 1) - higher).clamp(0, 1).mean(1)
        smooth = (held * self.num_simulations + 1) / (self.num_simulations + 2)
        return held, (smooth * (1 - smooth) / self.num_simulations).sqrt()

    def ecdf(self, name: str) -> Tensor:
        """Share of a quantity's ranks that are <= i, for i = 0..L, `(L + 1,)`: a straight line to 1
        if it is calibrated.
        """
        if name not in self.ranks:
            refuse("name", name, f"one of {', '.join(self.ranks)}")
        return (
            torch.bincount(self.ranks[name], minlength=self.num_draws + 1).cumsum(0)
            / self.num_simulations
        )

    def band(self, level: float | None = None) -> tuple[Tensor, Tensor]:
        """Lowest and highest ECDF `(L + 1,)`; a right guide's stays within both, all of it, with
        this probability or more.

        The level is 1 - alpha / Q unless given: a quantity is flagged exactly where its ECDF leaves
        that band.
        """
        level = 1 - self.alpha / len(self.ranks) if level is None else level
        check_level("level", level)
        num = self.num_simulations
        bounds = limits(critical(num, self.num_draws, 1 - level), num, self.num_draws)
        lower, upper = (torch.as_tensor(np.append(limit, num)) / num for limit in bounds)
        return lower, upper

    def verdict(self) -> str:
        """One sentence: what deviates, and in which way where the ranks show one."""
        num, flagged = len(self.ranks), self.flagged
        if not flagged:
            level = f"{100 * self.alpha:g}% level ({self.num_simulations} simulations)"
            return f"calibrated: no deviation of {num} quantities at the {level}"
        p = {
            name: "p < 1e-4" if value < 1e-4 else f"p = {value:.1g}"
            for name, value in self.p_values.items()
        }
        shown = ", ".join(f"{name} ({p[name]})" for name in flagged[:4])
        more = f" and {len(flagged) - 4} more of {num}" if len(flagged) > 4 else ""
        cause = self._cause(flagged)
        return f"miscalibrated: {shown}{more}" + (f": the guide {cause}" if cause else "")

    def _cause(self, flagged: list[str]) -> str:
        """What the flagged ranks have in common; "" where they show no direction."""
        units = [name for name in self.ranks if name not in DENSITIES]
        signs = {name: _lean_and_spread(self.ranks[name], self.num_draws) for name in flagged}
        words = Counter(_word(*signs[name]) for name in flagged if name in units)
        if any(words):
            told = [
                f"{word} in {count} of {len(units)} units"
                for word, count in words.most_common()
                if word
            ]
            return "is " + ", ".join(told)
        if "log_guide" in signs:
            lean, _ = signs["log_guide"]
            return (
                f"is too {'narrow' if lean < 0 else 'wide'} as a whole"
                if abs(lean) > _CLEAR
                else ""
            )
        explains_less = "log_likelihood" in signs and signs["log_likelihood"][0] > _CLEAR
        return "ignores x, or a part of it" if explains_less and not words else ""


def check_calibration(
    model: Program,
    guide: Program,
    like: Tensor,
    index: Tensor | None = None,
    *,
    num_simulations: int = 1000,
    num_draws: int = 99,
    seed: int = 0,
    alpha: float = 0.05,
) -> Calibration:
    """Rank the truth of simulated data among a guide's draws, unit by unit and by log-density.

    Args:
        model, guide: Pyro programs `program(x, index)`; the guide must answer for any x and know
            its density at any latent.
        like: data `(N, *shape)` of the kind that the model scores, whose values do not matter.
        index: rows of the dataset `(N,)` of these; simulated data take turns with them.
        num_simulations: R, data that are simulated; what deviates by less than about 1 / sqrt(R)
            goes unseen.
        num_draws: L, of the guide for each.
        seed: of both; the caller's random state is untouched.
        alpha: chance of flagging a guide that is right, at most.

    Raises:
        ValueError: numbers out of range, a guide with parameters per datum or auxiliary sites,
            programs that do not match, or a quantity that is not finite.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian
        >>> model, like = LinearGaussian(5, 2), torch.zeros(1, 5)
        >>> check_calibration(model, ExactGuide(model), like, num_simulations=100).verdict()
        'calibrated: no deviation of 5 quantities at the 5% level (100 simulations)'
    """
    check_numbers(
        {"num_simulations": (num_simulations, 20), "num_draws": (num_draws, 5), "seed": (seed, 0)}
    )
    check_level("alpha", alpha)
    check_like(model, like)
    _check_guide(guide, like)
    like = like.to(device_of(model, guide) or like.device)
    counts: list[dict[str, Tensor]] = []
    with evaluation(model, guide, device=like.device):
        batches = torch.arange(num_simulations, device=like.device).split(
            max(1, _ROWS // (num_draws + 1))
        )
        for number, rows in enumerate(batches):
            torch.manual_seed(
                int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0])
            )
            some, numbers = simulated_rows(like, index, rows)
            truth, x = simulate(model, some, numbers)
            if number == 0:
                check_programs(model, guide, x, numbers)
                check_sites(guide, x, numbers)
            values = _quantities(model, guide, truth, x, numbers, num_draws)
            counts.append(
                {name: _below_and_equal(name, value).cpu() for name, value in values.items()}
            )
    ties = torch.Generator().manual_seed(seed)
    ranks = {}
    for name in counts[0]:
        below, equal = torch.cat([part[name] for part in counts], -1)
        ranks[name] = (
            below
            + (torch.rand(len(below), generator=ties, dtype=torch.float64) * (equal + 1)).long()
        )
    return Calibration(ranks, num_draws, seed, alpha)


def _check_guide(guide: Program, like: Tensor) -> None:
    called(guide, "guide")
    rows = getattr(guide, "num_rows", None)
    if rows is not None or not takes_parts(guide, like):
        raise ValueError(
            f"guide: got a table with a row for each of {rows or len(like)} data, which"
            " says nothing of the data that are simulated here; expected a guide that"
            " answers for any x, such as Amortized"
        )


def _quantities(
    model: Program,
    guide: Program,
    truth: dict[str, Tensor],
    x: Tensor,
    index: Tensor,
    num_draws: int,
) -> dict[str, Tensor]:
    """Test quantities at the truth and at the guide's draws, in this order, `(1 + L, B)` each.

    Truth and draws are scored in one run of each program, so that rounding treats them alike. A
    guide that is noisy besides its sites (the steps of a semi-amortized one) must be the same q in
    both of its runs: they begin with the same noise.
    """
    depth = plate_depth(model, guide, x, index)
    with isolated_noise(x.device):
        draws, _ = sample_guide(guide, x, index, num_draws, depth)
    latents = {name: _joined(truth[name], draw) for name, draw in draws.items()}
    log_guide, _ = log_joint(guide, latents, x, index, depth)
    log_prior, log_likelihood = log_joint(model, latents, x, index, depth)
    values: dict[str, Tensor] = {}
    for name, latent in latents.items():
        units = latent.movedim(depth, 1).reshape(1 + num_draws, len(x), -1)  # (1 + L, B, units)
        values |= {f"{name}[{number}]": unit for number, unit in enumerate(units.unbind(-1))}
    return values | dict(
        zip(DENSITIES, (log_prior + log_likelihood, log_likelihood, log_guide), strict=True)
    )


def _joined(truth: Tensor, draws: Tensor) -> Tensor:
    """The truth `(..., B, *event)` before the draws `(L, ..., B, *event)`."""
    truth = truth.reshape((1,) * (draws.dim() - truth.dim()) + truth.shape)
    return torch.cat([truth.to(draws.dtype), draws])


def _below_and_equal(name: str, values: Tensor) -> Tensor:
    """How many draws lie below the truth, and how many tie, `(2, B)`, of values `(1 + L, B)`."""
    finite = torch.isfinite(values)
    if not finite.all():
        raise ValueError(
            f"{name}: got {int((~finite).sum())} of {values.numel()} values that are not"
            " finite, expected latents of the guide within the model's support, and"
            " densities that do not overflow"
        )
    return torch.stack([(values[1:] < values[0]).sum(0), (values[1:] == values[0]).sum(0)])


def _lean_and_spread(ranks: Tensor, num_draws: int) -> tuple[float, float]:
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
