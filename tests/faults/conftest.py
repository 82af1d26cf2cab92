"""A finished run, and a place with traps for who would run what a stranger wrote."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.faults.scale import times
from tests.faults.stranger import EVIL, TRAIN, Pickled, call
from tests.faults.tally import PREFIX, Tally, summary


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Tally:
    """Counts what a test tried, for the end of `make faults`."""

    def count(kind: str, tried: int, wrong: int) -> None:
        record_property(f"{PREFIX}{kind}", (tried, wrong))

    return count


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many faults of each kind were tried, where they are tried at length."""
    lines = summary(r for reports in terminalreporter.stats.values() for r in reports)
    if lines and times(0, 1):
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert call(f"train --folder {folder} {TRAIN}")[0] == 0
    assert call(f"evidence {folder} --method.num_particles 3 --num_data 5")[0] == 0
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of files that leave a marker when they are run, and a precious one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYRO_VAE_DEBUG", raising=False)
    for name in (
        "evil.py",
        "hubconf.py",
        "docstring_parser.py",
        "evil_package.py",
        "yaml_extra.py",
    ):
        Path(name).write_text(EVIL)
    Path("evil.pkl").write_bytes(pickle.dumps(Pickled()))
    torch.save(Pickled(), "evil.pt")
    Path("evil.yaml").write_text("class_path: os.system\ninit_args: {command: touch marker}\n")
    shutil.copy("evil.yaml", "evil_settings")
    Path("precious").write_text("mine")
    return tmp_path
