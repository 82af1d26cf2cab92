"""The tables and the picture of `compression.py`."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from rich.table import Table

from pyro_vae.report.plots.marks import MAIN, REST, SECOND
from pyro_vae.report.plots.view import blank


def tables(results: dict[str, Any]) -> list[Table]:
    """What each compressor needs, and what K latents need."""
    whole = results["whole"]
    first = Table(title=f"{whole['num_data']:,} images, bits per pixel")
    for name in ("compressor", "bits per pixel"):
        first.add_column(name)
    for name, bits in results["others"].items():
        first.add_row(name, f"{bits:.4f}")
    first.add_row("bits-back, everything counted", f"{whole['bits_per_dim']:.5f}")
    told = f"{whole['predicted']:.5f} +- {whole['predicted_error']:.5f}"
    first.add_row("-ELBO / (D log 2), by other draws", told)

    second = Table(title=f"{results['num_latents_data']:,} images, K latents each, bits per pixel")
    for name in ("K", "code", "bound", "code - bound", "exact", "seconds, there and back"):
        second.add_column(name)
    for row in results["by_latents"]:
        second.add_row(
            str(row["latents"]),
            f"{row['bits']:.5f}",
            f"{row['predicted']:.5f}",
            f"{row['difference']:+.5f} +- {row['difference_error']:.5f}",
            str(row["back_exactly"]),
            f"{row['seconds']}, {row['seconds_back']}",
        )

    third = Table(title="decoder, a batch of all against each latent alone: shares that differ")
    for name in ("arithmetic", "outputs", "chances, of 2^-22", "images with any"):
        third.add_column(name)
    for name, row in results["sameness"].items():
        third.add_row(name, *(f"{share:.2%}" for share in row.values()))
    return [first, second, third]


def picture(results: dict[str, Any]) -> Figure:
    """Compressors beside each other, and the code by the number of latents."""
    figure = blank((11, 4.2))
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    whole = results["whole"]

    bars = sorted(results["others"].items(), key=lambda pair: -pair[1])
    bars.append(("this run, bits-back", whole["bits_per_dim"]))
    names, values = zip(*bars, strict=True)
    colours = [REST] * (len(bars) - 1) + [MAIN]
    drawn = left.barh(names, values, color=colours)
    left.bar_label(drawn, [f"{value:.3f}" for value in values], padding=3)
    left.axvline(
        whole["predicted"], color=SECOND, ls="--", label=f"-ELBO / ({whole['size']} log 2)"
    )
    left.set(xlabel="bits per pixel", xlim=(0, 1.15 * max(values)))
    left.set_title(f"{whole['num_data']:,} binarised test images", fontsize=11)
    left.legend(loc="upper right")

    rows = results["by_latents"]
    k = [row["latents"] for row in rows]
    right.plot(
        k,
        [row["predicted"] for row in rows],
        color=SECOND,
        ls="--",
        label="bound of K, by other draws",
    )
    right.errorbar(
        k,
        [row["bits"] for row in rows],
        [row["difference_error"] for row in rows],
        color=MAIN,
        fmt="o",
        capsize=3,
        label="code; bars: error of code - bound",
    )
    right.set(xlabel="K, latents for each image", xscale="log")
    right.set_ylabel("bits per pixel, without initial bits")
    right.set_xticks(k, [str(number) for number in k])
    right.minorticks_off()
    right.set_title(f"Monte Carlo bits-back, {results['num_latents_data']:,} images", fontsize=11)
    right.legend(loc="upper right")
    return figure
