"""What is missing of data, drawn from p(x_m | x_o) by sampling-importance-resampling.

    z_s ~ q(z | x),    w_s = p(x_o, z_s) / q(z_s | x),    x_m ~ p(x_m | z_s) with probability ~ w_s

x_o are the values of x that are there, x_m those that are missing (NaN). As S grows the draws are
those of the model's posterior predictive, whatever guide proposed the latents; how many of the S
count is the effective sample size of the weights, datum by datum.

References:
    Rubin (1987). A noniterative sampling/importance resampling alternative to the data augmentation
        algorithm. JASA 82.
    Mattei, Frellsen (2019). MIWAE: deep generative modelling and imputation of incomplete data
        sets. arXiv:1812.02633.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import nan
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import check_level, check_progress, check_rows
from pyro_vae.evidence.weights import ess, pareto_k, pareto_threshold, weighted_quantiles
from pyro_vae.programs.calls import Program, called
from pyro_vae.programs.choosing import with_choices
from pyro_vae.programs.evaluation import seed_noise
from pyro_vae.programs.inputs import check_numbers
from pyro_vae.programs.missing import has_missing
from pyro_vae.programs.pair import Latents, Pair, opened
from pyro_vae.programs.simulation import code_values, predict
from pyro_vae.progress import Progress, over
from pyro_vae.results import Result, counted, share

_VALUES = 4_000_000  # drawn in one run
_FIGURES = 6  # of each missing value, beside its draws


@dataclass(frozen=True, repr=False)
class Imputation(Result):
    """What is missing of some data: M values, given what is there.

    Attributes:
        x: the data `(N, *shape)`, NaN where a value is missing.
        datum, value: of each missing one, the row of its datum and its place among the values of a
            datum, `(M,)` each.
        mean: `(M,)`; of a category, which has no mean, its most likely code.
        error: standard error of the mean, from the weighted particles, `(M,)`; NaN of a category,
            as are `sd`, `low` and `high`.
        sd: standard deviation of what may stand there, `(M,)`.
        low, high: ends of the interval that holds it with probability `level`, `(M,)`.
        chance: the probability of a category's most likely code, `(M,)`; NaN of a number.
        draws: `(num_draws, M)`; those of a datum belong together.
        ess: effective sample size of each datum's weights `(N,)`, out of `num_particles`; NaN where
            nothing is missing.
        pareto_k: k-hat of the weights `(N,)`, likewise.
        num_particles: S.
        level: of the intervals.
        seed: of the draws.
    """

    x: Tensor
    datum: Tensor
    value: Tensor
    mean: Tensor
    error: Tensor
    sd: Tensor
    low: Tensor
    high: Tensor
    chance: Tensor
    draws: Tensor
    ess: Tensor
    pareto_k: Tensor
    num_particles: int
    level: float
    seed: int

    def completed(self) -> Tensor:
        """The data `(N, *shape)` with the means in the place of NaN."""
        return self._with(self.mean[None])[0]

    def drawn(self) -> Tensor:
        """The data with each draw in the place of NaN, `(num_draws, N, *shape)`."""
        return self._with(self.draws)

    def _with(self, values: Tensor) -> Tensor:
        flat = self.x.reshape(1, len(self.x), -1).repeat(len(values), 1, 1)
        flat[:, self.datum, self.value] = values.to(flat)
        return flat.reshape(len(values), *self.x.shape)

    @property
    def asked(self) -> Tensor:
        """Whether something of a datum is missing, `(N,)`."""
        return ~self.ess.isnan()

    @property
    def reliable(self) -> Tensor:
        """Whether the weights of a datum are healthy, by k-hat or because they are all alike,
        `(N,)`; true where nothing is missing.
        """
        healthy = self.pareto_k <= pareto_threshold(self.num_particles)
        alike = self.ess > 0.9 * self.num_particles
        return healthy | alike | ~self.asked

    @property
    def verdict(self) -> str:
        """Whether the draws can be believed, in a sentence."""
        bad = (~self.reliable).double().sum() / self.asked.sum()
        if bad == 0:
            return "the weights are healthy on all of these data"
        more = "fit a guide to these very data (fit_local), or weigh more particles"
        return f"the weights are not healthy on {share(bad.item())} of these data: {more}"

    def headline(self) -> str:
        part = share(len(self.mean) / self.x.numel())
        return f"{counted(len(self.mean), 'missing values')} of {len(self.x):,} data, {part} of all"

    def figures(self) -> Iterator[tuple[str, str]]:
        told = self.summary()
        codes = ~self.chance.isnan()
        if not codes.all():
            yield "spread", f"sd {told['sd']:.3g} of a value, half {told['median_sd']:.3g} or less"
        if codes.any():
            sure = f"the most likely code of one has probability {told['chance']:.2f} on average"
            yield "categories", f"{counted(int(codes.sum()), 'values')}, {sure}"
        effective = f"median ESS {told['median_ess']:,.0f} of {self.num_particles:,}"
        yield "weights", f"{effective}, at least {told['least_ess']:,.0f}"
        yield "draws", f"{len(self.draws):,} of each value, seed {self.seed}"
        yield "verdict", self.verdict

    def summary(self) -> dict[str, Any]:
        """How many values of how many data, their spread, and the health of the weights."""
        size = self.ess[self.asked]
        return {
            "num_missing": len(self.mean),
            "num_data": int(self.asked.sum()),
            "sd": self.sd.double().square().nanmean().sqrt().item(),
            "median_sd": self.sd.double().nanmedian().item(),
            "chance": self.chance.double().nanmean().item(),
            "median_ess": size.median().item(),
            "least_ess": size.min().item(),
            "share_reliable": self.reliable[self.asked].double().mean().item(),
            "num_particles": self.num_particles,
            "seed": self.seed,
        }

    def columns(self) -> dict[str, Any]:
        """A row for each missing value."""
        names = ["datum", "value", "mean", "error", "sd", "low", "high"]
        if not self.chance.isnan().all():
            names.append("chance")
        found = {name: getattr(self, name) for name in names}
        return found | {"ess": self.ess[self.datum], "pareto_k": self.pareto_k[self.datum]}


def impute(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor | None = None,
    *,
    num_particles: int = 1000,
    num_draws: int = 10,
    level: float = 0.95,
    seed: int = 0,
    progress: Progress | None = None,
) -> Imputation:
    """Draw the missing values of data given the others.

    Args:
        model: Pyro program with one observed site.
        guide: Pyro program that proposes latents for data with missing values, such as `Amortized`.
        x: data `(N, *shape)`, NaN where a value is missing.
        index: rows of the dataset `(N,)`; 0..N-1 unless given.
        num_particles: S, latents of each datum, which are weighed.
        num_draws: of each missing value.
        level: of the intervals.
        seed: of all of them; the caller's random state is untouched.
        progress: called with the share of the work that is done, from 0 to 1.

    Raises:
        ValueError: data of which nothing is missing, or that the model cannot score; numbers out of
            range; several observed sites.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian
        >>> model, x = LinearGaussian(5, 2), torch.zeros(3, 5)
        >>> x[0, 1] = x[2, 3] = torch.nan
        >>> found = impute(model, ExactGuide(model), x)
        >>> found.completed().isnan().any().item(), found.draws.shape
        (False, torch.Size([10, 2]))
    """
    numbers = {"num_particles": (num_particles, 2), "num_draws": (num_draws, 1), "seed": (seed, 0)}
    check_numbers(numbers)
    check_level("level", level)
    check_progress(progress)
    called(model, "model")
    called(guide, "guide")
    check_rows("x", x)
    if not has_missing(x):
        raise ValueError("x: got data of which nothing is missing, expected NaN where it is")

    with opened(model, guide, x, index) as pair:
        few = pair.few(2)
        codes = code_values(few.model, few.x, few.index)
        missing = pair.x.isnan().reshape(len(pair), -1)
        rows = missing.any(1).nonzero().flatten()
        each = num_particles * missing.shape[1] * pair.states
        blocks = rows.split(max(1, _VALUES // each))
        if pair.is_whole:
            blocks = pair.blocks(len(pair))

        parts, health = [], pair.x.new_full((2, len(pair)), torch.nan, dtype=torch.double)
        for number, block in enumerate(over(blocks, len(blocks), progress)):
            seed_noise(seed, number)
            part = pair.take(block)
            values, weights = _imputed(part, num_particles, num_draws, level, codes)
            parts.append(values)
            health[:, block] = torch.stack([ess(weights), pareto_k(weights)]).to(health)

        datum, value = missing.nonzero().unbind(1)
        found = torch.cat(parts, 1).cpu()
        size, k = torch.where(missing.any(1), health, torch.nan).cpu()
        given = pair.x.cpu(), datum.cpu(), value.cpu()
        figures = tuple(found[:_FIGURES])
        told = found[_FIGURES:], size, k, num_particles, level, seed
        return Imputation(*given, *figures, *told)  # type: ignore[call-arg]


def _imputed(
    part: Pair, num_particles: int, num_draws: int, level: float, are_codes: Tensor
) -> tuple[Tensor, Tensor]:
    """Of some data: mean, error, sd, both ends, chance and draws of what is missing,
    `(6 + num_draws, M)`, and the log-weights `(S, B)`.
    """
    missing = part.x.isnan().reshape(len(part), -1)
    latents, log_guide = part.sample(num_particles)
    log_prior, log_likelihood = part.score(latents)
    log_w = (log_prior + log_likelihood - log_guide).double().expand(num_particles, -1)
    shares = torch.softmax(log_w, 0)
    shares = torch.where(shares.isnan().any(0), 1 / num_particles, shares)

    latents = with_choices(part, latents, num_particles)
    drawn = _predicted(part, latents, missing)
    weights = shares[:, missing.nonzero()[:, 0]]  # (S, M)
    centres = _predicted(part, latents, missing, mean=True)
    centres = drawn if centres is None else centres
    mean = (weights * centres).sum(0)
    error = (weights * (centres - mean)).square().sum(0).sqrt()
    sd = (weights * (drawn - mean).square()).sum(0).sqrt()
    ends = weighted_quantiles(drawn, weights, ((1 - level) / 2, (1 + level) / 2))

    figures = torch.cat([torch.stack([mean, error, sd]), ends, torch.full_like(ends[:1], nan)])
    codes = are_codes[missing.nonzero()[:, 1]]
    if codes.any():
        figures[:, codes] = nan
        figures[0, codes], figures[-1, codes] = _likeliest(drawn[:, codes], weights[:, codes])

    rows = torch.multinomial(shares.T, num_draws, replacement=True).T  # (num_draws, B)
    chosen = {name: _chosen(z, rows, part.depth) for name, z in latents.items()}
    draws = _predicted(part, chosen, missing)
    return torch.cat([figures, draws]), log_w


def _likeliest(codes: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The code of the largest weight among weighted draws `(S, M)`, and its weight, `(M,)` each."""
    best, most = codes[0].clone(), torch.zeros_like(codes[0])
    for code in codes.unique():
        weight = (weights * (codes == code)).sum(0)
        best, most = torch.where(weight > most, code, best), torch.maximum(weight, most)
    return best, most


def _predicted(part: Pair, latents: Latents, missing: Tensor, mean: bool = False) -> Any:
    """Draws, or means, of what is missing `(S, M)` at latents; None without means."""
    try:
        found = predict(part, latents, mean)
    except ValueError:
        if mean:
            return None
        raise
    if found is None:
        raise ValueError("model: got several observed sites, expected one with the values of x")
    return found.reshape(*found.shape[:2], -1)[:, missing].double()


def _chosen(z: Tensor, rows: Tensor, depth: int) -> Tensor:
    """Latents `(S, ..., B, *event)` of the particles in these rows `(R, B)`, for each datum."""
    each = torch.arange(rows.shape[1], device=rows.device)
    return z.movedim(depth, 1)[rows, each].movedim(1, depth)
