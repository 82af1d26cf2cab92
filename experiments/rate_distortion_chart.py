"""What rate_distortion.py shows: tables, and one picture of all parts."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from torch import Tensor

from pyro_vae.report.plots.marks import MAIN, REST, SECOND, legend, looks
from pyro_vae.report.plots.view import blank
from pyro_vae.report.tables import cell, show
from rate_distortion_linear import EIGENVALUES, water_filling

UNITS = {"nats": "distortion", "squared error": "squared_error"}  # of a curve, and in the sweep


def packed(rows: Sequence[Tensor]) -> dict[str, Any]:
    """Rows of pictures `(N, *shape)` with values from 0 to 1 in 16 shades, as text."""
    values = np.stack([row.detach().cpu().numpy() for row in rows])
    shades = np.round(15 * values).astype(np.uint8)
    text = base64.b64encode(zlib.compress(shades.tobytes(), 9)).decode()
    return {"shape": list(values.shape), "shades": text}


def unpacked(found: dict[str, Any]) -> Any:
    """The rows of pictures, `(rows, N, height, width)`."""
    values = np.frombuffer(zlib.decompress(base64.b64decode(found["shades"])), np.uint8)
    rows, number, *_, height, width = found["shape"]
    return values.reshape(rows, number, height, width) / 15


# ---- in words


def told(results: dict[str, Any]) -> None:
    """Print a table of the sweep, with what the slopes and the frozen decoders say."""
    if "sweep" not in results:
        return
    data = results["settings"]["data"]
    made = Table(title=f"{data}, test images, nats per image, errors over the images")
    for name in ("leg", "b", "rate", "distortion", "rate + distortion", "squared error", "units"):
        made.add_column(name)
    for row in results["sweep"]["rows"]:
        names = ("rate", "distortion", "both", "squared_error")
        cells = [cell(row[name], row[f"{name}_error"]) for name in names]
        made.add_row(row["leg"], f"{row['beta']:g}", *cells, str(row["units"]))
    show(made)

    made = Table(title="-dD/dR between neighbours of the sweep")
    for name in ("between b", "and", "test images", "training images"):
        made.add_column(name)
    for row in results["sweep"]["slopes"]:
        cells = [
            "rates alike" if row[split] is None else cell(row[split][0], row[split][1], 3)
            for split in ("test", "train")
        ]
        made.add_row(f"{row['low']:g}", f"{row['high']:g}", *cells)
    show(made)


# ---- in pictures


def chart(results: dict[str, Any], path: Path) -> None:
    """MNIST's plane, slopes, squared errors, the linear VAE, and images by rate."""
    figure = blank((16, 9))
    places = [["plane", "slopes", "strip"], ["squared", "linear", "strip"]]
    axes = figure.subplot_mosaic(places, width_ratios=(1, 1, 0.9))  # type: ignore[arg-type]
    sweep, frozen = results.get("sweep"), results.get("annealed", [])
    if sweep is not None:
        plane(sweep, frozen, axes["plane"])
        slopes(sweep["slopes"], axes["slopes"])
        squared(sweep, frozen, axes["squared"])
        strip(sweep, axes["strip"])
    if "linear" in results:
        shannon(results["linear"], axes["linear"])
    figure.savefig(path, dpi=130)


def up(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    """The points on the way from small weights to large ones."""
    return [row for row in sweep["rows"] if row["leg"] == "up"]


def curves(sweep: dict[str, Any], frozen: list[dict[str, Any]], unit: str, axes: Any) -> None:
    """The sweep and the frozen decoders' curves, with some weights told."""
    rows, cost = up(sweep), UNITS[unit]
    at, height = [row["rate"] for row in rows], [row[cost] for row in rows]
    reach = [[1.96 * row[f"{name}_error"] for row in rows] for name in (cost, "rate")]
    axes.errorbar(at, height, *reach, fmt="o", color=MAIN, ms=5, zorder=3,
                  label="sweep, encoders trained along")  # fmt: skip
    living = [row for row in rows if row["rate"] > 0.01 * max(at)]
    labels = [f"{row['beta']:g}" for row in living]
    if len(living) < len(rows):
        labels.append(f"{rows[len(living)]['beta']:g} and more")
    edge = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
    for row, label in zip(rows, labels, strict=False):
        axes.annotate(label, (row["rate"], row[cost]), (7, 5), textcoords="offset points",
                      fontsize="small", color=MAIN, bbox=edge, zorder=4)  # fmt: skip
    for row, (name, colour, style, _) in zip(
        frozen, looks([f"decoder of b = {row['decoder']:g}" for row in frozen]), strict=True
    ):
        label = f"{name}, {row['num_data']} images by chains"
        axes.plot(row[unit]["rate"], row[unit]["distortion"], style, color=colour, label=label)


def plane(sweep: dict[str, Any], frozen: list[dict[str, Any]], axes: Any) -> None:
    """Rate and -log p(x|z)."""
    curves(sweep, frozen, "nats", axes)
    known = sweep["limits"]
    for side, style in (("most", "--"), ("least", ":")):
        entropy = known[f"entropy_at_{side}"]
        if entropy is not None:
            label = f"D + R = H, if H is {entropy:.1f}, its {side}"
            axes.plot([0, entropy], [entropy, 0], color=REST, linestyle=style, label=label)
    label = f"best without a latent: D = {known['constant']:.1f}"
    axes.plot([0], [known["constant"]], "*", color=REST, ms=13, label=label, clip_on=False)
    most = 1.15 * max(row["rate"] for row in up(sweep))
    axes.set(xlim=(-0.01 * most, most), ylim=(0, 1.15 * known["constant"]))
    axes.set(xlabel="rate R, nats per image", ylabel="distortion D = -log p(x|z), nats per image")
    axes.set_title("Points: weights b, all test images", fontsize="medium")
    legend(axes, "upper right")


def slopes(rows: list[dict[str, Any]], axes: Any) -> None:
    """-dD/dR between neighbours, with what it must be between."""
    label = "between the two weights"
    for row in rows:
        middle = (row["low"] * row["high"]) ** 0.5
        axes.fill_between([row["low"], row["high"]], row["low"], row["high"], color=REST,
                          alpha=0.3, linewidth=0, label=label)  # fmt: skip
        label = ""
        for split, colour, marker in (("train", SECOND, "s"), ("test", MAIN, "o")):
            if row[split] is not None and row[split][0] > 0:
                value, error = row[split]
                axes.errorbar([middle], [value], [1.96 * error], fmt=marker, color=colour, ms=5)
    for colour, marker, label in ((MAIN, "o", "test images"), (SECOND, "s", "training images")):
        axes.plot([], [], marker, color=colour, label=label)
    for row in rows:
        if row["test"] is not None and row["test"][0] <= 0:
            label = f"not shown: {row['test'][0]:.3f} between {row['low']:g} and {row['high']:g}"
            axes.plot([], [], linestyle="none", label=label)
    axes.set(xscale="log", yscale="log", xlabel="weight b", ylabel="-dD / dR between neighbours")
    axes.set_title("Slope of the sweep", fontsize="medium")
    legend(axes, "upper left")


def squared(sweep: dict[str, Any], frozen: list[dict[str, Any]], axes: Any) -> None:
    """Rate and squared error; the sweep was trained for another distortion."""
    curves(sweep, frozen, "squared error", axes)
    most = 1.15 * max(row["rate"] for row in up(sweep))
    highest = max(row["squared_error"] for row in up(sweep))
    axes.set(xlim=(-0.01 * most, most), ylim=(0, 1.15 * highest))
    axes.set(xlabel="rate R, nats per image", ylabel="squared error, per image")
    axes.set_title("The same, squared error in place of -log p(x|z)", fontsize="medium")
    legend(axes, "upper right")


def shannon(found: dict[str, Any], axes: Any) -> None:
    """The linear VAE beside Shannon's curve, and where chains along frozen decoders are."""
    levels = np.geomspace(0.005, 1.01 * EIGENVALUES[0], 200)
    points = [water_filling(level) for level in levels.tolist()]
    axes.plot(*zip(*points, strict=True), color=REST, label="Shannon: reverse water-filling")
    for leg, marker, colour, label in (
        ("up", "o", MAIN, "linear VAE, weights 0.01 to 100"),
        ("back", "x", SECOND, "on the way back"),
    ):
        rows = [row for row in found["sweep"] if row["leg"] == leg]
        at, error = [row["rate"] for row in rows], [row["squared_error"] for row in rows]
        axes.plot(at, error, marker, color=colour, ms=6, label=label)
    axes.set(yscale="log", xlabel="rate, nats per datum", ylabel="squared error, per datum")
    axes.set_title("Linear VAE, eight units", fontsize="medium")
    legend(axes, "upper right")


def strip(sweep: dict[str, Any], axes: Any) -> None:
    """Images in the first row, below them what decoders make of draws of the encoder."""
    rows = unpacked(sweep["strip"])
    rows = np.pad(rows, ((0, 0), (0, 0), (1, 1), (1, 1)))
    number, images, height, width = rows.shape
    sheet = rows.transpose(0, 2, 1, 3).reshape(number * height, images * width)
    axes.imshow(1 - sheet, cmap="gray", vmin=0, vmax=1, aspect="equal", interpolation="nearest")
    labels = ["images", *(f"b = {row['beta']:g}\nR = {row['rate']:.1f}" for row in up(sweep))]
    centres = [(row + 0.5) * height for row in range(number)]
    axes.set_yticks(centres, labels, fontsize="small")
    axes.set_xticks([])
    axes.tick_params("y", length=0)
    axes.set_title("Draws of q(z|x), decoded; R in nats", fontsize="medium")
