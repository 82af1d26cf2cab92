"""A process that is stopped, and a run that goes on as if it had not been."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.inference.resumed import TINY, call, check_same, position, rows, train

LONG = f"{TINY} --epochs 8 --batch_size 32 --device cpu"  # 41 steps an epoch
FATAL = f"{LONG} --guide fatal_guide.Fatal --guide.hidden [16]"
FATAL_STEP = 2 * 41 + 20  # in the middle of the third epoch

FATAL_GUIDE = """
import os, signal
from pyro_vae import EncoderGuide

class Fatal(EncoderGuide):
    steps = 0

    def forward(self, x, index=None):
        self.steps += self.training  # training steps alone: checks and validation run in eval mode
        if self.steps == int(os.environ.get("FATAL_STEP", -1)):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x, index)
"""

PROGRAM = Path(sys.executable).with_name("pyro-vae")


@dataclass
class Stopped:
    """What a stopped process left."""

    folder: Path
    code: int
    error: str
    before: dict[str, Any]


def start(folder: Path, options: str, **variables: str) -> subprocess.Popen[str]:
    command = [str(PROGRAM)] if PROGRAM.exists() else [sys.executable, "-m", "pyro_vae.cli"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    return subprocess.Popen(
        [*command, "train", "--folder", str(folder), *options.split()],
        cwd=folder.parent,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def stop(process: subprocess.Popen[str], folder: Path, number: int) -> Stopped:
    """Send the signal half an epoch after the second one ended."""
    deadline = time.monotonic() + 120
    while not ((folder / "metrics.csv").exists() and len(rows(folder)) >= 2):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no epoch was done"
        time.sleep(0.002)
    with (folder / "metrics.csv").open() as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    time.sleep(seconds[-1] / len(seconds) / 2)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    return Stopped(folder, process.returncode, error, position(folder))


@dataclass
class Story:
    """The same training twice."""

    interrupted: Stopped
    uninterrupted: Path


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A process of the console script that is stopped; the other runs while it is importing."""
    root = tmp_path_factory.mktemp("story")
    process = start(root / "interrupted", LONG)
    try:
        whole = train(root / "whole", LONG)
        yield Story(stop(process, root / "interrupted", signal.SIGINT), whole)
    finally:
        process.kill()
        process.wait()


def test_killed_within_an_epoch_and_resumed_equals_uninterrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fatal_guide.py").write_text(FATAL_GUIDE)
    monkeypatch.syspath_prepend(tmp_path)
    process = start(tmp_path / "killed", FATAL, FATAL_STEP=str(FATAL_STEP))
    whole = train(tmp_path / "whole", FATAL)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert (
        position(tmp_path / "killed")["epoch"] == 2
        and not (tmp_path / "killed" / "weights.safetensors").exists()
    )
    (tmp_path / "killed" / ".checkpoint.pt.torn").write_bytes(
        b"what a kill in the middle of writing leaves"
    )
    assert call(f"resume {tmp_path / 'killed'} --quiet true --device cpu --trust fatal_guide") == 0
    check_same(tmp_path / "killed", whole)


def test_interrupted_and_resumed_equals_uninterrupted(story: Story) -> None:
    run = story.interrupted
    assert run.code == 130
    assert run.error == "pyro-vae: interrupted\n"
    assert 2 <= run.before["epoch"] < 8
    assert not (run.folder / "weights.safetensors").exists()
    assert call(f"resume {run.folder} --quiet true --device cpu") == 0
    check_same(run.folder, story.uninterrupted)
