"""`pyro-vae embed`: where the data lie in the latent space, and where the prior does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from pyro_vae.commands.options import add_data, choose, run_parser
from pyro_vae.commands.showing import check_two, rows_of
from pyro_vae.files.atomic import check_replaceable, staged
from pyro_vae.files.folders import making
from pyro_vae.latent import Embedding, embed
from pyro_vae.report.images import check_picture, save_figure, save_rows
from pyro_vae.report.plots import plot
from pyro_vae.runs.opening import open_from
from pyro_vae.runs.usage import OneLineParser


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    made = run_parser(
        "Lay the guide's means of data into a plane, with colours by their labels, over draws of"
        " the prior."
    )
    add_data(made, usual="5000")
    made.add_argument("--num_prior", type=int, default=2000, help="draws of the prior")
    made.add_argument("--seed", type=int, default=0, help="of these draws")
    made.add_argument(
        "--out",
        type=str | None,
        default=None,
        help="file instead of RUN/embedding.png; the table is beside it, .csv",
    )
    return made


def run(options: Namespace) -> None:
    """Embed, and write the picture and the table."""
    path = Path(options.out) if options.out else Path(options.run) / "embedding.png"
    check_picture("out", path)
    check_replaceable("out", path.with_suffix(".csv"))
    parts = open_from(options)
    split = choose(parts, options.split, options.num_data, usual=5000)
    check_two(split)

    found = embed(
        parts.model,
        parts.guide,
        split.x,
        split.numbers(),
        split.labels,
        label_names=split.label_names,
        num_prior=options.num_prior,
        seed=options.seed,
    )
    table = path.with_suffix(".csv")
    with making("out", path.parent), staged(path.parent, _keep) as new:  # both, or none
        save_rows(_rows(found), new / table.name)
        save_figure(plot(found), new / path.name)
    print(f"{path}, {table}")
    coloured = "" if found.labels is None else ", coloured by their labels"
    print(
        f"to be seen: {found.headline()}{coloured}, over draws of the prior in grey; where these"
        " are alone, samples are like no data"
    )


def _keep() -> None:
    """Older ones are replaced."""


def _rows(found: Embedding) -> list[dict[str, Any]]:
    """A row for each datum, with the name of its label where it has one."""
    rows = rows_of(found)
    if found.label_names is not None:
        for row in rows:
            row["name"] = found.label_names[row["label"]]
    return rows
