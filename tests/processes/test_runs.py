"""Folders of runs by several processes: written by the first, resumed by any number, and what
becomes of them where a process ends before its time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch

import pyro_vae as pv
from pyro_vae.inference.checkpoint import load
from pyro_vae.processes import LostProcess, is_first, is_told
from tests.processes.forked import together
from tests.processes.trainings import pixels, vae

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vae.CollapseWarning")


def train(folder: Path, epochs: int, **options: Any) -> list[float]:
    with pyro.get_param_store().scope():
        torch.manual_seed(0)
        made = {"batch_size": 4, "valid": 3, "engine": "pyro", "warmup_epochs": 1} | options
        run = pv.fit(*vae(), pixels(), epochs=epochs, folder=folder, quiet=True, **made)
        return [row["train_loss"] for row in run.history]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The checkpoint of a run by one process that nobody interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    train(folder, 3)
    return load(folder / "checkpoint.pt")


def check(folder: Path, whole: dict[str, Any]) -> None:
    """Whether a checkpoint is that of the whole run, up to rounding, and has all of it."""
    found = load(folder / "checkpoint.pt")
    assert found.keys() == whole.keys() and found["same"] == whole["same"]
    assert torch.equal(found["noise"], whole["noise"])
    assert torch.equal(found["torch_noise"]["cpu"], whole["torch_noise"]["cpu"])
    for part in ("model", "guide"):
        for name, value in whole["weights"][part].items():
            torch.testing.assert_close(found["weights"][part][name], value, rtol=1e-5, atol=1e-6)
    rows = [at["position"]["history"] for at in (found, whole)]
    for mine, other in zip(*rows, strict=True):
        assert mine["valid_elbo"] == pytest.approx(other["valid_elbo"], rel=1e-5)
    names = ["checkpoint.pt", "metrics.csv", "run.json", "units.csv", "weights.safetensors"]
    assert sorted(p.name for p in folder.iterdir() if p.name[0] not in ".e") == names


def test_a_checkpoint_of_two_goes_on_with_one(tmp_path: Path, whole: dict[str, Any]) -> None:
    together(2, lambda: train(tmp_path, 1))
    train(tmp_path, 3, resume=True)
    check(tmp_path, whole)


def test_a_checkpoint_of_one_goes_on_with_two(tmp_path: Path, whole: dict[str, Any]) -> None:
    train(tmp_path, 2)
    losses = together(2, lambda: train(tmp_path, 3, resume=True))
    assert losses[0] == losses[1]
    check(tmp_path, whole)


def at_step(number: int, act: Callable[[], object]) -> pytest.MonkeyPatch:
    """Act before a step of a training, in the process that is not the first."""
    patch, steps = pytest.MonkeyPatch(), count(1)
    from pyro_vae.inference import svi

    before = svi.own_share

    def counting(size: int) -> Any:
        if next(steps) == number and not is_first():
            act()
        return before(size)

    patch.setattr(svi, "own_share", counting)
    return patch


def ended(folder: Path, act: Callable[[], object], *, by: type[BaseException]) -> tuple[str, Any]:
    """What a process says where another ends in the middle of an epoch, and who says it."""
    at_step(7, act)
    with pytest.raises(by) as error:
        train(folder, 3)
    return str(error.value), is_told(error.value)


def test_ctrl_c_in_one_process_stops_all_after_the_same_step(
    tmp_path: Path, whole: dict[str, Any]
) -> None:
    together(
        2,
        lambda: ended(tmp_path, lambda: os.kill(os.getpid(), signal.SIGINT), by=KeyboardInterrupt),
    )
    position = load(tmp_path / "checkpoint.pt")["position"]
    assert (position["epoch"], position["step"]) == (1, 2)
    train(tmp_path, 3, resume=True)
    check(tmp_path, whole)


def test_a_killed_process_ends_all_and_the_run_goes_on_from_its_checkpoint(
    tmp_path: Path, whole: dict[str, Any]
) -> None:
    found = together(2, lambda: ended(tmp_path, lambda: os._exit(9), by=LostProcess), killed=[1])
    told, by_first = found[0]
    assert told.startswith("another of the 2 processes has ended") and "\n" not in told
    assert told.endswith(f"; the last checkpoint is in {tmp_path}") and not by_first
    assert load(tmp_path / "checkpoint.pt")["position"]["epoch"] == 1
    train(tmp_path, 3, resume=True)
    check(tmp_path, whole)


def test_other_data_in_another_process_are_refused(tmp_path: Path) -> None:
    def refused() -> str:
        data = pixels() if is_first() else pixels().flip(0)
        with pytest.raises(ValueError, match="data: got others than the first process's") as error:
            pv.fit(*vae(), data, epochs=1, batch_size=4, quiet=True)
        return str(error.value)

    assert len(set(together(2, refused))) == 1
