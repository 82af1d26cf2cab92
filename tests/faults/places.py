"""What a command line is tried on, a folder with a run, data and obstacles; the call itself; and
what is there then.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyro
import torch

from pyro_vae.cli import main

SECONDS = 30  # that a call may take on a machine that is busy; most take a tenth of one
TINY = (
    "--quiet true --epochs 1 --batch_size 512 --model.hidden [8]"
    " --model.latent_dim 3 --guide.hidden [8]"
)


class Stuck(BaseException):
    """A call that has not come back."""


@dataclass(frozen=True)
class Ended:
    """How a call ended.

    Attributes:
        code: of the exit; -1 where an exception came through.
        output, error: what was printed.
        escaped: the exception.
    """

    code: int
    output: str
    error: str
    escaped: str = ""


def call(arguments: Sequence[str], command: Callable[[Sequence[str]], int] = main) -> Ended:
    """Run the command line in this process, for at most `SECONDS`."""
    pyro.clear_param_store()
    torch.manual_seed(0)
    output, error = io.StringIO(), io.StringIO()
    code, escaped = -1, ""
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(error):
        try:
            with limited(SECONDS):
                code = command(arguments)
        except SystemExit as stop:  # of --help
            code = int(stop.code or 0)
        except (Exception, Stuck) as other:
            escaped = repr(other)
    return Ended(code, output.getvalue(), error.getvalue(), escaped)


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise `Stuck` after so many seconds."""

    def stop(*_: object) -> None:
        raise Stuck

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def broken_promise(ended: Ended, codes: Sequence[int] = (0, 1, 2)) -> str:
    """What is wrong with the way a call ended; empty where nothing is."""
    errors = re.findall(r"^(?:pyro-vae: )?error: .*", ended.error, re.MULTILINE)
    if ended.escaped:
        return f"traceback: {ended.escaped}"
    if "Traceback" in ended.output + ended.error:
        return f"traceback: {ended.error}"
    if ended.code not in codes:
        return f"exit code {ended.code}: {ended.error}"
    if len(errors) != (ended.code != 0):
        return f"exit code {ended.code} and {len(errors)} errors: {ended.error}"
    # of a posterior that has collapsed
    rest = re.sub(r"^pyro-vae: warning: .*\n", "", ended.error, flags=re.MULTILINE)
    if ended.code and rest.strip() != errors[0]:
        return f"more than an error: {ended.error}"
    if re.search(r"Warning\b", ended.error):
        return f"a raw warning: {ended.error}"
    if not all(character.isprintable() or character in "\n\r" for character in ended.error):
        return f"escapes: {ended.error!r}"
    return ""


def snapshot(folder: Path) -> dict[str, str]:
    """Checksums of all files, and folders, links and pipes, by path; locks left out, which a reader
    may leave.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            found[str(path.relative_to(folder))] = "special"
        elif path.name != ".lock":
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
            found[str(path.relative_to(folder))] = content
    return found


def leftovers(folder: Path) -> list[str]:
    """Temporary files that were to be moved to their place and were not."""
    return [str(p.relative_to(folder)) for p in folder.rglob(".*") if p.name != ".lock"]


def make_place(folder: Path, trained: Path) -> None:
    """A run, arrays that are right and wrong, and things that are in the way."""
    folder.mkdir()
    shutil.copytree(trained, folder / "run")
    generator = np.random.default_rng(0)
    np.save(folder / "flat.npy", generator.integers(0, 2, (20, 16)))
    holed = np.where(np.arange(1280).reshape(20, 8, 8) % 5, 0.0, np.nan)
    np.save(folder / "holes.npy", holed)
    np.save(folder / "real.npy", generator.normal(size=(20, 3)).astype(np.float32))
    np.save(folder / "counts.npy", np.arange(60).reshape(20, 3) % 7)
    (folder / "torn.npy").write_bytes((folder / "flat.npy").read_bytes()[:50])
    (folder / "empty.npz").write_bytes(b"")
    (folder / "taken").write_text("a file")
    (folder / "empty").mkdir()
    (folder / "broken.yaml").write_text("epochs: [1,\nmodel: }")
    (folder / "odd.yaml").write_text("epochs: many\n")
    (folder / "list.yaml").write_text("- epochs\n- 3\n")
    (folder / "good.yaml").write_text("epochs: 1\nseed: 3\n")
    (folder / "ünï.yaml").write_text("data: flat.npy\n")
    for name in ("pipe.npy", "pipe.json"):
        os.mkfifo(folder / name)
    (folder / "loop.npy").symlink_to("loop.npy")


@contextlib.contextmanager
def in_place(root: Path, trained: Path) -> Iterator[Path]:
    """Work in a place of one's own, which is gone afterwards."""
    folder = root / "place"
    make_place(folder, trained)
    with contextlib.chdir(folder):
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def train(folder: Path) -> Path:
    """A finished run with figures."""
    for arguments in (
        f"train --folder {folder} {TINY}",
        f"evidence {folder} --method.num_particles 3 --num_data 5",
    ):
        ended = call(arguments.split())
        assert ended.code == 0, ended
    return folder
