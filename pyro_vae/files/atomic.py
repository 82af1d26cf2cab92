"""Files that are whole or not there: written beside their place, flushed to the disk, and moved
over it in one step; then their folder is flushed, in which the move is written down. Of several
processes (`processes.py`) the first one writes.

So what was written stays when the power fails, and of two files the second is never there without
the first. Only a file or a link is ever replaced, not a folder, a device or a pipe; a link is
replaced and not followed. On a full disk the file that was there stays as it was.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pyro_vae.processes import is_first

MAX_BYTES = 4 * 2**30  # of a file that is read whole
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FAILING = (*FULL, errno.EIO)


class CannotWrite(OSError):
    """A disk that is full, or fails: the file was not written, and what was there is as it was."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path}: cannot be written ({reason}): what was there before is"
            " whole; make room and try again"
        )
        self.path, self.reason = path, reason


class MayBeLost(OSError):
    """A disk that is full, or fails, where a whole file was moved to its place."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"{folder}: cannot be flushed to the disk ({reason}): what was written there is whole,"
            " and may be lost when the power fails; look after the disk and try again"
        )


def check_replaceable(name: str, path: Path) -> None:
    """Raise a ValueError where what is at `path` is not to be replaced by a file."""
    try:
        mode = path.lstat().st_mode
    except (OSError, ValueError):  # nothing is there, or nothing can be: whoever writes will see
        return
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
        raise ValueError(
            f"{name}: {path} is {kind}, expected a file, or nothing: choose another path"
        )


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write` on a temporary file in the same folder, flush it to the disk and move it to
    `path`.

    Raises:
        CannotWrite: the disk is full.
        ValueError: there is something else than a file at `path`.
    """

    def whole(temporary: Path) -> None:
        with temporary.open("wb") as file:
            write(file)

    write_by_name(path, whole)


def write_by_name(path: Path, write: Callable[[Path], object]) -> None:
    """The same for a `write` that takes the path of a file."""
    check_replaceable("path", path)
    if not is_first():
        return

    with _told(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)

        try:
            write(Path(name))
            os.chmod(name, 0o644)
            with open(name, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    flush_folder(path.parent)


def move(old: Path, new: Path) -> None:
    """Move a file over another one or to a new place, for good."""
    os.replace(old, new)
    for folder in dict.fromkeys((new.parent, old.parent)):
        flush_folder(folder)


def remove(path: Path) -> None:
    """Remove a file, if it is there, for good: nothing that is written later finds it again."""
    path.unlink(missing_ok=True)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Flush what is where in a folder to the disk, on systems that can.

    Raises:
        MayBeLost: the disk is full, or fails.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError:  # Windows opens no folders
        return

    try:
        os.fsync(handle)
    except OSError as error:  # some network drives flush files alone
        if error.errno in FAILING:
            raise MayBeLost(folder, error.strerror or str(error)) from error
    finally:
        os.close(handle)


def read_whole(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a file; a ValueError where there are more than `limit`."""
    with path.open("rb") as file:
        raw = file.read(limit + 1) if path.stat().st_size <= limit else b""
        if len(raw) > limit or path.stat().st_size > limit:
            raise ValueError(
                f"{path}: got {path.stat().st_size:,} bytes, expected at most {limit:,}"
            )
    return raw


def reserve(path: Path, size: int) -> None:
    """Raise the OSError of a full disk where a file at `path` could not hold so many bytes.

    For writers that a full disk would kill.
    """
    with path.open("rb+") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
            file.truncate(0)
        elif shutil.disk_usage(path.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def staged(folder: Path, make_way: Callable[[], object]) -> Iterator[Path]:
    """A folder to write new files in; once all are whole, they are moved into `folder` together.

    Args:
        folder: where they belong.
        make_way: called before they are moved, to put older ones aside.
    """
    if not is_first():
        yield folder / ".new"  # where nothing is written
        return
    with _told(folder):
        new = Path(tempfile.mkdtemp(dir=folder, prefix=".new."))

    try:
        yield new
        with _told(folder):
            for path in new.iterdir():
                check_replaceable("path", folder / path.name)
            make_way()
            for path in sorted(new.iterdir()):
                os.replace(path, folder / path.name)
                flush_folder(folder)  # one after the other, in this order
    except CannotWrite as error:
        if error.path.parent != new:
            raise
        raise CannotWrite(folder / error.path.name, error.reason) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Name the file that was being written when the disk was full."""
    try:
        yield
    except CannotWrite:
        raise
    except OSError as error:
        if error.errno not in FAILING:
            raise
        raise CannotWrite(path, error.strerror or str(error)) from error
