"""`pyro-vae sample`: draw from the model's prior: pictures, or a table of data that are none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jsonargparse import Namespace

from pyro_vae.arguments import check_integer, check_seed
from pyro_vae.commands.options import method_of, run_parser
from pyro_vae.report.images import save_data
from pyro_vae.runs.opening import open_from
from pyro_vae.runs.usage import OneLineParser

_MOST = 10_000  # in one picture


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    made = run_parser(
        "Draw from the model's prior and write a picture, or a table where"
        " the data are no pictures."
    )
    made.add_argument("--num_samples", type=int, default=64, help="images in the grid")
    made.add_argument("--seed", type=int, default=0, help="of the draws")
    made.add_argument(
        "--out",
        type=str | None,
        default=None,
        help="file instead of RUN/samples.png; a table for data that are no pictures",
    )
    return made


def run(options: Namespace) -> None:
    """Draw, and write."""
    parts = open_from(options, need_data=False)
    check_integer("num_samples", options.num_samples, 1, _MOST)
    check_seed("seed", options.seed)

    torch.manual_seed(options.seed)
    images = method_of(parts, "sample")(options.num_samples)
    print(save_data({"sample": images}, options.out or Path(options.run) / "samples.png"))
