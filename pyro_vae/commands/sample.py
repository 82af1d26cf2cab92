"""`pyro-vae sample`: what the model makes of its prior, as a picture, or a table."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import Namespace

from pyro_vae.arguments import check_integer
from pyro_vae.commands.options import run_parser
from pyro_vae.commands.showing import add_out, like_of, place_of, show
from pyro_vae.latent import nearest, sample
from pyro_vae.latent.sampling import Kind
from pyro_vae.runs.opening import open_from
from pyro_vae.runs.usage import OneLineParser

_MOST = 10_000  # in one picture
_MOST_NEAREST = 1000  # that are compared with all training data


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    made = run_parser(
        "Draw latents from the model's prior and show the data there, as a picture, or a table"
        " where the data are no pictures."
    )
    made.add_argument("--num_samples", type=int, default=64, help="how many")
    made.add_argument("--kind", type=Kind, default="mean", help="means of p(x | z), or draws of it")
    made.add_argument(
        "--temperature", type=float, default=1.0, help="factor of the prior's noise; 1 is the prior"
    )
    made.add_argument(
        "--given", type=str | None, default=None, help="a class of the context; all in turn if none"
    )
    made.add_argument(
        "--nearest", type=bool, default=False, help="the nearest training datum beside each"
    )
    made.add_argument("--seed", type=int, default=0, help="of the draws")
    add_out(made, "samples")
    return made


def run(options: Namespace) -> None:
    """Draw, and write."""
    path = place_of(options, "samples")
    most = _MOST_NEAREST if options.nearest else _MOST
    check_integer("num_samples", options.num_samples, 1, most)
    parts = open_from(options, need_data=options.nearest)

    like, numbers = like_of(parts, options.given)
    found = sample(
        parts.model,
        like,
        numbers,
        num_samples=options.num_samples,
        kind=options.kind,
        temperature=options.temperature,
        seed=options.seed,
    )
    if not options.nearest:
        show(found, found.x, path, parts.columns, {"sample": found.x})
        print(f"to be seen: {found.headline()}")
        return

    known = parts.data.train.sample
    close = nearest(found.x, known.x)
    show(close, found.x, path, parts.columns, {"sample": close.x, "nearest": close.found})
    told = f"the nearest of {len(known):,} training data, by {close.metric}"
    print(f"to be seen: {found.headline()}, beside each {told}")
