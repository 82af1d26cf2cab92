"""A finished run, and a copy of it to be changed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.runs.folder import OWN, TINY, call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert call(f"train --folder {folder} {TINY} --guide.hidden [8]") == 0
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a run, `run` in the working directory, with a module of the user's beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYRO_VAE_DEBUG", raising=False)
    shutil.copytree(trained, "run")
    Path("own_guides.py").write_text(OWN)
    monkeypatch.delitem(sys.modules, "own_guides", raising=False)
    return Path("run")
