"""A finished run with a class of its own beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyro
import yaml

from pyro_vae.cli import main

TINY = "--epochs 1 --quiet true --model.hidden [8] --model.latent_dim 3"

OWN = """
from pathlib import Path
from pyro_vae import EncoderGuide

Path("was_run").touch()


class Guide(EncoderGuide):
    pass
"""


def call(arguments: str) -> int:
    pyro.clear_param_store()
    try:
        return main(arguments.split())
    except SystemExit as stop:  # jsonargparse's own errors
        return int(stop.code or 0)


def change(run: Path, **settings: Any) -> None:
    path = run / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | settings))
