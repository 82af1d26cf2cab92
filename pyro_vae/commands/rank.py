"""`pyro-vae rank`: which of several runs says more of the same held-out data, and whether the data
tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from jsonargparse import Namespace
from rich.table import Table

from pyro_vae.commands.options import add_data, add_device, choose
from pyro_vae.data import Split
from pyro_vae.diagnostics import Ranking, rank
from pyro_vae.evidence import Best, Estimate, Importance, Method, log_evidence
from pyro_vae.files.atomic import check_replaceable
from pyro_vae.files.folders import making
from pyro_vae.files.texts import printable, write_csv
from pyro_vae.progress import progress_bar, shares
from pyro_vae.report.tables import cell, show
from pyro_vae.runs.opening import Parts, open_from
from pyro_vae.runs.usage import OneLineParser


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    made = OneLineParser(
        description="Estimate log p(x) of the same data under several runs; differences are paired."
    )
    made.add_argument("runs", type=str, nargs="+", help="run folders")
    made.add_argument(
        "--data_root", type=str | None, default=None, help="folder of torchvision's datasets"
    )
    add_device(made)
    made.add_argument("--method", type=Method, help="Importance, Annealed, Best, ...")
    add_data(made, usual="1000")
    made.add_argument("--out", type=str | None, default=None, help="CSV file for the table")
    made.set_defaults({"method": {"class_path": "pyro_vae.Importance"}})
    options = [option for known in (Importance, Best) for option in fields(known)]
    made.nested = [f"--method.{option.name}" for option in options]
    return made


def run(options: Namespace) -> None:
    """Score each run on the same data, and say who leads."""
    if len(options.runs) < 2:
        raise ValueError(f"runs: got {len(options.runs)}, expected at least two run folders")
    names = _names(options.runs)
    out = None if options.out is None else Path(options.out)
    if out is not None:
        check_replaceable("out", out)

    method: Method[Estimate] = parser(()).instantiate(options).method
    opened = {}
    for name, folder in names.items():
        parts = open_from(options, run=folder)
        opened[name] = parts, choose(parts, options.split, options.num_data, usual=1000)
    first = _the_same(opened)

    found: dict[str, Estimate] = {}
    with progress_bar("log p(x)") as progress:
        for (name, (parts, split)), part in zip(
            opened.items(), shares(progress, *[1] * len(opened)), strict=True
        ):
            model, guide, numbers = parts.model, parts.guide, split.numbers()
            found[name] = log_evidence(model, guide, split.x, method, index=numbers, progress=part)

    ranking = rank(found)
    show(ranking_table(ranking, f"{len(first)} {options.split} data, {first.fingerprint}"))
    print(ranking.verdict)
    if out is not None:
        with making("out", out.parent):
            write_csv(list(ranking.rows()), out)
        print(f"written to {out}")


def ranking_table(ranking: Ranking, title: str) -> Table:
    """A row for each estimate, the highest first."""
    caption = "nats per datum; differences are paired, +- their standard error over the data"
    table = Table(title=title, caption=caption)
    for name in ("run", "log p(x)", "below the leader", "resolved", "errors vouched for"):
        table.add_column(name, justify="left" if name == "run" else "right")

    for row in ranking.rows():
        first = row["resolved"] is None
        below = "" if first else cell(row["below_leader"], row["below_leader_error"], 3)
        told = "" if first else "yes" if row["resolved"] else "not resolved"
        scored = cell(row["log_px"], row["log_px_error"])
        table.add_row(row["name"], scored, below, told, f"{100 * row['share_reliable']:.1f}%")
    return table


def _names(folders: Sequence[str]) -> dict[str, str]:
    """The folders by their own names, or by their paths where these are the same."""
    short = [printable(Path(folder).resolve().name) for folder in folders]
    if len(set(short)) == len(short):
        return dict(zip(short, folders, strict=True))
    if len(set(folders)) < len(folders):
        raise ValueError(f"runs: got {', '.join(folders)}, expected each run once")
    return {printable(folder): folder for folder in folders}


def _the_same(opened: Mapping[str, tuple[Parts, Split]]) -> Split:
    """The data of all runs; a ValueError where one has others."""
    other, (_, first) = next(iter(opened.items()))
    for name, (_, split) in opened.items():
        if split.fingerprint != first.fingerprint:
            raise ValueError(
                f"runs: {name} has other {split.name} data ({split.fingerprint}) than {other}"
                f" ({first.fingerprint}), expected the same data under the same rule: log p(x)"
                " of other data cannot be compared"
            )
    return first
