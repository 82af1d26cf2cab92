"""A ledger on the terminal and on disk: tables, CSV, ArviZ's netCDF, a bar chart of the gaps."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from pyro_vae.diagnostics import Gap, Ledger
from pyro_vae.files.atomic import write_atomically
from pyro_vae.files.texts import by_row, write_csv
from pyro_vae.report.arviz_data import to_arviz, write_netcdf
from pyro_vae.report.plots import plot
from pyro_vae.report.tables import share, with_caveat

ENDS = (".csv", "_data.csv", ".nc", ".png")  # of the files of a ledger
_GAPS = ("inference", "approximation", "amortization")


def ledger_table(title: str, ledger: Ledger) -> Table:
    """A row per guide: what it scores, what it loses and to what, what it took; nats per datum."""
    source = f"{ledger.estimate.method} ({ledger.estimator})"
    title = f"{title}; log p(x) {ledger.log_px.mean():.2f}, by {source}"
    caption = "nats per datum; gaps: mean +- standard error over the data, paired"
    table = Table(title=title, caption=with_caveat(caption, ledger.estimate.caveat))

    table.add_column("guide")
    gaps = ("inference gap", "approximation", "amortization")
    for name in ("ELBO", "rate", "distortion", *gaps, "k-hat high", "evaluations", "ms a datum"):
        table.add_column(name, justify="right")

    for name, entry in ledger.entries.items():
        evidence = entry.evidence
        means = [getattr(evidence, key).mean() for key in ("elbo", "rate", "distortion")]
        scores = [f"{mean:.2f}" for mean in means]
        told = ["" if gap is None else str(gap) for gap in entry.gaps.values()]
        cost = [f"{entry.evaluations.double().mean():.0f}", f"{1000 * entry.seconds:.3g}"]
        cost = [text.replace("nan", "n/a") for text in cost]
        table.add_row(name, *scores, *told, share(evidence.share_above_threshold), *cost)
    return table


def generalisation_table(train: Ledger, test: Ledger) -> Table:
    """How much more each of the same guides loses on test data than on train data: inference's
    generalisation gap.
    """
    caption = with_caveat("nats per datum +- standard error", test.estimate.caveat)
    table = Table(title="inference on test data less that on train data", caption=caption)
    table.add_column("guide")
    for key in _GAPS:
        table.add_column(f"{key} gap", justify="right")

    for name, entry in test.entries.items():
        pairs = zip(train.entries[name].gaps.values(), entry.gaps.values(), strict=True)
        table.add_row(name, *(_difference(*pair) for pair in pairs))
    return table


def _difference(train: Gap | None, test: Gap | None) -> str:
    if train is None or test is None:
        return ""
    error = math.hypot(train.std_error, test.std_error)  # other data: not paired
    difference = test.mean - train.mean
    if abs(difference) > 2 * error:
        return f"{difference:.3f} +- {error:.3f}"
    return f"not resolved ({difference:.2g} +- {error:.2g})"


def write_ledger(ledger: Ledger, folder: Path, name: str) -> list[Path]:
    """Write NAME.csv (means), NAME_data.csv (by guide and datum), NAME.nc, NAME.png to a folder."""
    paths = [folder / f"{name}{end}" for end in ENDS]
    caveat = {"caveat": ledger.estimate.caveat} if ledger.estimate.caveat else {}
    write_csv([row | caveat for row in ledger.rows()], paths[0])
    write_csv(by_row(ledger.columns()), paths[1])
    write_netcdf(ledger_to_arviz(ledger), paths[2])
    save_chart(ledger, paths[3], name)
    return paths


def ledger_to_arviz(ledger: Ledger) -> Any:
    """The group `ledger` of an InferenceData (ArviZ 0.23) or DataTree (1.x), with dimensions guide
    and datum.
    """
    entries = ledger.entries.values()
    columns = [entry.columns() for entry in entries]
    values = {name: torch.stack([one[name] for one in columns]).numpy() for name in columns[0]}
    values["seconds"] = torch.tensor([entry.seconds for entry in entries]).double().numpy()

    dims = {name: ["guide", "datum"][: value.ndim] for name, value in values.items()}
    coords = {"guide": list(ledger.entries)}
    attrs = {"ledger": {"caveat": ledger.estimate.caveat}} if ledger.estimate.caveat else None
    return to_arviz({"ledger": values}, dims, coords, attrs)


def save_chart(ledger: Ledger, path: Path, title: str = "") -> None:
    """Write the chart of the gaps, `plot(ledger, "gaps")`, as a PNG."""
    figure = plot(ledger, "gaps")
    if title:
        figure.suptitle(title)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    write_atomically(path, lambda file: file.write(picture.getvalue()))
