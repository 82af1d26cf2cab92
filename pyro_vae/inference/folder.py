"""A run's folder while it is trained: one process at a time, an identity, and nothing left behind
by a refusal.

The lock is the operating system's (`flock` on `.lock`), so that a killed process leaves none. Who
only reads needs no lock: every file is replaced in one step.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pyro_vae.files.atomic import read_whole, write_atomically
from pyro_vae.files.folders import making
from pyro_vae.inference.weights import NAME as WEIGHTS
from pyro_vae.processes import is_first

CHECKPOINT = "checkpoint.pt"
LOCK = ".lock"
RUN = "run.json"
FILES = (
    CHECKPOINT,
    WEIGHTS,
    "metrics.csv",
    "units.csv",
    "config.yaml",
    "data.json",
    "versions.json",
    RUN,
)
"""What a training writes."""


def is_trained(folder: Path) -> bool:
    """Whether a folder holds what a training came to, whole or as far as it went."""
    return any((folder / name).exists() for name in (CHECKPOINT, WEIGHTS, "weights.pt"))


@contextmanager
def claim(folder: Path, resume: bool) -> Iterator[Path]:
    """Have a run's folder for oneself: a new one, made where it is missing, or one that is resumed.

    What a killed process was writing is removed. Where an error comes before there is anything to
    go on from, all that was written is removed again. The same thread may claim a folder twice.

    Raises:
        ValueError: another process is training there, the folder holds a run already, or it cannot
            be made.
        FileNotFoundError: nothing to resume.
    """
    if not is_first():  # which has it for all
        yield folder
        return
    if resume and not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder, expected the folder of a run")

    with making("folder", folder):
        before = {path.name for path in folder.iterdir()}
        with _lock(folder):
            if not resume and is_trained(folder):
                raise ValueError(
                    f"folder: {folder} holds a run already: resume it, or choose another folder"
                )

            for name in FILES:
                for torn in folder.glob(f".{name}.*"):
                    torn.unlink()

            try:
                yield folder
            except BaseException:
                if not resume and not is_trained(folder):
                    _forget(folder, before)
                raise


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    path = folder / LOCK
    if path.is_symlink():
        raise ValueError(f"folder: {path} is a link, expected a file: remove it")

    lock = FileLock(str(path.resolve()), timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout as error:
        raise ValueError(
            f"folder: {folder} is being trained by another process: wait until it has"
            " ended, or choose another folder"
        ) from error
    except OSError as error:
        raise ValueError(
            f"folder: cannot write in {folder} ({error.strerror}): choose another folder"
        ) from error

    try:
        yield
    finally:
        lock.release()


def _forget(folder: Path, before: set[str]) -> None:
    """Remove what a training has written into a folder since it was claimed."""
    for path in folder.iterdir():
        ours = path.name in (*FILES, LOCK) or path.name.startswith("events.out.tfevents")
        if ours and path.name not in before:
            path.unlink()


def new_identity(folder: Path) -> str:
    """The identity of the run that begins in a folder, drawn at random and written down once."""
    known = identity(folder)
    if known is not None:
        return known

    drawn = uuid.uuid4().hex
    text = json.dumps({"id": drawn}) + "\n"
    write_atomically(folder / RUN, lambda file: file.write(text.encode()))
    return drawn


def identity(folder: Path) -> str | None:
    """The identity of a run, None where it was never written down."""
    path = folder / RUN
    if not path.is_file():
        return None

    try:
        found = json.loads(read_whole(path, 10_000))["id"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path}: cannot be read as the identity of a run: the file is damaged"
        ) from error

    if not isinstance(found, str) or not re.fullmatch(r"[0-9a-f]{32}", found):
        raise ValueError(
            f"{path}: got the identity {found!r}, expected 32 digits: the file is damaged"
        )
    return found


def check_identity(folder: Path, name: str, found: str) -> None:
    """A ValueError where a file is of another run than the folder."""
    known = identity(folder)
    if known is not None and known != found:
        raise ValueError(
            f"{folder / name}: is of the run {found[:8]}, expected {known[:8]}, which {RUN} names:"
            " put the run's own file back"
        )
