"""Cards: what a run folder says of itself, torn files included."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from pyro_vae.runs.card import read_card, runs_in, state_of
from tests.runs.folder import call


def test_a_card_holds_what_the_files_hold(run: Path) -> None:
    card = read_card(run)
    assert card.name == "run" and card.state == "finished" and not card.problems
    assert card.class_of("model") == "VAE" and card.class_of("guide") == "EncoderGuide"
    assert card.data["name"] == "digits" and card.epochs == (1, 1)
    assert card.kept("valid_elbo") < 0 and card.active is not None and card.active[1] == 3


def test_states(run: Path) -> None:
    assert state_of(run) == "finished"
    (run / "weights.safetensors").unlink()
    assert state_of(run) == "stopped"
    with FileLock(str(run / ".lock")):
        assert state_of(run) == "in training"
    (run / "checkpoint.pt").unlink()
    assert state_of(run) == "not begun"
    (run / ".lock").unlink()
    assert state_of(run) == "not begun" and not (run / ".lock").exists()


@pytest.mark.parametrize(
    "name", ["config.yaml", "data.json", "metrics.csv", "units.csv", "evidence.json"]
)
def test_a_torn_file_is_a_problem_and_no_error(
    run: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / name).write_bytes(b"\xff{\x1b[31m")
    card = read_card(run)
    assert len(card.problems) == 1 and name in card.problems[0]
    assert call("list .") == 0
    out = capsys.readouterr().out
    assert name in out and "\x1b[31m" not in out


def test_runs_are_found_in_folders_and_not_in_runs(run: Path) -> None:
    for place in ("a/b/deep", "a/.hidden/run", "run/inner"):
        shutil.copytree(run, place, ignore=shutil.ignore_patterns("inner"))
    Path("a/link").symlink_to(Path("a").resolve())
    assert runs_in(Path()) == [Path("a/b/deep"), Path("run")]


def test_list_says_each_run_in_a_row(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(run, "many/first")
    shutil.copytree(run, "many/second")
    Path("many/second/weights.safetensors").unlink()
    assert call("evidence many/first --num_data 5 --method.num_particles 10") == 0
    capsys.readouterr()
    assert call("list many") == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "digits" in line]
    assert len(rows) == 2
    assert "first" in rows[0] and "finished" in rows[0] and "5 test" in rows[0]
    assert "1 of 1" in rows[0] and "VAE" in rows[0] and "+-" in rows[0]
    assert "second" in rows[1] and "stopped" in rows[1]


def test_list_without_runs(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    assert call("list empty") == 0
    assert "empty: no runs; `pyro-vae train" in capsys.readouterr().out
    assert call("list missing") == 2
    assert "missing: no such folder" in capsys.readouterr().err


def test_a_card_is_read_without_torch(run: Path) -> None:
    code = "import sys; from pyro_vae.runs.card import read_card; read_card('run')"
    code += "; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
