"""An estimate of log p(x) in words and as a file: the interval, and whether it is one."""

from __future__ import annotations

import math
from pathlib import Path

from pyro_vae.evidence import Estimate
from pyro_vae.files.texts import write_csv
from pyro_vae.report.tables import share

_NEARLY_ALL = 0.95


def interval_text(estimate: Estimate) -> str:
    """Such as `-83.76 +- 0.22 (over the data); on these data -83.77 to -83.75 (95%), by
    importance(S=5000)`.
    """
    lower, upper = estimate.mean_interval()
    reach = (
        f"{lower:.3f} to {upper:.3f} (95%)"
        if math.isfinite(upper)
        else f"at least {lower:.3f} (97.5%, in expectation)"
    )
    over = (
        f" +- {estimate.std_error:.2f} (over the data)" if math.isfinite(estimate.std_error) else ""
    )
    return f"{estimate.mean:.2f}{over}; on these data {reach}, by {estimate.method}"


def full_verdict(estimate: Estimate, use: str = "") -> str:
    """What is to be said of an estimate: whether the latent is used, whether the errors can be
    believed, and any caveat.

    Args:
        use: of the latent, from `use_of_latent`.
    """
    chosen = getattr(estimate, "verdict", None)  # the best one brings its own, with the caveat
    told = [use, chosen] if chosen else [use, plain_verdict(estimate), estimate.caveat]
    return "; ".join(filter(None, told))


def plain_verdict(estimate: Estimate) -> str:
    """Whether the errors can be believed, in one sentence."""
    vouched = estimate.reliable.double().mean().item()
    if vouched == 1:
        return "the error is vouched for on all data"
    told = f"the error is vouched for on {share(vouched)} of the data"
    if vouched >= _NEARLY_ALL:
        return f"{told}; on the others the value is a lower bound and no more"
    return (
        f"{told}: read it as a lower bound; --method best, or annealed with more"
        " temperatures, may say more"
    )


def write_intervals(estimate: Estimate, path: Path) -> None:
    """Write a CSV file with a row per datum: log p(x), its error, the 95% interval, and whether
    that is to be believed.
    """
    lower, upper = estimate.interval()
    columns = (estimate.log_px, estimate.log_px_error, lower, upper, estimate.reliable)
    names = ("log_px", "log_px_error", "lower", "upper", "reliable")
    rows = [
        {"datum": number, **dict(zip(names, values, strict=True))}
        for number, values in enumerate(zip(*(column.tolist() for column in columns), strict=True))
    ]
    write_csv(rows, path)
