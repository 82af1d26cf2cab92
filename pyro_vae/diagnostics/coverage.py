"""Does a guide hold the truth as often as it says, in regions that nobody chose? Coverage by random
points (TARP).

For latents and data drawn together, (z*, x) ~ p(z, x), draws z_l ~ q(z | x) and a point r,

    f = #{l : d(z_l, r) < d(z*, r)},      q(z | x) = p(z | x)   =>   f ~ Uniform{0, ..., L}

The ball around r that holds a share c of q holds z* in a share c of the simulations, whatever the
points. They may depend on x, and here do: a random projection of x and noise, in the units of the
prior, so that a guide which ignores x is found out too. Nothing is asked of the guide but draws,
and one number judges all latents together. Distances are Euclidean, over all latents in standard
deviations of the prior.

A guide that is too narrow, or off to a side, has the truth nearest or farthest of all, f at both
ends; one that is too wide has it in the middle.

References:
    Lemos, Coogan, Hezaveh, Perreault-Levasseur (2023). Sampling-based accuracy testing of posterior
        estimators for general inference. arXiv:2302.03026.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import check_level, check_progress
from pyro_vae.diagnostics.ranks import band_of, held_of, lean_and_spread, told_p
from pyro_vae.diagnostics.simulations import drawn_of, ranked
from pyro_vae.diagnostics.uniformity import p_value
from pyro_vae.programs.calls import Program
from pyro_vae.programs.inputs import check_numbers
from pyro_vae.progress import Progress
from pyro_vae.results import Result, counted

_LEVELS = (0.5, 0.8, 0.95)
_CLEAR = 3.0  # standard errors from which on the ranks are said to lean or to spread


@dataclass(frozen=True, repr=False)
class Coverage(Result):
    """How often balls around random points hold the truth that hold a share of the guide.

    Attributes:
        ranks: f, draws nearer to the point than the truth is, `(R,)` in 0..L.
        num_draws: L.
        seed: of simulations, draws and points.
        alpha: the chance, at most, that a guide that is right is flagged.
    """

    ranks: Tensor
    num_draws: int
    seed: int
    alpha: float

    @property
    def num_simulations(self) -> int:
        """R."""
        return len(self.ranks)

    @cached_property
    def p_value(self) -> float:
        """Exact probability of an ECDF as far from uniform if the guide is right."""
        return p_value(self.ranks, self.num_draws)

    @property
    def covers(self) -> bool:
        """Whether coverage is as it should be, as far as R simulations could show."""
        return self.p_value > self.alpha

    def coverage(self, levels: Sequence[float] = _LEVELS) -> tuple[Tensor, Tensor]:
        """Share of the truths in balls that hold a share c of the guide, for K levels c, and its
        standard error, `(K,)` each.
        """
        return held_of(self.ranks, self.num_draws, levels)

    def ecdf(self) -> Tensor:
        """Share of the ranks that are <= i, for i = 0..L, `(L + 1,)`."""
        counts = torch.bincount(self.ranks, minlength=self.num_draws + 1)
        return counts.cumsum(0) / self.num_simulations

    def band(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest ECDF `(L + 1,)` of a right guide with probability 1 - alpha."""
        return band_of(self.num_simulations, self.num_draws, 1 - self.alpha)

    @property
    def verdict(self) -> str:
        """One sentence: whether it covers, and else in which way not where the ranks show one."""
        made = counted(self.num_simulations, "simulations")
        if self.covers:
            return f"covers: no deviation at the {100 * self.alpha:g}% level ({made})"

        chance = told_p(self.p_value)
        lean, spread = lean_and_spread(self.ranks, self.num_draws)
        word = ""
        if spread < -_CLEAR:
            word = ": the guide is too wide"
        elif spread > _CLEAR:
            word = ": the guide is too narrow, or off to a side"
        elif abs(lean) > _CLEAR:
            word = ": the guide is off to a side"
        return f"does NOT cover ({chance}, {made}){word}"

    def headline(self) -> str:
        made = counted(self.num_simulations, "simulations")
        return f"coverage by random points, all latents together, {made}, {self.num_draws} draws"

    def figures(self) -> Iterator[tuple[str, str]]:
        held, error = self.coverage(_LEVELS)
        for level, share, noise in zip(_LEVELS, held, error, strict=True):
            told = f"hold the truth in {100 * share:.1f} +- {100 * noise:.1f}%"
            yield f"{100 * level:.0f}% balls", told
        yield "verdict", self.verdict

    def summary(self) -> dict[str, Any]:
        """Coverage, its p-value and the verdict, by name."""
        held, error = self.coverage(_LEVELS)
        return {
            "coverage": dict(zip(map(str, _LEVELS), held.tolist(), strict=True)),
            "coverage_error": error.tolist(),
            "p_value": self.p_value,
            "verdict": self.verdict,
            "num_simulations": self.num_simulations,
            "num_draws": self.num_draws,
            "seed": self.seed,
        }

    def columns(self) -> dict[str, Tensor]:
        """The rank of each simulation."""
        return {"rank": self.ranks}


def check_coverage(
    model: Program,
    guide: Program,
    like: Tensor,
    index: Tensor | None = None,
    *,
    num_simulations: int = 1000,
    num_draws: int = 99,
    seed: int = 0,
    alpha: float = 0.05,
    progress: Progress | None = None,
) -> Coverage:
    """Whether a guide holds the truth of simulated data as often as it says, by random points.

    Args:
        model, guide: Pyro programs `program(x, index)`; the guide must answer for any x, and need
            not know its density.
        like: data `(N, *shape)` of the kind that the model scores, whose values do not matter.
        index: rows of the dataset `(N,)` of these; simulated data take turns with them.
        num_simulations: R, data that are simulated; what deviates by less than about 1 / sqrt(R)
            goes unseen.
        num_draws: L, of the guide for each.
        seed: of these and of the points; the caller's random state is untouched.
        alpha: chance of flagging a guide that is right, at most.
        progress: called with the share of the work that is done, from 0 to 1.

    Raises:
        ValueError: numbers out of range, a guide with parameters per datum, programs that do not
            match.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian
        >>> model, like = LinearGaussian(5, 2), torch.zeros(1, 5)
        >>> check_coverage(model, ExactGuide(model), like, num_simulations=100).verdict
        'covers: no deviation at the 5% level (100 simulations)'
    """
    least = {"num_simulations": (num_simulations, 20), "num_draws": (num_draws, 5)}
    check_numbers(least | {"seed": (seed, 0)})
    check_level("alpha", alpha)
    check_progress(progress)

    sizes = num_simulations, num_draws
    found = drawn_of(model, guide, like, index, sizes, seed, progress)
    generator = torch.Generator().manual_seed(seed)
    return Coverage(_ranks(*found, generator), num_draws, seed, alpha)


def _ranks(truth: Tensor, draws: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
    """f `(R,)` of truths `(R, d)` among draws `(L, R, d)`, with data `(R, D)`."""
    mean, sd = truth.mean(0), truth.std(0).clamp(min=1e-12)
    truth, draws = (truth - mean) / sd, (draws - mean) / sd

    about = (x - x.nanmean(0)).nan_to_num()  # what is missing is at its mean
    seen = about / about.std(0).clamp(min=1e-12)
    turn = torch.randn(x.shape[1], truth.shape[1], generator=generator, dtype=x.dtype)
    projected = seen @ turn
    projected = projected / projected.std(0).clamp(min=1e-12)
    noise = torch.randn(truth.shape, generator=generator, dtype=x.dtype)
    points = (projected + noise) / 2**0.5

    far = (truth - points).norm(dim=-1)
    each = (draws - points).norm(dim=-1)
    return ranked((each < far).sum(0), (each == far).sum(0), generator)
