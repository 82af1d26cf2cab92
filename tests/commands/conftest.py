"""A place to work in, and a finished run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.calls import PROGRAMS, train


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in `tmp_path`, with a user's file in it; forget then what was imported from it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("PYRO_VAE_DEBUG", raising=False)
    (tmp_path / "my_guides.py").write_text(PROGRAMS)
    yield tmp_path
    sys.modules.pop("my_guides", None)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(str(tmp_path_factory.mktemp("trained") / "run"), "--epochs 2")


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, `run` in the working directory."""
    shutil.copytree(trained, tmp_path / "run")
    return Path("run")
