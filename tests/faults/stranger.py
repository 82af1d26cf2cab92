"""A stranger's run folder: where the tests put it, and who would be glad of it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import pyro

from pyro_vae.cli import main

TRAIN = (
    "--quiet true --epochs 1 --batch_size 512 --model.hidden [8]"
    " --model.latent_dim 3 --guide.hidden [8]"
)

COMMANDS = (
    "info run",
    "sample run --num_samples 2",
    "evidence run --method.num_particles 2 --num_data 3",
    "resume run --quiet true",
)

COMMANDS += (
    "reconstruct run --num_data 2",
    "embed run --num_data 3",
    "export run --num_data 2 --num_draws 3",
    "train --config run/config.yaml --folder new",
)

EVIL = "from pathlib import Path\nPath('marker').touch()\nclass Net: pass\ndef get(*a, **k): pass\n"
MODULES = ("evil", "hubconf", "evil_package", "yaml_extra")


class Pickled:
    """What runs when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (Path("marker"),)


def call(arguments: str) -> tuple[int, str]:
    """Exit code and everything that was printed."""
    pyro.clear_param_store()
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        try:
            code = main(arguments.split())
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, told.getvalue()
