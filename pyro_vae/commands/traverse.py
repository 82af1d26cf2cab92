"""`pyro-vae traverse`: what the units of the latent do, one by one."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import Namespace

from pyro_vae.arguments import check_integer
from pyro_vae.commands.options import add_data, choose, run_parser
from pyro_vae.commands.showing import add_out, check_two, place_of, show
from pyro_vae.latent import traverse
from pyro_vae.runs.opening import open_from
from pyro_vae.runs.usage import OneLineParser


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    made = run_parser(
        "Move the units of one datum's latent through the prior, those of the largest rates first."
    )
    add_data(made, usual="1000, on which the rates are measured,")
    made.add_argument("--datum", type=int, default=0, help="row of these data that is moved")
    made.add_argument(
        "--num_units",
        type=int | None,
        default=None,
        help="how many units; those in use, 10 at most, unless given",
    )
    made.add_argument("--num_steps", type=int, default=9, help="places of each unit")
    made.add_argument(
        "--span", type=float, default=3.0, help="the last place, in sd of the prior; or its minus"
    )
    made.add_argument("--seed", type=int, default=0, help="of the draws of a guide without means")
    add_out(made, "traversals")
    return made


def run(options: Namespace) -> None:
    """Move, and write."""
    path = place_of(options, "traversals")
    parts = open_from(options)
    split = choose(parts, options.split, options.num_data, usual=1000)
    check_two(split)
    check_integer("datum", options.datum, 0, len(split) - 1)

    found = traverse(
        parts.model,
        parts.guide,
        split.x,
        split.numbers(),
        datum=options.datum,
        num_units=options.num_units,
        num_steps=options.num_steps,
        span=options.span,
        seed=options.seed,
    )
    show(found, found.start[None], path, parts.columns)
    print(f"to be seen: {found.headline()}; rates in nats per datum, the largest first")
