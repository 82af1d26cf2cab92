"""`pyro-vae reconstruct`: test data beside their reconstructions, as a picture, or a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace

from pyro_vae.arguments import check_seed
from pyro_vae.commands.options import choose, method_of, run_parser
from pyro_vae.programs.pair import opened
from pyro_vae.report.images import save_data
from pyro_vae.runs.opening import open_from
from pyro_vae.runs.usage import OneLineParser


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    made = run_parser(
        "Pass test data through the guide and the decoder; data and means side by side."
    )
    made.add_argument(
        "--num_data",
        type=int | None,
        default=None,
        help="first rows of the test data, 32 unless given",
    )
    made.add_argument("--seed", type=int, default=0, help="of the guide's draws")
    made.add_argument(
        "--out", type=str | None, default=None, help="file instead of RUN/reconstructions.png"
    )
    return made


def run(options: Namespace) -> None:
    """Reconstruct, and write."""
    parts = open_from(options)
    check_seed("seed", options.seed)
    split = choose(parts, "test", options.num_data, usual=32)

    x, index = split.x, split.numbers()
    with opened(parts.model, parts.guide, x, index, seed=options.seed, check=False) as pair:
        latents, _ = pair.sample(1)
        if len(latents) != 1:
            raise ValueError(
                f"guide: got latent sites {sorted(latents)}, this command decodes exactly one"
            )
        means = method_of(parts, "decode")(next(iter(latents.values()))[0])

    out = options.out or Path(options.run) / "reconstructions.png"
    print(save_data({"data": x, "mean": means}, out, columns=16))
