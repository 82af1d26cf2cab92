"""Cells as jobs, by submitit's executors for this machine; what would be submitted to Slurm."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path
from typing import Any

import pytest

import pyro_vae as pv
from pyro_vae.sweeps.cells import Cell, read_cell
from pyro_vae.sweeps.slurm import Job, on_slurm


def test_without_submitit_or_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = {"grid": {"seed": [0]}}
    with monkeypatch.context() as patch:
        patch.setattr("pyro_vae.sweeps.slurm.find_spec", lambda name: None)
        with pytest.raises(ValueError, match=r"slurm: submitit is not installed.*\[slurm\]"):
            pv.sweep(spec, "never", slurm=pv.Slurm(cluster="local"))

    monkeypatch.setattr("pyro_vae.sweeps.slurm.find_spec", lambda name: name)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="slurm: there is no sbatch"):
        pv.sweep(spec, "never", slurm=pv.Slurm())
    assert not Path("never").exists()


def done(cell: Cell) -> Cell:
    return cell.now("done")


def cells(folder: Path) -> list[Cell]:
    return [Cell(folder / str(number), number, {"seed": number}).now("to do") for number in (0, 1)]


# logs that the debug executor leaves open
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_job_for_each_cell(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    ended = on_slurm(done, cells(tmp_path), pv.Slurm(cluster="debug"), tmp_path / "slurm")
    assert [(cell.number, cell.state) for cell in ended] == [(0, "done"), (1, "done")]
    assert [read_cell(cell.folder).state for cell in cells_again(tmp_path)] == ["done", "done"]
    del ended
    gc.collect()


def cells_again(folder: Path) -> list[Cell]:
    return [read_cell(folder / name) for name in ("0", "1")]


def test_what_is_asked_of_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    asked = pv.Slurm("gpu", minutes=90, cpus=3, gpus=1, memory_gb=8, account="us")
    asked.check()
    text = asked.executor(tmp_path, at_once=4)._executor._make_submission_file_text("run", "id")
    for line in ("partition=gpu", "time=90", "cpus-per-task=3", "gpus-per-node=1", "account=us"):
        assert f"#SBATCH --{line}\n" in text
    assert "#SBATCH --mem=8GB" in text


def test_a_job_that_is_stopped_is_queued_with_its_cell(tmp_path: Path) -> None:
    helpers = pytest.importorskip("submitit.helpers")
    cell = cells(tmp_path)[0]
    again: Any = Job(done, 1).checkpoint(cell)
    assert isinstance(again, helpers.DelayedSubmission)
    assert isinstance(again.function, Job) and again.args == (cell,)


class Waiting:
    """A job that has ended, well or badly, or has not."""

    job_id = "17_0"

    def __init__(self, cell: Cell, ends: bool, cancelled: list[int]) -> None:
        self.cell, self.ends, self.cancelled = cell, ends, cancelled

    def done(self) -> bool:
        return self.ends

    def result(self) -> Cell:
        raise RuntimeError("job ran out of memory\nand more")

    def cancel(self) -> None:
        self.cancelled.append(self.cell.number)


class Executor:
    def __init__(self) -> None:
        self.cancelled: list[int] = []

    def map_array(self, work: Any, listed: list[Cell]) -> list[Waiting]:
        return [Waiting(cell, cell.number == 0, self.cancelled) for cell in listed]


def test_jobs_that_fail_or_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = Executor()
    monkeypatch.setattr(pv.Slurm, "executor", lambda *arguments: executor)
    ended = on_slurm(done, cells(tmp_path), pv.Slurm(), tmp_path)
    cell = next(ended)
    assert cell.state == "failed" and cell.reason == "its job 17_0 failed: job ran out of memory"
    assert read_cell(cell.folder) == cell and executor.cancelled == []
    ended.close()
    assert executor.cancelled == [1]
