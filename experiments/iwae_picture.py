"""The picture of `iwae_table.py`: NLL by the number of particles, and each published inequality, by
how much it holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyro_vae.report.plots.marks import MAIN, REST, SECOND
from pyro_vae.report.plots.view import blank


def chart(results: dict[str, Any], path: Path) -> None:
    """NLL by k, and the gains."""
    figure = blank((11.5, 5.2))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    by_particles({row["cell"]: row["nll"] for row in results["cells"]}, left)
    epochs = results["settings"]["epochs"]
    title = f"{results['settings']['data']}, after {epochs} epoch{'s' * (epochs > 1)}"
    left.set_title(title, fontsize="medium")
    by_gain(results["order"], right)
    figure.savefig(path, dpi=150)


def by_particles(nll: dict[str, float], axes: Any) -> None:
    """NLL against k, and the objectives of 64 particles to the right."""
    for layers, style in ((1, "-"), (2, "--")):
        for kind, colour, marker in (("vae", SECOND, "s"), ("iwae", MAIN, "o")):
            names = {k: f"{layers}-{kind if k > 1 else 'vae'}-{k}" for k in (1, 5, 50)}
            points = {k: nll[name] for k, name in names.items() if name in nll}
            label = f"{kind.upper()}, {layers} layer{'s' * (layers > 1)}"
            look = {"color": colour, "marker": marker, "linestyle": style, "label": label}
            axes.plot(list(points), list(points.values()), **look)

    for name, place, marker in (("1-miwae", 85, "^"), ("1-ciwae", 110, "D"), ("1-piwae", 142, "v")):
        if name in nll:
            look = {"color": REST, "marker": marker, "linestyle": "none", "label": named(name)}
            axes.plot([place], [nll[name]], **look)
    axes.set(xscale="log", xlabel="k, particles (grey: 64 each)", ylabel="NLL, nats per image")
    axes.set_xticks([1, 5, 50], ["1", "5", "50"])
    axes.minorticks_off()
    axes.legend(fontsize="small", frameon=False)


def by_gain(rows: list[dict[str, Any]], axes: Any) -> None:
    """Each published inequality, its gain there and here."""
    places = range(len(rows), 0, -1)
    gains, reach = [row["gain"] for row in rows], [2 * row["error"] for row in rows]
    axes.errorbar(gains, places, xerr=reach, fmt="o", ms=4, color=MAIN, label="here, two errors")
    published = [row["published"] for row in rows]
    axes.plot(published, places, "D", ms=4, mfc="none", color=SECOND, label="published")
    axes.axvline(0, color=REST, linewidth=0.8)
    axes.set_yticks(places, [told(row) for row in rows], fontsize="x-small")
    axes.set(xlabel="gain, nats per image")
    axes.set_title("what was better after 3,280 epochs", fontsize="medium")
    axes.legend(fontsize="small", frameon=False)


def named(name: str) -> str:
    """What a cell is called, without its layers."""
    words = {"miwae": "MIWAE(8,8)", "piwae": "PIWAE(8,8)", "ciwae": "CIWAE(0.05)"}
    return words.get(name[2:], name[2:].upper())


def told(row: dict[str, Any]) -> str:
    """An inequality in words."""
    better, worse = row["better"], row["worse"]
    if better[2:] == worse[2:]:
        return f"2 layers over 1, {named(better)}"
    layers = {"1": "1 layer", "2": "2 layers"}[better[0]]
    return f"{named(better)} over {named(worse)}, {layers}"
