"""`pyro-vae resume`: go on with a run from its checkpoint, exactly as if it had not stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jsonargparse import Namespace

from pyro_vae.commands.options import run_parser
from pyro_vae.commands.train import fit_parts
from pyro_vae.files.texts import write_text
from pyro_vae.inference.folder import CHECKPOINT, claim, is_trained
from pyro_vae.inference.job import read_checkpoint
from pyro_vae.runs.opening import build, read_settings
from pyro_vae.runs.trust import own_classes, split_trust
from pyro_vae.runs.usage import OneLineParser


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    made = run_parser(
        "Go on with a run from its checkpoint, exactly as if it had not been stopped."
    )
    made.add_argument("--epochs", type=int | None, default=None, help="train to this epoch instead")
    made.add_argument("--quiet", type=bool, default=False, help="no progress")
    return made


def run(options: Namespace) -> None:
    """Go on from the checkpoint; a run that was killed before its first one begins."""
    folder, trust = Path(options.run), split_trust(options.trust)
    known, settings = read_settings(folder, trust)
    resume = is_trained(folder)
    with claim(folder, resume=resume):
        if resume and not (folder / CHECKPOINT).is_file():
            raise FileNotFoundError(
                f"{folder}: no {CHECKPOINT} in it, only weights, so there is nothing to go on from"
            )

        done = read_checkpoint(folder)["position"]["epoch"] if resume else 0
        if options.epochs is not None:
            settings.epochs = options.epochs
        with own_classes(trust):
            parts = build(known, settings, options.data_root, run=folder)
        if options.epochs is not None and options.epochs < done:
            raise ValueError(
                f"epochs: got {options.epochs}, but {done} are done already:"
                " expected at least as many"
            )

        text = None if options.epochs is None else known.dump(settings)
        with _changed(folder / "config.yaml", text):
            fit_parts(parts, folder, options, resume=resume)


@contextmanager
def _changed(path: Path, text: str | None) -> Iterator[None]:
    """Write a file of settings, and write the old one back where the run is refused, so that no
    checkpoint follows.
    """
    if text is None:
        yield
        return

    before, reached = path.read_text(), _stamp(path.with_name(CHECKPOINT))
    write_text(path, text)
    try:
        yield
    except (ValueError, OSError):
        if _stamp(path.with_name(CHECKPOINT)) == reached:
            write_text(path, before)
        raise


def _stamp(path: Path) -> str | None:
    """What tells a checkpoint from another one, whatever the clock says."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
