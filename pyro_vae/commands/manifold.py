"""`pyro-vae manifold`: the whole latent space of a model with two latent numbers."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import Namespace

from pyro_vae.commands.options import run_parser
from pyro_vae.commands.showing import add_out, like_of, place_of, show
from pyro_vae.latent import manifold
from pyro_vae.runs.opening import open_from
from pyro_vae.runs.usage import OneLineParser


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    made = run_parser("Show the means of p(x | z) on a grid of quantiles of the prior.")
    made.add_argument("--side", type=int, default=20, help="quantiles of each of the two numbers")
    made.add_argument("--given", type=str | None, default=None, help="a class of the context")
    add_out(made, "manifold")
    return made


def run(options: Namespace) -> None:
    """Lay the grid, and write."""
    path = place_of(options, "manifold")
    parts = open_from(options, need_data=False)
    found = manifold(parts.model, *like_of(parts, options.given), side=options.side)
    show(found, found.x.flatten(0, 1), path, parts.columns)
    first, second = found.units
    print(f"to be seen: {found.headline()}, {first} to the right and {second} upwards")
