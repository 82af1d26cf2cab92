"""A disk that is full at any moment: exit code 1, one line that names the file, and all that was
there before is as it was.

The disk is full where a file is flushed (each of a command's files in turn), and where a file grows
beyond a limit.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import re
import resource
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.places import TINY, Ended, broken_promise, call, leftovers, snapshot, train
from tests.faults.scale import times
from tests.faults.tally import Tally

LIMITS = times(1, 15)
MOST_FILES = 30
COMMANDS = {
    "train": f"train --folder new {TINY}",
    "resume": "resume run --epochs 2 --quiet true",
    "evidence": "evidence run --num_data 3 --method.num_particles 30 --method.seed 1",
    "evidence, the same": "evidence run --num_data 5 --method.num_particles 3",
    "evidence elsewhere": "evidence run --num_data 3 --method.num_particles 9 --out deep/er/x.json",
    "compare": "compare run --num_data 2 --num_particles 30 --guides amortized",
    "diagnose": "diagnose run --num_data 3 --num_particles 30 --num_simulations 20 --num_draws 5",
    "export": "export run --num_data 2 --num_draws 30",
    "sample": "sample run --num_samples 3",
    "reconstruct": "reconstruct run --num_data 2 --out deep/x.png",
    "embed": "embed run --num_data 4 --num_prior 9",
    "compress": "compress run test deep/x.bits --num_data 3",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("PYRO_VAE_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextlib.contextmanager
def full_at(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The flush of the file of this number, and of those after it, fails."""
    flushed = iter(range(10**6))
    flush = os.fsync

    def fail(file: int) -> None:
        if not stat.S_ISDIR(os.fstat(file).st_mode) and next(flushed) >= number:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        yield


@contextlib.contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def wrong(ended: Ended, before: dict[str, str], place: Path) -> str:
    """What is wrong with a command that met a full disk."""
    told, after = broken_promise(ended, (1,)), snapshot(place)
    if told:
        return told
    if "cannot be written" not in ended.error or not any(
        f"{folder}/" in ended.error for folder in ("run", "new", "er", "deep")
    ):
        return f"no file is named: {ended.error}"
    grown = (
        "new/",
        "run/checkpoint.pt",
        "run/metrics.csv",
        "run/units.csv",
        "run/config.yaml",
        "run/weights.safetensors",
    )
    training = (
        "epoch" in ended.output
        or "new" in ended.error
        or any(name in ended.error for name in grown)
    )
    changed = [name for name, content in before.items() if after.get(name) != content]
    if changed and not training:
        return f"changed {changed}"
    made = [
        name
        for name in after
        if name not in before and not re.match(r"new|run/events|run/ledger(/train|$)", name)
    ]
    if made:
        return f"left {made}"
    return f"left {leftovers(place)}" if leftovers(place) else ""


def goes_on(command: str, place: Path) -> str:
    """Whether a training that met a full disk goes on when there is room; empty where it does."""
    if not (place / "new").exists() and command == "train":
        return ""
    folder = "new" if command == "train" else "run"
    ended = call(["resume", folder, "--quiet", "true", "--epochs", "2"])
    return (
        ""
        if ended.code == 0 and (place / folder / "weights.safetensors").exists()
        else f"lost: {ended}"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_full_at_each_file(
    command: str, trained: Path, place: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    found: list[tuple[int, str]] = []
    for number in range(0, MOST_FILES, times(3, 1)):
        shutil.copytree(trained, "run")
        before = snapshot(place)
        with full_at(number, monkeypatch):
            ended = call(COMMANDS[command].split())
        if ended.code == 0:
            break
        told = wrong(ended, before, place) or (
            goes_on(command, place) if command in ("train", "resume") else ""
        )
        found += [(number, told)] if told else []
        for path in place.iterdir():
            shutil.rmtree(path)
    print(f"{command}: {number} files, {len(found)} broken promises")
    tally("full disks", number, len(found))
    assert 0 < number < MOST_FILES - 3 and found == []


def test_full_beyond_a_size(trained: Path, place: Path, tally: Tally) -> None:
    rng, found, failed = random.Random(0), [], 0
    for number in range(LIMITS * len(COMMANDS)):
        command = list(COMMANDS)[number % len(COMMANDS)]
        shutil.copytree(trained, "run")
        before, size = snapshot(place), rng.choice([0, 10, 100, 1000, 5000, 20_000, 60_000])
        with files_up_to(size):
            ended = call(COMMANDS[command].split())
        failed += ended.code != 0
        told = "" if ended.code == 0 else wrong(ended, before, place)
        told = told or (goes_on(command, place) if command in ("train", "resume") else "")
        found += [(command, size, told)] if told else []
        for path in place.iterdir():
            shutil.rmtree(path)
    print(
        f"{LIMITS * len(COMMANDS)} commands with small files only, {failed} failed,"
        f" {len(found)} broken promises"
    )
    tally("full disks", failed, len(found))
    assert failed and found == []
