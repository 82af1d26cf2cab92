"""`pyro-vae rank`: paired on the same data, refused on others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pyro_vae.files.texts import read_table
from pyro_vae.inference.weights import read_weights, write_weights
from pyro_vae.runs.opening import open_run
from tests.runs.folder import call, change


@pytest.fixture
def worse(run: Path) -> Path:
    """The run with a decoder that is out of tune."""
    shutil.copytree(run, "worse")
    path = Path("worse/weights.safetensors")
    state, identity = read_weights(path)
    name = next(n for n in state["model"] if "decoder" in n and n.endswith("bias"))
    state["model"][name] += 1.0
    path.unlink()
    write_weights(path, state, identity)
    return Path("worse")


def test_the_better_run_leads(run: Path, worse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = f"rank {worse} {run} --num_data 50 --method.num_particles 20 --out rank.csv"
    assert call(arguments) == 0
    out = capsys.readouterr().out
    assert "run leads; lower bounds are compared" in out and "50 test data" in out
    rows = read_table(Path("rank.csv"))
    assert [row["name"] for row in rows] == ["run", "worse"]
    assert float(rows[1]["below_leader"]) > 3 * float(rows[1]["below_leader_error"]) > 0
    assert open_run(run, need_data=False).weights != open_run(worse, need_data=False).weights
    below = float(rows[0]["log_px"]) - float(rows[1]["log_px"])
    assert below == pytest.approx(float(rows[1]["below_leader"]))


def test_a_run_beside_itself_is_level(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(run, "again")
    assert call("rank run again --num_data 20 --method.num_particles 5") == 0
    out = capsys.readouterr().out
    assert "not resolved: run and again are level on these data" in out
    assert "0.000 +- 0.000" in out


def test_what_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(run, "other")
    change(Path("other"), binarise="threshold")
    for arguments, told in (
        ("rank run", "runs: got 1, expected at least two run folders"),
        ("rank run run", "runs: got run, run, expected each run once"),
        ("rank run missing", "missing: no such folder"),
        ("rank run other --num_data 10", "runs: other has other test data"),
        ("rank run other --num_data 0", "num_data: got 0"),
    ):
        assert call(arguments) == 2, arguments
        assert told in capsys.readouterr().err
