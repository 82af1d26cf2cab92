"""What a set of log-weights says: the log of their mean, its error, and whether either can be
believed.

All functions take log-weights `(S, B)`, S particles of each of B data, and return `(B,)`. They work
in float64 and subtract the maximum first, so that weights of any size are safe.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.evidence.smoothing import smoothed

MIN_PARTICLES = 25
"""Fewest particles for which k-hat is estimated: with fewer its tail has less than five weights."""


def log_mean_exp(log_w: Tensor) -> Tensor:
    """log (1/S sum_s w_s), `(B,)` nats: in expectation below log p(x), and nearer as S grows."""
    _check(log_w)
    return torch.logsumexp(log_w.double(), 0) - math.log(len(log_w))


def ess(log_w: Tensor) -> Tensor:
    """Effective sample size (sum w)^2 / sum w^2 (Kong, 1992), `(B,)`, between 1 and S; 0 where no
    weight is above 0.
    """
    _check(log_w)
    log_w = log_w.double()
    effective = torch.exp(2 * torch.logsumexp(log_w, 0) - torch.logsumexp(2 * log_w, 0))
    return torch.where(torch.isneginf(log_w).all(0), 0.0, effective)


def log_mean_exp_error(log_w: Tensor) -> Tensor:
    """Monte Carlo standard error of `log_mean_exp` by the delta method, `(B,)` nats.

    NaN for S = 1, infinite where no weight is above 0.

    It is the relative standard deviation of the mean weight, sqrt((S / ESS - 1) / (S - 1)), itself
    an estimate from the same weights, and says too little where k-hat is high.
    """
    num_particles = len(log_w)
    if num_particles == 1:
        return torch.full_like(log_w[0], math.nan, dtype=torch.double)
    return ((num_particles / ess(log_w) - 1).clamp(min=0) / (num_particles - 1)).sqrt()


def pareto_k(log_w: Tensor) -> Tensor:
    """Shape k-hat of the weights' upper tail, `(B,)`; see `pareto_smoothed`."""
    return pareto_smoothed(log_w)[0]


def pareto_smoothed(log_w: Tensor) -> tuple[Tensor, Tensor]:
    """k-hat, and log (1/S sum_s w_s) with a smoothed tail, `(B,)` each, by Pareto-smoothed
    importance sampling: all data at once, as ArviZ 0.23 does one (`smoothing.py`), and by ArviZ
    where the tail has ties or vanishes.

    k-hat is the shape of the weights' upper tail. Below 0.5 they have a finite variance, up to
    `pareto_threshold(S)` an estimate from them is usable, above it is not. The largest weights are
    replaced by quantiles of the generalised Pareto distribution that fits them, at most the
    largest: less variance, a little downward bias, no bound either way.

    Weights that are all equal have no tail: k-hat is 0 by definition. It is NaN for weights that
    are NaN or infinite, and with fewer than 25 particles, where there is nothing to fit. It is
    infinite, as in ArviZ 0.23, where ties, or one weight that dwarfs the rest, leave fewer than
    five in the tail. The tail has ceil(min(S / 5, 3 sqrt S)) weights; ArviZ 1.x takes the floor of
    that, and its k-hat differs by that weight, 0.01 or so. Where nothing is fitted nothing is
    smoothed.

    References:
        Vehtari, Simpson, Gelman, Yao, Gabry (2024). Pareto smoothed importance sampling.
            arXiv:1507.02646.
        Yao, Vehtari, Simpson, Gelman (2018). Yes, but did it work?: Evaluating variational
            inference. arXiv:1802.02538.
    """
    _check(log_w)
    mean = log_mean_exp(log_w)
    if len(log_w) < MIN_PARTICLES:
        return torch.full_like(log_w[0], math.nan, dtype=torch.double), mean

    log_w = log_w.double()
    size = math.ceil(min(len(log_w) / 5, 3 * math.sqrt(len(log_w))))
    ordered = log_w.sort(0, descending=True).values
    spread = ordered[0] - ordered[-1]
    broken = ordered[0].isnan() | ordered[-1].isnan() | ordered[0].isinf()
    # weights of zero are weights: with one of them, spread is infinite
    equal = spread <= 1e-9 * (1 + ordered[0].abs())

    # below, weights underflow to 0
    cutoff = torch.maximum(ordered[size], ordered[0] + math.log(np.finfo(float).tiny))
    short = (ordered > cutoff).sum(0) < 5
    khat = torch.where(equal, 0.0, torch.full_like(spread, math.inf))
    khat[broken] = math.nan

    fitted = ~equal & ~short & ~broken
    found = smoothed(log_w)
    khat = torch.where(fitted & found.plain, found.khat, khat)
    mean = torch.where(fitted & found.plain, found.log_mean, mean)
    fitted &= ~found.plain

    for column in fitted.nonzero().flatten().tolist():
        weights = log_w[:, column].cpu().numpy()
        tail, khat[column] = _psis(weights)
        # the largest weight below the tail: it keeps its value but for scale
        place = int(np.argsort(weights)[-1 - size])
        total = torch.logsumexp(torch.from_numpy(tail), 0).item()
        # else no scale to be had, or no tail that fits
        if np.isfinite([weights[place], tail[place], total]).all():
            mean[column] = total + weights[place] - tail[place] - math.log(len(log_w))
    return khat, mean


def resampled(log_w: Tensor, generator: torch.Generator) -> Tensor:
    """Which particles to take `(S, B)`, so that all count the same: each about S w_s / sum w times,
    in random order.

    Systematic resampling, whose counts differ from their expectation by less than 1. A datum whose
    weights are no numbers, or all zero, keeps its particles as they are.

    References:
        Douc, Cappe, Moulines (2005). Comparison of resampling schemes for particle filtering.
            arXiv:cs/0507025. Section 2.4.
    """
    _check(log_w)
    num_particles = len(log_w)
    shares = torch.softmax(log_w.double().cpu(), 0)
    shares = torch.where(shares.isnan().any(0), 1 / num_particles, shares)

    places = torch.arange(num_particles, dtype=torch.double)
    start = torch.rand(log_w.shape[1], 1, dtype=torch.double, generator=generator)
    places = (places + start) / num_particles  # (B, S)
    rows = torch.searchsorted(shares.cumsum(0).T.contiguous(), places).clamp(max=num_particles - 1)
    return rows.T[torch.randperm(num_particles, generator=generator)]


def weighted_quantiles(values: Tensor, weights: Tensor, levels: tuple[float, float]) -> Tensor:
    """Quantiles of these two levels, `(2, M)`, of values `(S, M)` with weights `(S, M)`."""
    ordered, places = values.sort(0)
    below = weights.gather(0, places).cumsum(0)
    asked = below.new_tensor(levels)[:, None] * below[-1]
    at = torch.searchsorted(below.T.contiguous(), asked.T.contiguous()).T
    return ordered.gather(0, at.clamp(max=len(values) - 1))


def pareto_threshold(num_particles: int) -> float:
    """k-hat above which an estimate from S weights is unreliable, min(1 - 1 / log10 S, 0.7)
    (Vehtari et al., 2024).
    """
    if num_particles < MIN_PARTICLES:
        return math.nan
    return min(1 - 1 / math.log10(num_particles), 0.7)


def _check(log_w: Tensor) -> None:
    if log_w.dim() != 2 or len(log_w) == 0:
        raise ValueError(
            f"log_w: got shape {tuple(log_w.shape)}, expected (particles, data)"
            " with at least one particle"
        )


def _psis(log_w: np.ndarray) -> tuple[np.ndarray, float]:
    """Smoothed log-weights `(S,)` up to a constant, and k-hat: ArviZ 1.x (arviz_stats) or 0.23."""
    with warnings.catch_warnings():
        # ArviZ 0.23 announces its successor when imported; NumPy, an overflowing tail
        warnings.simplefilter("ignore")
        sign, psislw = _arviz_s()
        smoothed, khat = psislw(sign * log_w)
    return np.asarray(smoothed, dtype=np.float64), float(khat)


@cache  # Python looks for a package that is not there in every folder, each time
def _arviz_s() -> tuple[int, Callable[[np.ndarray], tuple[Any, Any]]]:
    """The sign with which ArviZ's function takes log-weights, and the function."""
    try:
        from arviz_stats.base import array_stats
    except ImportError:
        import arviz

        return 1, arviz.psislw
    return -1, array_stats.psislw  # which takes log-likelihoods
