"""`pyro-vae decompress`: the data that `pyro-vae compress` made short."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jsonargparse import Namespace

from pyro_vae.coding import decompress
from pyro_vae.commands.options import add_trust
from pyro_vae.files.atomic import check_replaceable, read_whole, write_atomically
from pyro_vae.files.folders import making
from pyro_vae.progress import progress_bar
from pyro_vae.runs.opening import open_run
from pyro_vae.runs.trust import split_trust
from pyro_vae.runs.usage import OneLineParser


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    made = OneLineParser(
        description="Write the data again that `pyro-vae compress` has made short, bit for bit, as"
        " a .npy file. It takes the run with which they were compressed, with the same weights."
    )
    made.add_argument("run", type=str, help="run folder")
    made.add_argument("data", type=str, help="file that `pyro-vae compress` has written")
    made.add_argument("out", type=str, help=".npy file to write")
    add_trust(made)
    return made


def run(options: Namespace) -> None:
    """Decompress, and write the array."""
    path, out = Path(options.data), Path(options.out)
    if out.suffix.lower() != ".npy":
        raise ValueError(f"out: got {options.out!r}, expected a .npy file")
    check_replaceable("out", out)
    if not path.is_file():
        raise FileNotFoundError(f"data: there is no file {path}, looked for from {Path.cwd()}")

    data = read_whole(path)
    parts = open_run(options.run, None, "cpu", need_data=False, trust=split_trust(options.trust))
    with progress_bar("decompressing") as progress, making("out", out.parent):
        x = decompress(parts.model, parts.guide, data, progress=progress).numpy()
        write_atomically(out, lambda file: np.save(file, x))
    print(f"{out}: {len(x):,} data of shape {x.shape[1:]}, {x.dtype}")
