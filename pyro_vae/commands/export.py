"""`pyro-vae export`: draws of the guide, their weights and the data, for ArviZ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace

from pyro_vae.commands.options import add_data, choose, run_parser
from pyro_vae.files.atomic import check_replaceable
from pyro_vae.files.folders import making
from pyro_vae.report.arviz_data import write_netcdf
from pyro_vae.report.export import draws_to_arviz
from pyro_vae.runs.opening import open_from
from pyro_vae.runs.usage import OneLineParser


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    made = run_parser(
        "Write draws of the guide and, by their weights, of the posterior for ArviZ, as netCDF."
    )
    add_data(made, usual="16")
    made.add_argument("--num_draws", type=int, default=1000, help="of the guide for each datum")
    made.add_argument("--seed", type=int, default=0, help="of the draws")
    made.add_argument(
        "--out", type=str | None, default=None, help="netCDF file instead of RUN/draws.nc"
    )
    return made


def run(options: Namespace) -> None:
    """Write the guide's draws, their weights and the data as netCDF, for ArviZ."""
    out = Path(options.out) if options.out else Path(options.run) / "draws.nc"
    check_replaceable("out", out)

    parts = open_from(options)
    split = choose(parts, options.split, options.num_data, usual=16)
    draws = {"num_draws": options.num_draws, "seed": options.seed}
    with making("out", out.parent):
        found = draws_to_arviz(parts.model, parts.guide, split.x, split.numbers(), **draws)
        write_netcdf(found, out)

    what = f"{len(split)} {options.split} data, fingerprint {split.fingerprint}"
    print(f"{what}, {options.num_draws} draws each; written to {out}")
