"""SIGKILL at random moments of `train`, `resume` and `sweep`: nothing is lost, and the end is that
of a run that was left alone.
"""

from __future__ import annotations

import csv
import os
import random
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pyro_vae.cli import main
from pyro_vae.inference.weights import digest_of, read_weights
from pyro_vae.sweeps.swept import read_sweep
from tests.faults.forks import Forks
from tests.faults.scale import times
from tests.faults.streamed import KINDS, lay_out
from tests.faults.tally import Tally

KILLS = times(6, 200)
STREAMED = times(1, 25)  # of each kind
PATIENCE = 30.0  # seconds; workers look for their parent every five
TRAIN = (
    "--quiet true --device cpu --epochs 5 --batch_size 512 --model.hidden [16]"
    " --model.latent_dim 3 --guide.hidden [16]"
)


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with Forks(tmp_path_factory.mktemp("forks")) as found:
        yield found


def result(folder: Path) -> tuple[str, list[dict[str, str]], dict[str, object]]:
    """Weights, metrics and generators, without what depends on the clock."""
    weights, _ = read_weights(folder / "weights.safetensors")
    with (folder / "metrics.csv").open() as file:
        rows = [
            {k: v for k, v in row.items() if k not in ("seconds", "data_per_second")}
            for row in csv.DictReader(file)
        ]
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    return (
        digest_of(weights),
        rows,
        {"noise": state["noise"].tolist(), "last": digest_of(state["weights"])},
    )


def opens(folder: Path, forks: Forks) -> bool:
    """A folder that holds a checkpoint opens; another one says what it lacks, in one line."""
    code = forks.run(f"info {folder}")
    return "Traceback" not in forks.error and code == (
        0 if (folder / "checkpoint.pt").exists() else 2
    )


def test_killed_at_any_moment(forks: Forks, tmp_path: Path, tally: Tally) -> None:
    rng = random.Random(0)
    started = time.monotonic()
    assert forks.run(f"train --folder {tmp_path}/whole {TRAIN}") == 0, forks.error
    length = time.monotonic() - started
    expected = result(tmp_path / "whole")
    kills, stories, lost = 0, 0, []
    while kills < KILLS:
        folder = tmp_path / f"run{stories}"
        stories += 1
        for number in range(100):
            begun = (folder / "config.yaml").exists()
            command = (
                f"resume {folder} --quiet true --device cpu"
                if begun
                else f"train --folder {folder} {TRAIN}"
            )
            last = number == 4 or kills == KILLS
            code = forks.run(command, None if last else rng.uniform(0, length))
            if code == 0:
                break
            kills += code == -9
            if code != -9 or not opens(folder, forks):
                lost.append((folder.name, number, code, forks.error))
                break
        if not lost and result(folder) != expected:
            lost.append((folder.name, number, "another end", ""))
        hidden = [
            path.name
            for path in folder.iterdir()
            if path.name.startswith(".") and path.name != ".lock"
        ]
        if hidden:
            lost.append((folder.name, number, "left behind", " ".join(hidden)))
    print(f"{kills} kills in {stories} runs of {length:.1f} s, lost {len(lost)}")
    tally("kills", kills, len(lost))
    assert lost == []


def alive(mark: str) -> list[int]:
    """The processes that have a file open whose path holds this text."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            links = [os.readlink(link) for link in (path / "fd").iterdir()]
        except OSError:
            continue
        if int(path.name) != os.getpid() and any(mark in link for link in links):
            found.append(int(path.name))
    return found


@pytest.mark.parametrize("kind", list(KINDS)[: times(1, None)])
def test_killed_while_streaming(kind: str, forks: Forks, tmp_path: Path, tally: Tally) -> None:
    """Rows that stay where they are, read by a thread, by a process, or as an iterable gives them;
    and no process stays behind.
    """
    rng = random.Random(zlib.crc32(kind.encode()))
    lay_out(tmp_path)
    command = f"call tests.faults.streamed train {kind} {tmp_path}"
    started = time.monotonic()
    assert forks.run(f"{command} {tmp_path}/whole") == 0, forks.error
    length = time.monotonic() - started
    expected = result(tmp_path / "whole")

    kills, stories, mid, lost = 0, 0, 0, []
    while kills < STREAMED and not lost:
        folder = tmp_path / f"run{stories}"
        stories += 1
        for number in range(100):
            last = number == 4 or kills == STREAMED
            code = forks.run(f"{command} {folder}", None if last else rng.uniform(0, length))
            if code == 0:
                break
            kills += code == -9
            mid += (folder / "checkpoint.pt").exists()
            if code != -9:
                lost.append((folder.name, number, code, forks.error))
                break
        if not lost and result(folder) != expected:
            lost.append((folder.name, number, 0, "another end"))

    until = time.monotonic() + PATIENCE
    while alive(str(forks.folder)) and time.monotonic() < until:
        time.sleep(0.05)
    left = alive(str(forks.folder))
    tally("kills while streaming", kills, len(lost) + len(left))
    print(
        f"{kind}: {kills} kills, {mid} of them after a checkpoint, in {stories} runs of"
        f" {length:.1f} s, lost {len(lost)}, processes left {len(left)}"
    )
    assert (lost, left) == ([], [])


SWEEP = """
train: {data: digits, epochs: 3, batch_size: 512, model: {hidden: [8], latent_dim: 3}}
grid: {seed: [0, 1], beta: BETAS}
evidence: {num_particles: 5, num_data: 20}
""".replace("BETAS", "[1.0, 2.0]"[: times(4, 9)] + "]")


def swept(folder: Path) -> list[object]:
    """The table of a sweep and the weights of its cells, without what depends on the clock."""
    found = [
        {k: str(v) for k, v in row.items() if k != "seconds"} for row in read_sweep(folder).rows
    ]
    runs = sorted(path.parent for path in folder.glob("*/cell.json"))
    return [found, *(result(run) for run in runs)]


@pytest.mark.parametrize("jobs", range(1, times(1, 2) + 1))
def test_a_sweep_killed_at_any_moment(jobs: int, forks: Forks, tmp_path: Path) -> None:
    rng = random.Random(jobs)
    (tmp_path / "spec.yaml").write_text(SWEEP)
    command = f"sweep {tmp_path}/spec.yaml --device cpu --jobs {jobs} --folder {tmp_path}"
    started = time.monotonic()
    assert forks.run(f"{command}/whole") == 0, forks.error
    length = time.monotonic() - started
    expected = swept(tmp_path / "whole")

    kills, stories = 0, 0
    while kills < times(1, 24 // jobs):
        folder, code = tmp_path / f"sweep{stories}", -9
        stories += 1
        for _ in range(times(1, 4)):
            code = forks.run(f"{command}/{folder.name}", rng.uniform(0, length))
            assert code in (0, -9), forks.error
            kills += code == -9
        if code != 0:
            assert forks.run(f"{command}/{folder.name}") == 0, forks.error
        for row, cell in zip(swept(folder), expected, strict=True):
            assert row == cell
    print(f"{kills} kills in {stories} sweeps of {length:.1f} s with {jobs} at once")


def test_two_at_once(forks: Forks, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While one process trains, another is refused at once and changes nothing; readers go on."""
    folder = tmp_path / "run"
    long = TRAIN.replace("--epochs 5", "--epochs 5000")
    enough = threading.Event()
    first = threading.Thread(target=forks.run, args=(f"train --folder {folder} {long}", enough))
    first.start()
    try:
        while not (folder / "metrics.csv").exists() and first.is_alive():
            time.sleep(0.01)
        (folder / ".checkpoint.pt.live").write_text("what the live run is writing")
        settings = (folder / "config.yaml").read_bytes()
        for command in (
            f"resume {folder}",
            f"resume {folder} --epochs 9",
            f"train --folder {folder} {TRAIN}",
        ):
            assert main(command.split()) == 2
            assert (
                f"folder: {folder} is being trained by another process" in capsys.readouterr().err
            )
        assert main(["info", str(folder)]) == 0
        assert (folder / ".checkpoint.pt.live").exists()
        assert (folder / "config.yaml").read_bytes() == settings
    finally:
        enough.set()
        first.join()
    done = torch.load(folder / "checkpoint.pt", weights_only=True)["position"]["epoch"]
    assert main(f"resume {folder} --epochs {done} --quiet true".split()) == 0
    assert not (folder / ".checkpoint.pt.live").exists()
