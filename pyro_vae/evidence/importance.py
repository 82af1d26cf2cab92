"""log p(x) by importance sampling, with the guide as the proposal.

    log p_hat(x) = log (1/S) sum_s p(x, z_s) / q(z_s | x),   z_s ~ q(. | x)

p_hat is unbiased, so its log is a *lower bound* of log p(x) in expectation (Burda et al., 2016), by
about half its squared error. The same draws give the ELBO, the rate and the distortion.

The interval comes from two halves of the particles. Weights that have missed their own tail look
light, and are low: so one half says whether an interval may be closed, by an upper limit of the
tail's shape (`tails.py`), and the other half draws it, up to what its unseen tail may add. What no
weights can say, whether there is a mode from which the guide never draws, scouts and the prior's
own draws look for (`scouts.py`). Weights on atoms, of a discrete latent, have no tail to be judged
by.

A guide that misses part of the posterior has weights of infinite variance. With `defensive` a share
a of the particles comes from the prior, all of them weighed against the mixture (1 - a) q + a p(z):
no weight is above p(x | z) / a then (Hesterberg, 1995), at the price of the particles that the
prior wastes.

Memory and noise have different blocks. The guide draws its latents, which are small, in blocks
fixed by the number of particles, each with a seed of its own; the model then scores them in chunks
as large as the byte budget allows. So a result depends on the seed and not on the budget. What is
held for all S particles are the log-densities of one block of data (16 where S is in the
thousands), which k-hat needs.

Both programs run compiled (`scores.py`) where there is enough to do to pay for it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.arguments import check_choice, check_number, check_progress
from pyro_vae.evidence.estimate import Estimate, standard_error
from pyro_vae.evidence.scores import Engine, Precision, Scores, check_engine
from pyro_vae.evidence.scouts import NUM_SCOUTS, missed
from pyro_vae.evidence.tails import FEWEST, tail
from pyro_vae.evidence.weights import (
    ess,
    log_mean_exp,
    log_mean_exp_error,
    pareto_smoothed,
    pareto_threshold,
)
from pyro_vae.programs.checks import check_programs
from pyro_vae.programs.evaluation import evaluation
from pyro_vae.programs.inputs import check_density, check_inputs, check_numbers
from pyro_vae.programs.parts import batches, some
from pyro_vae.programs.sites import is_discrete
from pyro_vae.programs.traces import Particles, Program, guide_sites, plate_depth

_ROWS = 131_072  # latents drawn in one run of the guide
_DATA = 4_096  # most data of one block
_HEAVIEST = 0.7  # shape of a tail by its upper limit, up to which an interval is closed


@dataclass(frozen=True)
class Evidence(Estimate):
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
        half_log_px, half_error, unseen: log p(x), its error (that of rounding included) and what
            the unseen tail may add, by the other half.
        blind: whether such particles cannot vouch: a scout, or the prior's own draws, have found
            what the guide misses, or a latent is discrete.
        num_particles: S, the fewest of any datum.
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
    half_log_px: Tensor
    half_error: Tensor
    unseen: Tensor
    blind: Tensor
    num_particles: int

    @property
    def method(self) -> str:
        """Such as `importance(S=5000)`; `importance(S=1000 or more)` where some data had more."""
        more = " or more" if self.evaluations > self.num_particles else ""
        return f"importance(S={self.num_particles}{more})"

    @property
    def reliable(self) -> Tensor:
        """Whether the tail's shape is at most 0.7 by its upper limit, and the weights not blind."""
        return (
            (self.shape_limit <= _HEAVIEST)
            & self.unseen.isfinite()
            & self.half_error.isfinite()
            & ~self.blind
        )

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Lower and upper end for each datum's log p(x), `(N,)` each; where `reliable` by one half
        of the particles.

        Elsewhere from below the estimate by all of them up to infinity.
        """
        lower, upper = self._by_half(self._quantile(level))
        open_end = self.log_px - self._quantile(level) * self.log_px_error
        lower = torch.where(self.reliable, lower, open_end)
        return lower, torch.where(self.reliable, upper, math.inf)

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
        if math.isnan(pareto_threshold(self.num_particles)):
            return math.nan
        return (~(self.pareto_k <= pareto_threshold(self.num_particles))).double().mean().item()

    def summary(self) -> dict[str, Any]:
        """Means over the data with standard errors over the data, by name: what a table or a JSON
        file needs.
        """
        means = {name: getattr(self, name).mean().item() for name in ("elbo", "rate", "distortion")}
        errors = {f"{name}_error": standard_error(getattr(self, name)) for name in means}
        return means | errors | super().summary() | {
            "log_px_smoothed": self.smoothed.mean().item(),
            "ess_median": self.ess.median().item(),
            "pareto_k_max": self.pareto_k.max().item(),
            "share_above_threshold": self.share_above_threshold,
            "share_blind": self.blind.double().mean().item(),
            "num_particles": self.num_particles,
        }  # fmt: skip


def by_importance(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor | None = None,
    *,
    num_particles: int = 5000,
    defensive: float = 0.0,
    num_scouts: int = NUM_SCOUTS,
    seed: int = 0,
    max_bytes: int | None = None,
    progress: Callable[[int], None] | None = None,
    engine: Engine = "auto",
    precision: Precision = "float32",
) -> Evidence:
    """Estimate log p(x) of each datum by importance sampling from the guide: a lower bound in
    expectation.

    Args:
        model, guide: Pyro programs `program(x, index)`.
        x: data `(N, *shape)`, binarised already where the model is of binary data.
        index: rows of the dataset `(N,)`; 0..N-1 unless given.
        num_particles: S, particles per datum.
        defensive: share of the particles that the prior draws, 0 to 1 without 1.
        num_scouts: climbs from the prior of each datum, in search of a mode that the guide misses;
            they need real-valued latents, and 200 particles or more, without which no interval is
            closed anyway. 0 for none, and no look at what the prior's own draws weigh: intervals
            are closed then by the weights alone.
        seed: of the particles' noise; the caller's random state is untouched.
        max_bytes: bound on the model's largest tensors at any time, about; changes the speed and
            not the result. 16 MiB on a CPU (its caches decide) and 1 GiB on a GPU unless given.
        progress: called with the number of data done after each block.
        engine: "compiled" runs the programs as compiled graphs, "pyro" as they are, "auto" compiles
            where there is enough to do to pay for it and the programs can be compiled. The noise is
            the same.
        precision: "bfloat16" runs the model's matrix products in it. Faster where the processor has
            them, and *biased*: it belongs to exploration, not to a figure that is reported.

    Returns:
        Per-datum estimates with their standard errors, ESS and k-hat; means by its properties.

    Raises:
        ValueError: an argument out of range, data that the model cannot score, or programs that do
            not match.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian
        >>> model, x = LinearGaussian(5, 2), torch.randn(3, 5)
        >>> by_importance(model, ExactGuide(model), x, num_particles=10).log_px.shape
        torch.Size([3])
    """
    started = time.monotonic()
    least = {"num_particles": (num_particles, 1), "num_scouts": (num_scouts, 0), "seed": (seed, 0)}
    check_numbers(least if max_bytes is None else least | {"max_bytes": (max_bytes, 1)})
    check_number("defensive", defensive, least=0, below=1, expected="a share >= 0 and < 1")
    check_engine(engine)
    check_choice("precision", precision, Precision)
    check_progress(progress)
    x, index = check_inputs(model, guide, x, index)
    max_bytes = max_bytes or (2**30 if x.is_cuda else 2**24)
    num_block = (
        max(16, _DATA // num_particles)
        if num_particles <= _ROWS
        else max(1, 8 * _ROWS // num_particles)
    )
    done: list[dict[str, Tensor]] = []
    with evaluation(model, guide, device=x.device):
        check_programs(model, guide, x, index)
        if defensive:
            check_density(guide, x, index)
        places = batches(x, index, num_block, guide)
        depth, width, total = (
            plate_depth(model, guide, x, index),
            len(places[0]),
            len(x) * num_particles,
        )
        programs = Scores(model, guide, depth, width, engine, total, precision, defensive)
        for block, rows in enumerate(places):
            draws = _draws(programs, x[rows], index[rows], num_particles, (seed, block), max_bytes)
            done.append(
                _summarise(Particles(*(torch.cat(parts) for parts in zip(*draws, strict=True))))
            )
            if progress is not None:
                progress(len(rows))
        blind = torch.full(
            (len(x),), any(map(is_discrete, guide_sites(guide, *some(x, index, 2, guide))))
        )
        if num_particles >= 2 * FEWEST and not blind.any():
            log_px, error = (
                torch.cat([part[name] for part in done]) for name in ("log_px", "log_px_error")
            )
            blind = missed(model, guide, x, index, log_px, error, num_scouts, seed)
    merged = {name: torch.cat([part[name] for part in done]) for name in done[0]} | {"blind": blind}
    cost = {"evaluations": num_particles, "seconds": time.monotonic() - started, "seed": seed}
    return Evidence(**merged, **cost, num_particles=num_particles)  # type: ignore[arg-type]


def _draws(
    programs: Scores,
    x: Tensor,
    index: Tensor,
    num_particles: int,
    seed: tuple[int, int],
    max_bytes: int,
) -> Iterator[Particles]:
    """The log-densities of a block of data, some particles at a time: noise blocks, then chunks
    within the budget.
    """
    per_block = min(max(1, _ROWS // len(x)), num_particles)
    # rows: about four tensors (S, B, *shape) live
    budget = max(1, max_bytes // (4 * x[0].numel() * x.element_size()))
    shape = programs.chunk(min(max(1, _ROWS // programs.width), num_particles), budget)
    for number, start in enumerate(range(0, num_particles, per_block)):
        torch.manual_seed(
            int(np.random.SeedSequence([*seed, number]).generate_state(1, np.uint64)[0])
        )
        latents, log_guide = programs.sample(x, index, min(per_block, num_particles - start))
        log_prior, log_likelihood = programs.score(latents, x, index, shape)
        yield Particles(log_prior, log_likelihood, programs.mixed(log_guide, log_prior))


def _error(values: Tensor) -> Tensor:
    """Standard error of the mean of values `(S, B)`, `(B,)`: NaN for S = 1, infinite if one is."""
    if len(values) == 1:
        return torch.full_like(values[0], math.nan)
    return torch.where(values.isinf().any(0), math.inf, values.std(0) / math.sqrt(len(values)))


def _summarise(draws: Particles) -> dict[str, Tensor]:
    """Per-datum statistics of log-densities `(S, B)`, on the CPU in float64."""
    log_prior, log_likelihood, log_guide = (part.double().cpu() for part in draws)
    # of those that weigh
    size = (log_prior.abs() + log_likelihood.abs() + log_guide.abs()).nan_to_num(posinf=0.0)
    log_w = log_prior + log_likelihood - log_guide
    khat, smoothed = pareto_smoothed(log_w)
    rounding = torch.finfo(draws.log_prior.dtype).eps * size.mean(0)
    judge, other = log_w[0::2], log_w[1::2] if len(log_w) > 1 else log_w
    return {
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
        "half_log_px": log_mean_exp(other),
        "half_error": torch.hypot(log_mean_exp_error(other), rounding),
        "unseen": tail(other).unseen,
    }


def _gap_error(log_w: Tensor) -> Tensor:
    """Standard error of log mean w - mean log w `(B,)`, by the delta method: that of the mean of w
    / mean w - log w.
    """
    return _error(torch.exp(log_w - log_mean_exp(log_w)) - log_w)
