"""What torchrun's environment asks for: a start anew, silence, one line for all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pyro_vae.cli import main
from pyro_vae.files.atomic import staged, write_atomically
from pyro_vae.files.folders import making
from pyro_vae.inference.checkpoint import load
from pyro_vae.processes import count, is_first, rank, share_of, silence, started
from tests.processes.forked import together

TRAIN = "train --data digits --epochs 1 --batch_size 600 --device cpu --quiet true --engine pyro"


@pytest.mark.filterwarnings("ignore::pyro_vae.CollapseWarning")
def test_a_restart_of_torchrun_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"{TRAIN} --folder {tmp_path / 'run'}".split()
    assert main(line) == 0
    assert main(line) == 2 and "holds a run already" in capsys.readouterr().err

    before = load(tmp_path / "run" / "checkpoint.pt")["run"]
    (tmp_path / "run" / "weights.safetensors").unlink()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert main(line) == 0
    assert load(tmp_path / "run" / "checkpoint.pt")["run"] == before
    assert (tmp_path / "run" / "weights.safetensors").is_file()

    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    assert main(TRAIN.split()) == 2
    assert "folder: got none, expected a name" in capsys.readouterr().err


def test_the_first_process_says_what_is_wrong_with_the_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "some")
    for number in range(2):
        monkeypatch.setenv("RANK", str(number))
        assert main(["info"]) == 2
        assert ("pyro-vae: error: " in capsys.readouterr().err) == (number == 0)


def written() -> list[str]:
    """What a process has on its stdout, and what it meets of files."""
    place = Path(PLACE[0])
    with making("out", place / "new"), silence():
        print(f"by {rank()} of {count()}")
        write_atomically(place / f"file{rank()}", lambda file: file.write(b"1"))
        with staged(place, lambda: None) as new:
            write_atomically(new / f"staged{rank()}", lambda file: file.write(b"1"))
    return sorted(path.name for path in place.iterdir())


PLACE: list[str] = []


def test_only_the_first_process_writes_and_speaks(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    PLACE.append(str(tmp_path))
    together(3, written)
    PLACE.clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file0", "new", "staged0"]
    assert "by 1" not in capfd.readouterr().out


def test_without_torchrun_there_is_one_process() -> None:
    with started():
        assert (rank(), count(), is_first()) == (0, 1, True)
        assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("size", [1, 2, 7, 12])
@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_each_row_counts_once(size: int, number: int) -> None:
    parts = [share_of(size, rank, number) for rank in range(number)]
    rows = [row for part in parts if part.counts for row in range(size)[part.rows]]
    assert rows == list(range(size))
    assert sum(part.weight for part in parts) == pytest.approx(1.0)
    assert all(part.stop > part.start for part in parts)


def test_the_package_is_a_program() -> None:
    command = [sys.executable, "-m", "pyro_vae", "--version"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.startswith("pyro-vae 0.")
