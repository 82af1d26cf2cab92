"""What torchrun starts: a run whose worker is killed ends with a line, and torchrun's restart goes
on from the checkpoint. Minutes long: `make faults`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyro_vae.inference.checkpoint import load
from tests.faults.scale import times

pytestmark = pytest.mark.skipif(not times(0, 1), reason="minutes long: make faults")

TRAIN = "train --data digits --batch_size 32 --seed 1 --engine pyro"


def start(line: str, restarts: int = 0) -> subprocess.Popen[str]:
    """A command in two processes that torchrun starts."""
    launcher = f"-m torch.distributed.run --standalone --nproc-per-node 2 --max-restarts {restarts}"
    command = [sys.executable, *launcher.split(), "-m", "pyro_vae", *line.split()]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, text=True, stderr=subprocess.PIPE, env=environment)


def kill_worker(launcher: subprocess.Popen[str], rank: int, folder: Path, epoch: int) -> None:
    """Kill a worker once an epoch is done."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        path = folder / "checkpoint.pt"
        if path.is_file() and load(path)["position"]["epoch"] >= epoch:
            break
        time.sleep(0.1)

    for child in _children(launcher.pid):
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        if f"RANK={rank}".encode() in environment:
            os.kill(child, signal.SIGKILL)
            return
    raise AssertionError("no such worker")


def _children(parent: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for workers in /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_worker_ends_the_run_and_a_restart_goes_on(tmp_path: Path, rank: int) -> None:
    folder, whole = tmp_path / "run", tmp_path / "whole"
    launcher = start(f"{TRAIN} --folder {folder} --epochs 12")
    kill_worker(launcher, rank, folder, 2)
    _, told = launcher.communicate(timeout=120)
    assert launcher.returncode == 1
    ours = [line for line in told.splitlines() if line.startswith("pyro-vae: error: ")]
    assert len(ours) == 1, told
    assert "of the 2 processes has ended" in ours[0] or "ended by SIGTERM" in ours[0]
    assert rank == 0 or f"the last checkpoint is in {folder}" in ours[0]
    assert load(folder / "checkpoint.pt")["position"]["epoch"] >= 2

    folder = tmp_path / "again"
    launcher = start(f"{TRAIN} --folder {folder} --epochs 12", restarts=1)
    kill_worker(launcher, rank, folder, 2)
    _, told = launcher.communicate(timeout=300)
    assert launcher.returncode == 0, told

    alone = [sys.executable, "-m", "pyro_vae", *f"{TRAIN} --folder {whole} --epochs 12".split()]
    subprocess.run(alone, check=True)
    mine, other = (load(path / "checkpoint.pt")["position"]["history"] for path in (folder, whole))
    assert len(mine) == len(other) == 12
    for ours, theirs in zip(mine, other, strict=True):
        assert ours["valid_elbo"] == pytest.approx(theirs["valid_elbo"], rel=1e-3)
