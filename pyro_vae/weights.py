"""What a set of log-weights says: the log of their mean, its error, and whether either can be believed.

All functions take log-weights `(S, B)`, S particles of each of B data, and return `(B,)`. They work in float64 and
subtract the maximum first, so that weights of any size are safe.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from torch import Tensor

MIN_PARTICLES = 25
"""Fewest particles for which k-hat is estimated: with fewer its tail has less than five weights."""


def log_mean_exp(log_w: Tensor) -> Tensor:
    """log (1/S sum_s w_s), `(B,)` nats: a lower bound of log p(x) in expectation, tighter as S grows."""
    _check(log_w)
    return torch.logsumexp(log_w.double(), 0) - math.log(len(log_w))


def ess(log_w: Tensor) -> Tensor:
    """Effective sample size (sum w)^2 / sum w^2, `(B,)`, between 1 and S (Kong, 1992)."""
    _check(log_w)
    log_w = log_w.double()
    return torch.exp(2 * torch.logsumexp(log_w, 0) - torch.logsumexp(2 * log_w, 0))


def log_mean_exp_error(log_w: Tensor) -> Tensor:
    """Monte Carlo standard error of `log_mean_exp` by the delta method, `(B,)` nats; NaN for S = 1.

    The relative standard deviation of the mean weight, sqrt((S / ESS - 1) / (S - 1)). It is itself an estimate from the
    same weights and says too little where k-hat is high.
    """
    num_particles = len(log_w)
    if num_particles == 1:
        return torch.full_like(log_w[0], math.nan, dtype=torch.double)
    return ((num_particles / ess(log_w) - 1).clamp(min=0) / (num_particles - 1)).sqrt()


def pareto_k(log_w: Tensor) -> Tensor:
    """Shape k-hat of the weights' upper tail by ArviZ's Pareto-smoothed importance sampling, `(B,)`.

    Below 0.5 the weights have a finite variance, up to `pareto_threshold(S)` the estimate is usable, above it is not.
    Weights that are all equal have no tail: 0 by definition. With fewer than 25 particles there is nothing to fit: NaN.

    References: Vehtari, Simpson, Gelman, Yao, Gabry (2024); Yao, Vehtari, Simpson, Gelman (2018).
    """
    _check(log_w)
    if len(log_w) < MIN_PARTICLES:
        return torch.full_like(log_w[0], math.nan, dtype=torch.double)
    log_w = log_w.double()
    spread = log_w.max(0).values - log_w.min(0).values
    khat = torch.from_numpy(np.array(_psis_khat(log_w.T.contiguous().cpu().numpy()), dtype=np.float64))
    equal = spread <= 1e-9 * (1 + log_w.abs().max(0).values)
    return torch.where(equal, 0.0, khat.to(log_w.device))


def pareto_threshold(num_particles: int) -> float:
    """k-hat above which an estimate from S weights is unreliable, min(1 - 1 / log10 S, 0.7) (Vehtari et al., 2024)."""
    return min(1 - 1 / math.log10(num_particles), 0.7) if num_particles >= MIN_PARTICLES else math.nan


def _check(log_w: Tensor) -> None:
    if log_w.dim() != 2 or len(log_w) == 0:
        raise ValueError(
            f"log_w: got shape {tuple(log_w.shape)}, expected (particles, data) with at least one particle"
        )


def _psis_khat(log_w: np.ndarray) -> np.ndarray:
    """k-hat of each row of `(B, S)`, from ArviZ 1.x (arviz_stats) or 0.23, whichever is installed."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # ArviZ 0.23 announces its successor when imported; NumPy, a tail that overflows
        try:
            from arviz_stats.base import array_stats
        except ImportError:
            import arviz

            return arviz.psislw(log_w)[1]
        return array_stats.psislw(log_w, axis=-1)[1]
