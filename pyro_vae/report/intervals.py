"""An estimate of log p(x) in words and as a file: the interval, and whether it is one."""

from __future__ import annotations

import math
from pathlib import Path

from pyro_vae.evidence import Estimate
from pyro_vae.files.texts import by_row, write_csv


def interval_text(estimate: Estimate) -> str:
    """Such as `-83.76 +- 0.22 (over the data); on these data -83.77 to -83.75 (95%), by
    importance(S=5000)`.
    """
    over = ""
    if math.isfinite(estimate.std_error):
        over = f" +- {estimate.std_error:.2f} (over the data)"
    return f"{estimate.mean:.2f}{over}; on these data {estimate.reach()}, by {estimate.method}"


def full_verdict(estimate: Estimate, use: str = "") -> str:
    """What is to be said of an estimate: whether the latent is used, whether the errors can be
    believed, and any caveat.

    Args:
        use: of the latent, from `use_of_latent`.
    """
    # the best one brings a verdict of its own, with the caveat
    caveat = "" if estimate.caveat in estimate.verdict else estimate.caveat
    return "; ".join(filter(None, [use, estimate.verdict, caveat]))


def write_intervals(estimate: Estimate, path: Path) -> None:
    """Write a CSV file with a row per datum: log p(x), its error, the 95% interval, and whether
    that is to be believed.
    """
    names = ("log_px", "log_px_error", "lower", "upper", "reliable")
    found = estimate.columns()
    datum = {"datum": list(range(len(estimate.log_px)))}
    write_csv(by_row(datum | {name: found[name] for name in names}), path)
