"""What guides lose: their gaps, by guide and by datum, and their rate against their distortion."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pyro_vae.diagnostics.ledger import Entry, Gap, Ledger
from pyro_vae.report.plots.marks import (
    MAIN,
    REST,
    SECOND,
    array,
    finite,
    left_out,
    legend,
    looks,
    title,
)
from pyro_vae.report.plots.view import View, Views, views
from pyro_vae.results import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {"inference": REST, "approximation": MAIN, "amortization": SECOND}
_MARKERS = {"inference": "-", "approximation": "o", "amortization": "D"}


@views.register(Ledger)
def _(ledger: Ledger) -> Views:
    size = (7.0, 1.8 + 0.45 * len(ledger.entries))
    return {"gaps": View(partial(_gaps, ledger), size), "rates": View(partial(_rates, ledger))}


@views.register(Entry)
def _(entry: Entry) -> Views:
    return {"gaps": View(partial(_by_datum, entry))}


def _gaps(ledger: Ledger, axes: Axes) -> None:
    """A bar per guide, its approximation gap and its amortization gap (or both in one, where there
    is no q*).
    """
    entries = list(ledger.entries.values())
    totals = np.array([entry.inference.mean for entry in entries])
    kept, missing = finite("gaps", totals)
    labelled: set[str] = set()

    for row in np.flatnonzero(kept):
        entry, start = entries[row], 0.0
        for gap, label, colour in _bars(entry):
            size = gap.mean if gap.resolved else 0.0
            once = None if label in labelled else label
            axes.barh(row, size, left=start, color=colour, label=once)
            labelled.add(label)
            start += size
        total = entry.inference
        once = None if "total" in labelled else "inference gap in all, ± standard error"
        at = max(total.mean, 0.0)
        axes.errorbar(at, row, xerr=total.std_error, color="black", capsize=3, label=once)
        labelled.add("total")

    left_out(axes, missing, "not finite")
    axes.set_yticks(range(len(entries)), list(ledger.entries))
    axes.invert_yaxis()
    source = f"{ledger.estimate.method} ({ledger.estimator})"
    axes.set_xlabel(f"nats below log p(x) = {ledger.log_px.mean():.2f}, by {source}")
    title(
        axes,
        f"What each guide loses, {counted(len(ledger.log_px), 'data')}",
        ledger.estimate.caveat,
    )
    legend(axes)


def _bars(entry: Entry) -> list[tuple[Gap, str, str]]:
    if entry.approximation is None:
        return [(entry.inference, "inference gap", REST)]
    bars = [(entry.approximation, "approximation gap", MAIN)]
    if entry.amortization is not None:
        bars.append((entry.amortization, "amortization gap", SECOND))
    return bars


def _rates(ledger: Ledger, axes: Axes) -> None:
    """A point for each guide, below it the line on which a guide would be that loses nothing."""
    evidence = [entry.evidence for entry in ledger.entries.values()]
    rate, distortion = (
        np.array([getattr(one, name).mean().item() for one in evidence])
        for name in ("rate", "distortion")
    )
    kept, missing = finite("rates and distortions", rate, distortion)

    for place, (name, colour, _, marker) in enumerate(looks(list(ledger.entries))):
        if kept[place]:
            elbo = -(rate[place] + distortion[place])
            label = f"{name}: ELBO {elbo:.2f}"
            axes.plot(rate[place], distortion[place], marker, color=colour, ms=8, label=label)

    log_px = ledger.log_px.mean().item()
    if np.isfinite(log_px):
        ends = np.array([rate[kept].min(), rate[kept].max()])
        ends += np.array([-0.5, 0.5]) * (0.1 * np.ptp(ends) or 1.0)
        label = rf"rate + distortion = $-$log p(x) = {-log_px:.2f}"
        axes.plot(ends, -log_px - ends, "--", color=REST, label=label)
    left_out(axes, missing)
    axes.set(xlabel="rate, nats per datum", ylabel="distortion, nats per datum")
    title(axes, f"Means over {counted(len(ledger.log_px), 'data')}", ledger.estimate.caveat)
    legend(axes)


def _by_datum(entry: Entry, axes: Axes) -> None:
    """The gaps of each datum, sorted by what inference loses on it."""
    total = array(entry.inference.values)
    present = {name: gap for name, gap in entry.gaps.items() if gap is not None}
    kept, missing = finite("gaps", *(array(gap.values) for gap in present.values()))
    order = np.flatnonzero(kept)[np.argsort(total[kept], kind="stable")]
    places = np.arange(1, len(order) + 1)

    for name, gap in present.items():
        label = f"{name} gap: {str(gap).replace('+-', '±')}"
        values, look = array(gap.values)[order], _MARKERS[name]
        axes.plot(places, values, look, color=_COLOURS[name], ms=3, label=label)

    axes.axhline(0.0, color=REST, linewidth=0.8, linestyle=":")
    left_out(axes, missing)
    axes.set(
        xlabel=f"{counted(len(order), 'data')}, sorted by the inference gap", ylabel="gap, nats"
    )
    family = f", {entry.family}" if entry.family else ""
    title(axes, f"What the guide loses{family}", entry.evidence.caveat)
    legend(axes, "upper left")
