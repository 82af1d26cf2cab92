"""A row for each likelihood: what makes it, its data, what it refuses, and its densities by another
hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Tensor

import pyro_vae as pv

SIZE = 4
LEVELS = 6
Array = np.ndarray[Any, Any]


def grey(shape: tuple[int, ...]) -> Tensor:
    return torch.randint(0, LEVELS, shape) / (LEVELS - 1)


def of_kinds(shape: tuple[int, ...]) -> Tensor:
    """Columns: real, binary, counts, three categories."""
    x = torch.randn(shape) * 2 + 5
    x[..., 1] = (x[..., 1] > 5).float()
    x[..., 2] = torch.poisson(x[..., 2].abs())
    x[..., 3] = torch.randint(0, 3, shape[:-1]).float()
    return x


# ---- each distribution by another hand, float64; `fn` is that of single values


def beta_binomial(fn: Any, x: Array) -> Array:
    most = fn.levels - 1
    return stats.betabinom.logpmf(np.rint(x * most), most, fn.alpha, fn.beta)


def logistic(fn: Any, x: Array) -> Array:
    """Differences of the distribution function; the outer levels take the tails."""
    half, loc, scale = 0.5 / (fn.levels - 1), fn.loc.numpy(), fn.scale.numpy()
    high = np.where(x >= 1, np.inf, (x + half - loc) / scale)
    low = np.where(x <= 0, -np.inf, (x - half - loc) / scale)
    high, low = np.where(low > 0, -low, high), np.where(low > 0, -high, low)  # far from 1
    return np.log(special.expit(high) - special.expit(low))


def categorical(fn: Any, x: Array) -> Array:
    log_chances = special.log_softmax(fn.logits.numpy(), -1)
    return np.take_along_axis(log_chances, x.astype(int)[..., None], -1)[..., 0]


def negative_binomial(fn: Any, x: Array) -> Array:
    """By mu and theta, as Lopez et al. (2018) have it."""
    mu, theta = fn.log_mean.exp().numpy(), fn.log_theta.exp().numpy()
    ways = special.gammaln(x + theta) - special.gammaln(theta) - special.gammaln(x + 1)
    found = ways + theta * np.log(theta / (theta + mu)) + x * np.log(mu / (theta + mu))
    np.testing.assert_allclose(found, stats.nbinom.logpmf(x, theta, theta / (theta + mu)))
    return found


def continuous_bernoulli(fn: Any, x: Array) -> Array:
    eta = fn.eta.numpy()
    return eta * x - np.log(np.expm1(eta) / eta)


@dataclass
class Row:
    """One likelihood.

    Attributes:
        make: makes it.
        data: float data of a shape.
        wrong: what `check` refuses, with the words.
        reference: log-densities of single values by another hand.
        values: all values that it gives a probability, or None where it is a density.
        has_mean: whether its mean is one.
    """

    make: Callable[[], pv.Likelihood]
    data: Callable[[tuple[int, ...]], Tensor]
    wrong: dict[float, str]
    reference: Callable[[Any, Array], Array] | None = None
    values: Tensor | None = None
    has_mean: bool = True


def counts(shape: tuple[int, ...]) -> Tensor:
    return torch.poisson(torch.distributions.Gamma(2.0, 0.5).sample(torch.Size(shape)))


def heavy(shape: tuple[int, ...]) -> Tensor:
    return 3 + 2 * torch.distributions.StudentT(4.0).sample(torch.Size(shape))


LINE = torch.arange(LEVELS, dtype=torch.double) / (LEVELS - 1)
COUNTS = torch.arange(20_000, dtype=torch.double)
GREY = {0.5: "none of the 6 grey levels v / 5", 1.5: r"values in \[0, 1.5\]", -0.2: "grey levels"}
NO_COUNT = {0.5: "got 0.5 under a .*, expected counts, whole", -1.0: "got -1 under a"}

ROWS: dict[str, Row] = {
    "beta-binomial": Row(partial(pv.BetaBinomial, LEVELS), grey, GREY, beta_binomial, LINE),
    "logistic": Row(partial(pv.DiscretisedLogistic, LEVELS), grey, GREY, logistic, LINE),
    "logistic, scale a pixel": Row(
        partial(pv.DiscretisedLogistic, LEVELS, "pixel"), grey, GREY, logistic, LINE
    ),
    "logistic, scale an output": Row(
        partial(pv.DiscretisedLogistic, LEVELS, "output"), grey, GREY, logistic, LINE
    ),
    "categorical": Row(
        partial(pv.Categorical, 3),
        lambda shape: torch.randint(0, 3, shape).float(),
        {0.5: "got 0.5 under a Categorical .* codes 0 to 2", 3.0: "got 3", -1.0: "got -1"},
        categorical,
        torch.arange(3, dtype=torch.double),
        has_mean=False,
    ),
    "poisson": Row(
        pv.Poisson,
        counts,
        NO_COUNT,
        lambda fn, x: stats.poisson.logpmf(x, fn.mean),
        COUNTS,
    ),
    "negative binomial": Row(pv.NegativeBinomial, counts, NO_COUNT, negative_binomial, COUNTS),
    "negative binomial, dispersion an output": Row(
        partial(pv.NegativeBinomial, "output"), counts, NO_COUNT, negative_binomial, COUNTS
    ),
    "student": Row(
        pv.StudentT,
        heavy,
        {math.inf: "got infinite values"},
        lambda fn, x: stats.t.logpdf(x, fn.df, fn.loc, fn.scale),
    ),
    "student, scale an output": Row(
        partial(pv.StudentT, 3.0, "output"),
        heavy,
        {math.inf: "got infinite values"},
        lambda fn, x: stats.t.logpdf(x, fn.df, fn.loc, fn.scale),
    ),
    "continuous Bernoulli": Row(
        pv.ContinuousBernoulli,
        lambda shape: torch.rand(shape).square(),
        {1.5: r"expected \[0, 1\]", -0.1: "rescale"},
        continuous_bernoulli,
    ),
    "mixed": Row(
        partial(pv.Mixed, ["real", "binary", "counts", "categories:3"]),
        of_kinds,
        {math.inf: "got infinite values"},
        has_mean=False,
    ),
}
EACH = pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
SINGLE = pytest.mark.parametrize(
    "row", [row for row in ROWS.values() if row.reference], ids=[n for n in ROWS if n != "mixed"]
)
FIRST = pytest.mark.parametrize(  # one of each class
    "row",
    [row for name, row in ROWS.items() if "," not in name],
    ids=[name for name in ROWS if "," not in name],
)
