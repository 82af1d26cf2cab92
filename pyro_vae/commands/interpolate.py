"""`pyro-vae interpolate`: the way from datum to datum through the latent space."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import Namespace

from pyro_vae.arguments import check_integer
from pyro_vae.commands.options import add_data, choose, run_parser
from pyro_vae.commands.showing import add_out, check_two, place_of, show
from pyro_vae.latent import interpolate
from pyro_vae.latent.paths import Path
from pyro_vae.runs.opening import open_from
from pyro_vae.runs.usage import OneLineParser

_MOST = 100  # data in one picture


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    made = run_parser(
        "Walk through the latent from the guide's mean of each datum to that of the next."
    )
    add_data(made, usual="8")
    made.add_argument("--num_steps", type=int, default=9, help="of each way, both ends included")
    made.add_argument(
        "--path", type=Path, default="linear", help="straight, or along a great circle"
    )
    made.add_argument("--seed", type=int, default=0, help="of the draws of a guide without means")
    add_out(made, "interpolations")
    return made


def run(options: Namespace) -> None:
    """Walk, and write."""
    path = place_of(options, "interpolations")
    if options.num_data is not None:
        check_integer("num_data", options.num_data, 2, _MOST)
    parts = open_from(options)
    split = choose(parts, options.split, options.num_data, usual=8)
    check_two(split)  # of which there may be no more

    found = interpolate(
        parts.model,
        parts.guide,
        split.x,
        split.numbers(),
        num_steps=options.num_steps,
        path=options.path,
        seed=options.seed,
    )
    show(found, found.data, path, parts.columns)
    print(f"to be seen: {found.headline()}; where the model has learned the data, all look like it")
