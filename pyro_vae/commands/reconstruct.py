"""`pyro-vae reconstruct`: data beside their reconstructions, as a picture, or a table."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import Namespace

from pyro_vae.commands.options import add_data, choose, run_parser
from pyro_vae.commands.showing import add_out, place_of, show
from pyro_vae.latent import reconstruct
from pyro_vae.runs.opening import open_from
from pyro_vae.runs.usage import OneLineParser


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    made = run_parser("Pass data through the guide and the model; data and means side by side.")
    add_data(made, usual="32")
    made.add_argument("--seed", type=int, default=0, help="of the draws of a guide without means")
    add_out(made, "reconstructions")
    return made


def run(options: Namespace) -> None:
    """Reconstruct, and write."""
    path = place_of(options, "reconstructions")
    parts = open_from(options)
    split = choose(parts, options.split, options.num_data, usual=32)
    found = reconstruct(parts.model, parts.guide, split.x, split.numbers(), seed=options.seed)
    show(found, found.x, path, parts.columns, {"data": found.x, "mean": found.means})
    print(f"to be seen: {found.headline()}")
