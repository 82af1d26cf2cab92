"""What commands share: their common options, and the data and programs that these name."""

from __future__ import annotations

from typing import Literal

from jsonargparse import ArgumentParser

from pyro_vae.data import Split, Stream
from pyro_vae.diagnostics import Units, latent_units
from pyro_vae.diagnostics.collapse import use_of_latent, warn_unused
from pyro_vae.programs.calls import Program, first_line
from pyro_vae.runs.opening import Parts
from pyro_vae.runs.usage import OneLineParser


def run_parser(description: str) -> OneLineParser:
    """The options of every command on a run: which run, and where its data and the device are."""
    parser = OneLineParser(description=description)
    parser.add_argument("run", type=str, help="run folder")
    parser.add_argument(
        "--data_root", type=str | None, default=None, help="folder of torchvision's datasets"
    )
    add_device(parser)
    return parser


def add_device(parser: OneLineParser) -> None:
    """The options `device` and `trust`."""
    parser.add_argument(
        "--device", type=Literal["auto", "cpu", "cuda"], default="auto", help="where to compute"
    )
    add_trust(parser)


def add_trust(parser: OneLineParser) -> None:
    """The option `trust`."""
    told = (
        "modules or classes of your own, with commas between them, that a config.yaml"
        " may name: their code is run"
    )
    parser.add_argument("--trust", type=str | None, default=None, help=told)


def add_data(parser: ArgumentParser, usual: str = "all") -> None:
    """The options `split` and `num_data`."""
    parser.add_argument(
        "--split", type=Literal["train", "valid", "test"], default="test", help="part of the data"
    )
    parser.add_argument(
        "--num_data", type=int | None, default=None, help=f"first rows only; {usual} unless given"
    )


def choose(parts: Parts, name: str, num_data: int | None, usual: int | None = None) -> Split:
    """The first rows of a split of a run's data; where no number is given the usual one, if there
    are as many, or all.
    """
    split = getattr(parts.data, name)
    if split is None:
        raise ValueError(f"split: the data have no {name!r} split, expected one of the others")

    if num_data is None and usual is None and isinstance(split, Stream):
        raise ValueError(
            f"num_data: got none, expected a number: the {name} data are not in memory"
        )
    if num_data is None:
        return split if usual is None else split.take(min(usual, len(split)))
    if not 1 <= num_data <= len(split):
        raise ValueError(f"num_data: got {num_data}, expected 1 to {len(split)}, the {name} data")
    return split.take(num_data)


def look_at_latent(model: Program, guide: Program, split: Split) -> tuple[Units | None, str]:
    """The latent units on these data, and how much of them is used, in the words with which a
    verdict begins.

    A latent that is not used is a warning too. None where no latent belongs to a datum, or a
    program does not say.
    """
    if len(split) < 2:
        return None, "whether the latent is used is not to be told from one datum"
    try:
        units = latent_units(model, guide, split.x, split.numbers())
    except Exception as error:  # whatever a user's program raises, or a distribution does not know
        return None, f"whether the latent is used is not known: {first_line(error)}"
    if units is None:
        return None, ""
    warn_unused(units.num_active, len(units.names))
    return units, use_of_latent(units.num_active, len(units.names))
