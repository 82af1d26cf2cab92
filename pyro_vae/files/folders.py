"""Folders that are made where they are missing, and removed again if an error comes before anything
is in them.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyro_vae.files.atomic import flush_folder
from pyro_vae.processes import is_first


@contextmanager
def making(name: str, folder: Path) -> Iterator[None]:
    """Make a folder and its parents where they are missing; an error removes those still empty.

    Raises:
        ValueError: it cannot be made; the argument or option `name` asked for it.
    """
    if not is_first():  # which makes it
        yield
        return
    made: list[Path] = []
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            flush_folder(path.parent)
            made.insert(0, path)
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it is no folder")
    except (OSError, ValueError) as error:
        _remove(made)
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(
            f"{name}: cannot make {folder} ({reason}): choose another folder"
        ) from error

    try:
        yield
    except BaseException:
        _remove(made)
        raise


@contextmanager
def own_folder(name: str, path: Path) -> Iterator[None]:
    """Make a folder for figures; a ValueError for a link, which would lead out of the run."""
    if path.is_symlink():
        raise ValueError(f"{name}: {path} is a link, expected a folder: remove it, or name another")
    with making(name, path):
        yield


def _remove(folders: list[Path]) -> None:
    """Remove folders, the innermost first, up to one that is not empty."""
    for path in folders:
        if not path.is_dir() or any(path.iterdir()):
            return
        path.rmdir()
