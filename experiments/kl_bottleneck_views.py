"""What the study of the bottleneck shows: its tables, and its figure."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from torch import Tensor

from pyro_vae.report.plots.marks import DISTORTION, MAIN, REST, SECOND
from pyro_vae.report.plots.view import blank

LOOKS = {"1": (MAIN, "o"), "0": (SECOND, "s")}  # by beta


def packed(values: Tensor) -> str:
    """An array of bytes or of float16 as a text."""
    return base64.b64encode(zlib.compress(values.contiguous().numpy().tobytes(), 9)).decode()


def unpacked(text: str, dtype: type, width: int) -> NDArray[Any]:
    """The same as rows of so many values."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype).reshape(-1, width)


def tables(results: dict[str, Any]) -> Iterator[Table]:
    """A table for each part that is there."""
    if "nets" in results:
        yield draws_table(results["nets"])
        yield rows_table("codes of training data", "nats, and sigmas", coded_rows(results["nets"]))
    for part in ("plane", "few"):
        if part in results:
            yield rows_table(part, "at the end", {k: last(v) for k, v in results[part].items()})


def last(found: Any) -> dict[str, float]:
    """The last of rows, or the numbers of one."""
    row = found[-1] if isinstance(found, list) else found
    return {name: value for name, value in row.items() if isinstance(value, float)}


def coded_rows(nets: dict[str, Any]) -> dict[str, dict[str, float]]:
    """By beta."""
    return {beta: nets[beta]["codes"] for beta in LOOKS if beta in nets}


def rows_table(title: str, unit: str, rows: dict[str, dict[str, float]]) -> Table:
    """A row for each beta."""
    made = Table(title=f"{title} ({unit})")
    for name in ("beta", *next(iter(rows.values()))):
        made.add_column(name)
    for beta, row in rows.items():
        made.add_row(beta, *(f"{value:.4g}" for value in row.values()))
    return made


def draws_table(nets: dict[str, Any]) -> Table:
    """A row for each source of latents."""
    made = Table(title="what latents decode to, in black and white: nats, pixels")
    for name in (
        "beta",
        "z from",
        "log p, at least",
        "k-hat high",
        "to train",
        "from real",
        "white",
    ):
        made.add_column(name)
    for beta, source, found in sources(nets):
        row = found["figures"]
        bound = f"{row['log_px']:.1f} +- {row['log_px_error']:.1f}"
        distance = f"{row['distance']:.1f} +- {row['distance_error']:.1f}"
        missed = f"{row['missed']:.1f} +- {row['missed_error']:.1f}"
        shares = f"{row['k_hat_high']:.0%}", distance, missed, f"{row['white']:.3f}"
        made.add_row(beta, source, bound, *shares)
    return made


def sources(nets: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """beta, source, and what was found of it; the test images first."""
    yield "", "test images", nets["test images"]
    for beta in LOOKS:
        for source, found in nets[beta]["draws"].items():
            yield beta, source, found


def chart(results: dict[str, Any], path: Path) -> None:
    """Sigma through training, the plane, the distortions of few data; pictures below."""
    figure = blank((12.0, 9.6))
    above, below = np.asarray(figure.subfigures(2, 1, height_ratios=(1, 1.45)))
    axes = above.subplots(1, 4, width_ratios=(1.1, 1, 1, 1.1))
    if "nets" in results:
        by_epoch(results["nets"], axes[0])
        pictures(results["nets"], below)
    for at in axes[[part not in results for part in ("nets", "plane", "plane", "few")]]:
        at.set_axis_off()
    if "plane" in results:
        for at, (beta, found) in zip(axes[1:3], results["plane"].items(), strict=True):
            codes(beta, found, at)
    if "few" in results:
        distortions(results["few"], axes[3])
    figure.savefig(path, dpi=130)


def by_epoch(nets: dict[str, Any], axes: Any) -> None:
    """Sigma and the spread of the means."""
    for beta, (colour, marker) in LOOKS.items():
        rows = nets[beta]["training"]
        for name, style in (("spread", "--"), ("sigma", "-")):
            at = [row["epoch"] for row in rows], [row[name] for row in rows]
            label = {"sigma": r"$\sigma$", "spread": "means"}[name]
            label = rf"{label}, $\beta$ = {beta}"
            axes.plot(*at, style, marker=marker, ms=3, color=colour, label=label)
    first = nets["1"]["training"][1]["epoch"]
    axes.set_xscale("symlog", linthresh=first, linscale=0.4)
    axes.set_yscale("log")
    axes.set(xlabel="epochs", ylabel="of a unit, in the prior's deviations")
    axes.set_xticks([0, 0.1, 1, 10], ["0", "0.1", "1", "10"])
    axes.set_title("10 units: sigma, and r.m.s. of means", fontsize="medium")
    axes.legend(fontsize="x-small", frameon=False, loc="lower left", handlelength=3)


def codes(beta: str, found: dict[str, Any], axes: Any) -> None:
    """Codes of training data in the plane, and circles of the prior."""
    at, labels = unpacked(found["codes"], np.float16, 2).T, found["labels"]
    colours = {"c": labels, "cmap": "tab10"} if labels else {"c": MAIN}
    axes.scatter(*at, s=3, linewidths=0, **colours)
    turn = np.linspace(0, 2 * np.pi, 100)
    for radius in (1, 2, 3):
        axes.plot(radius * np.cos(turn), radius * np.sin(turn), color=REST, linewidth=0.8)
    axes.set(xlim=(-5, 5), ylim=(-5, 5), aspect="equal", xlabel="unit 1", ylabel="unit 2")
    axes.set_title(
        f"2 units, beta = {beta}: {found['hole']:.0%} of the\nprior thin, "
        f"{found['codes_inside']:.0%} of the codes within 4",
        fontsize="medium",
    )


def distortions(few: dict[str, Any], axes: Any) -> None:
    """Train and test distortion of few data."""
    for beta, (colour, marker) in LOOKS.items():
        rows = few[beta][1:]
        for name, style in (("train", "-"), ("test", "--")):
            at = [row["epoch"] for row in rows], [row[f"{name}_distortion"] for row in rows]
            label = rf"{name}, $\beta$ = {beta}"
            axes.plot(*at, style, marker=marker, ms=3, color=colour, label=label)
    axes.set(xscale="log", yscale="log", xlabel="epochs", ylabel="distortion, nats per image")
    axes.set_title("10 units, few training images", fontsize="medium")
    axes.legend(fontsize="small", frameon=False)


def pictures(nets: dict[str, Any], below: Any) -> None:
    """A strip of each source; the test images, then those of each beta."""
    rows = list(sources(nets))
    grid = below.subplots(len(rows), 3, width_ratios=(1.5, 5, 1.5))
    heads = ("z from", "E[x | z]", "log p >=   to train   from real   white")
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title(head, fontsize="small")

    for (left, axes, right), (beta, source, found) in zip(grid, rows, strict=True):
        width, number = found["width"], found["num_shown"]
        shown = unpacked(found["pictures"], np.uint8, width * width).reshape(number, width, width)
        strip = np.pad(shown, ((0, 0), (0, 0), (0, 2)), constant_values=128)
        axes.imshow(np.concatenate(strip, axis=1), cmap="gray", vmin=0, vmax=255)
        for side in axes.spines.values():
            side.set_color(LOOKS[beta][0] if beta else DISTORTION)
        axes.set(xticks=[], yticks=[])

        row = found["figures"]
        told = f"{row['log_px']:.0f}", f"{row['distance']:.0f}", f"{row['missed']:.0f}"
        what = rf"$\beta$ = {beta}, {source}" if beta else source
        left.text(1, 0.5, what, ha="right", va="center", fontsize="small")
        for at, value in zip((0.2, 0.48, 0.75, 0.97), (*told, f"{row['white']:.1%}"), strict=True):
            right.text(at, 0.5, value, ha="right", va="center", fontsize="small")
        left.set_axis_off()
        right.set_axis_off()
