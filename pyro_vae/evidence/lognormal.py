"""log E[w] by few log-weights that are near normal, as the sums of many small steps are.

Sixteen weights cannot show the tail that their mean rests on; a normal log w with mean m and
variance v has

    log E[w] = m + v / 2,

and an interval for that by the method of variance estimates recovery (MOVER), from the intervals of
m and of v. It widens with the spread instead of being believed or not. Where log w is skewed to the
left, as it is with few temperatures from the prior, its upper end is too high. Where log w is
skewed to the right, as from a guide that is too narrow, it would be too low: so its upper end is
set to be missed by 1% and not by 2.5% of normal log-weights (`experiments/coverage.py` has what
that comes to).

References:
    Zou, Taleban, Huo (2009). Confidence interval estimation for lognormal data with application to
        health economics. Computational Statistics and Data Analysis 53.
"""

from __future__ import annotations

from torch import Tensor


def normal_mean(log_w: Tensor) -> Tensor:
    """m + v / 2, `(N,)`: log E[w] of normal log-weights `(K, N)`, without bias."""
    return log_w.mean(0) + log_w.var(0) / 2


def normal_error(log_w: Tensor) -> Tensor:
    """Standard error of that, `(N,)` (Cox's method)."""
    chains, variance = len(log_w), log_w.var(0)
    return (variance / chains + variance**2 / (2 * (chains - 1))).sqrt()


def normal_upper(log_w: Tensor, level: float) -> Tensor:
    """Upper end of the interval of that, `(N,)`, by MOVER."""
    from scipy import stats  # half a second, which only intervals need

    chains, variance = len(log_w), log_w.var(0)
    quantile = stats.t.ppf((1 + level) / 2, chains - 1)
    # of the variance, in variances
    more = (chains - 1) / stats.chi2.ppf((1 - level) / 2, chains - 1) - 1
    reach = quantile**2 * variance / chains + (more * variance / 2) ** 2
    return normal_mean(log_w) + reach.sqrt()


def beyond_normal(log_w: Tensor) -> float:
    """The positive parts of k3 / 6 and k4 / 24 of log-weights `(K, N)`, averaged over data;
    unbiased k-statistics.
    """
    from scipy import stats

    found = 0.0
    for order, times in [(3, 6), (4, 24)] if len(log_w) > 3 else []:
        cumulant = float(stats.kstat(log_w.numpy(), order, axis=0).mean())
        found += max(0.0, cumulant / times)
    return found


def upper_level(level: float) -> float:
    """The level of a symmetric interval whose upper end is missed by a fifth of what an interval of
    this level may miss at both ends.
    """
    return 1 - 2 * (1 - level) / 5
