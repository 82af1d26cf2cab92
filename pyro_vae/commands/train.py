"""`pyro-vae train`: train a model and a guide by SVI; the run is kept in a folder."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace

from pyro_vae.commands.options import add_device
from pyro_vae.files.texts import printable
from pyro_vae.inference import fit
from pyro_vae.inference.folder import claim, is_trained
from pyro_vae.processes import agreed, is_first, may_restart, restarts
from pyro_vae.runs.choices import describe_choice
from pyro_vae.runs.opening import Parts, build, known_parser, settings_parser, write_settings
from pyro_vae.runs.usage import OneLineParser


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options: the settings of a run, and where to keep it."""
    made = settings_parser(
        trust, description="Train a model and a guide by SVI; the run is kept in a folder."
    )
    made.add_argument(
        "--folder", type=str | None, default=None, help="run folder; runs/DATA-N unless given"
    )
    add_device(made)
    made.add_argument("--quiet", type=bool, default=False, help="no progress")
    return made


def run(options: Namespace) -> None:
    """Train, and keep the run in a folder; where torchrun has started it again, go on with it."""
    if may_restart() and not options.folder:
        raise ValueError(
            "folder: got none, expected a name: torchrun may start the run again (--max-restarts),"
            " which goes on with it then"
        )
    known = known_parser()
    parts = build(known, options)
    folder = agreed(Path(options.folder) if options.folder else _new_folder(options.data))
    again = restarts() > 0
    resume = agreed(again and is_trained(folder))

    with claim(folder, resume=resume):
        if is_first() and not (again and (folder / "config.yaml").is_file()):
            write_settings(folder, known, options, parts.data, options.device)
        if not options.quiet:
            for line in describe_choice(parts.data, parts.model, parts.recipe).splitlines():
                print(printable(line), file=sys.stderr)
        fit_parts(parts, folder, options, resume=resume)


def fit_parts(parts: Parts, folder: Path, options: Namespace, resume: bool) -> None:
    """Train what a configuration describes, from the start or from the folder's checkpoint, and say
    how it went.
    """
    run = fit(
        parts.model,
        parts.guide,
        parts.data,
        parts.recipe,
        folder=folder,
        device=options.device,
        resume=resume,
        quiet=options.quiet,
    )
    print(f"{folder}: {run}")


def _new_folder(data: str) -> Path:
    """runs/DATA-N with the first free N."""
    name = re.sub(r"\W+", "_", Path(data).stem)
    return next(p for n in range(1, 10**6) if not (p := Path("runs") / f"{name}-{n}").exists())
