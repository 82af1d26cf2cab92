"""`pyro-vae compress`: discrete data in few bytes, by the model and guide of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jsonargparse import Namespace
from torch import Tensor

from pyro_vae.arguments import check_integer
from pyro_vae.coding import compress
from pyro_vae.commands.options import add_trust
from pyro_vae.data.files import ARRAYS, read_path
from pyro_vae.files.atomic import check_replaceable, write_atomically
from pyro_vae.files.folders import making
from pyro_vae.programs.given import Given
from pyro_vae.progress import progress_bar
from pyro_vae.runs.opening import open_run
from pyro_vae.runs.trust import split_trust
from pyro_vae.runs.usage import OneLineParser


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    made = OneLineParser(
        description="Compress discrete data by bits-back coding, with the model and guide of a run:"
        " about -ELBO / log 2 bits for each datum. The model's likelihood must be Bernoulli, of"
        " grey levels or Categorical, and the guide a mean-field normal."
    )
    made.add_argument("run", type=str, help="run folder")
    made.add_argument(
        "data",
        type=str,
        help="a .npy or .npz of values of the likelihood, or `test` for the run's test data",
    )
    made.add_argument("out", type=str, help="file to write")
    made.add_argument("--num_data", type=int | None, default=None, help="first rows only")
    made.add_argument(
        "--num_particles", type=int, default=1, help="latents for each datum; more take less room"
    )
    made.add_argument(
        "--bucket_bits", type=int, default=12, help="a latent is one of 2 to this many buckets"
    )
    made.add_argument(
        "--data_root", type=str | None, default=None, help="folder of torchvision's datasets"
    )
    add_trust(made)
    return made


def run(options: Namespace) -> None:
    """Compress, and write the bytes."""
    out, own = Path(options.out), options.data == "test"
    check_replaceable("out", out)
    x = None if own else _read(Path(options.data))
    trust = split_trust(options.trust)
    # on the CPU, whose arithmetic is the same everywhere
    parts = open_run(options.run, options.data_root, "cpu", need_data=own, trust=trust)
    if isinstance(parts.model, Given) or isinstance(parts.guide, Given):
        raise ValueError(
            "run: got programs that are given a context, which whoever decompresses has not:"
            " expected a run without one"
        )
    x = parts.data.test.x if x is None else x
    if options.num_data is not None:
        check_integer("num_data", options.num_data, 1, len(x))
        x = x[: options.num_data]

    with progress_bar("compressing") as progress, making("out", out.parent):
        found = compress(
            parts.model,
            parts.guide,
            x,
            num_particles=options.num_particles,
            bucket_bits=options.bucket_bits,
            progress=progress,
        )
        write_atomically(out, lambda file: file.write(found.data))
    print(out)
    print(found)


def _read(path: Path) -> Tensor:
    """The one array of a file."""
    if path.suffix.lower() not in ARRAYS:
        raise ValueError(f"data: got {str(path)!r}, expected a .npy or .npz file, or 'test'")
    arrays = read_path(path)
    if list(arrays) != ["all"]:
        raise ValueError(f"data: {path} has the arrays {sorted(arrays)}, expected one array")

    array = np.asarray(arrays["all"])
    if array.dtype.kind not in "buif" or array.size == 0:
        raise ValueError(f"data: {path} has {array.dtype} {array.shape}, expected zeros and ones")
    try:
        return torch.from_numpy(np.array(array, array.dtype.newbyteorder("=")))
    except TypeError as error:
        raise ValueError(
            f"data: {path} has {array.dtype}, expected uint8, bool, int32, int64 or floats"
        ) from error
