"""The picture of `squared_error.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyro_vae.report.plots import blank
from pyro_vae.report.plots.marks import MAIN, REST, SECOND, legend


def chart(found: dict[str, Any], path: Path) -> None:
    """Left: how far the two forms are apart. Right: the learned variance against its optimum."""
    figure = blank((9, 3.8))
    left, right = figure.subplots(1, 2)

    for dtype, colour, style in (("float64", MAIN, "o-"), ("float32", SECOND, "s--")):
        chosen = [row for row in found["equal"] if row["dtype"] == dtype and row["kl_weight"] == 1]
        worst = [max(row["loss"], row["gradients"]) for row in chosen]
        left.plot([row["beta"] for row in chosen], worst, style, color=colour, label=dtype)
    left.axhline(1e-6, color=REST, linestyle=":", label="asked for: 1e-6")
    left.set(xscale="log", yscale="log", xlabel="beta = 2 sigma²", ylim=(1e-17, 1e-3))
    left.set_ylabel("relative difference, loss or gradients")
    left.set_title("Gaussian ELBO against squared error + beta KL", fontsize="medium")
    legend(left, "upper right")

    rows = found["learned"]
    right.axline((0.1, 0.1), slope=1, color=REST, linestyle=":", label="equal")
    error = [row["mean_squared_error"] for row in rows]
    right.plot(
        error, [row["variance"] for row in rows], "o", color=MAIN, label="mean squared error"
    )
    exact = [row for row in rows if "closed_form" in row]
    at = [row["closed_form"] for row in exact]
    right.plot(at, [row["variance"] for row in exact], "x", color=SECOND, label="closed form",
               markersize=9)  # fmt: skip
    right.set(xscale="log", yscale="log", xlabel="optimum of sigma²", ylabel="learned sigma²")
    right.set_title("where a learned sigma settles", fontsize="medium")
    legend(right, "upper left")
    figure.savefig(path, dpi=150)
