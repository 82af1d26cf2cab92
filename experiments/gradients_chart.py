"""What is read off the figures of `gradients.py`, and their picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pyro_vae.report.plots import blank
from pyro_vae.report.plots.marks import REST, legend

LOOKS = {
    "reparameterised": ("tab:blue", "o-"),
    "analytic KL": ("tab:purple", "D-."),
    "sticking the landing": ("tab:green", "^--"),
    "score function": ("tab:red", "s-"),
    "score, leave-one-out": ("tab:orange", "v--"),
}


def slope(rows: list[dict[str, Any]], by: str) -> float:
    """Of log variance against log `by`, over the larger half of the sizes."""
    chosen = rows[len(rows) // 2 :]
    x = torch.tensor([row[by] for row in chosen], dtype=torch.double).log()
    y = torch.tensor([row["variance"] for row in chosen], dtype=torch.double).log()
    x = x - x.mean()
    return ((x @ y) / (x @ x)).item()


def slopes(rows: list[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    """A row for each guide and estimator; None where there is no variance."""
    made: list[dict[str, Any]] = []
    for where, name in dict.fromkeys((row["guide"], row["estimator"]) for row in rows):
        own = [row for row in rows if (row["guide"], row["estimator"]) == (where, name)]
        some = min(row["variance"] for row in own) > 1e-20
        made.append({"guide": where, "estimator": name, "slope": slope(own, by) if some else None})
    return made


def chart(found: dict[str, Any], path: Path) -> None:
    """Variance against the number of units at two guides, and against the size of the minibatch."""
    figure = blank((11, 4.2))
    panels = figure.subplots(1, 3)
    chosen = [("latents", "units", "optimum"), ("latents", "units", "half as wide")]
    chosen.append(("batch", "batch_size", "half as wide, means halved"))

    for axes, (part, by, where) in zip(panels, chosen, strict=True):
        for name, (colour, style) in LOOKS.items():
            rows = [r for r in found[part] if (r["guide"], r["estimator"]) == (where, name)]
            values = [row["variance"] for row in rows]
            if max(values) < 1e-20:
                axes.plot([], [], style, color=colour, label=f"{name}: 0")
                continue
            axes.plot([row[by] for row in rows], values, style, color=colour, label=name)
        axes.set(xscale="log", yscale="log")
        axes.set_title(f"guide: {where}", fontsize="medium")

    for axes in panels[:2]:
        axes.set(xlabel="latent units d", ylabel="variance per parameter", ylim=(1e-2, 1e7))
        legend(axes, "upper left")
    rows = [r for r in found["batch"] if r["guide"] == chosen[2][2]]
    own = [r for r in rows if r["estimator"] == "sticking the landing"]
    sizes, data = ([r[name] for r in own] for name in ("batch_size", "of_the_data"))
    panels[2].plot(sizes, data, ":", color=REST, label="of the data alone")
    panels[2].set(xlabel="minibatch B", ylabel="variance of all parameters", ylim=(1, 1e10))
    legend(panels[2], "upper right")
    figure.savefig(path, dpi=150)
