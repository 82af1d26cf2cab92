"""`evidence`, by every method."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.commands.calls import call, evidence, train


def test_evidence_holds_what_a_table_needs(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = evidence(run)
    assert {"elbo", "rate", "distortion", "log_px", "active_units", "fingerprint"} <= facts.keys()
    assert {
        "elbo_error",
        "rate_error",
        "distortion_error",
        "log_px_error",
        "pareto_k_max",
    } <= facts.keys()
    assert facts["elbo"] == pytest.approx(-(facts["rate"] + facts["distortion"]), abs=1e-9)
    assert facts["log_px"] > facts["elbo"]
    assert (facts["num_data"], facts["num_particles"], facts["split"]) == (300, 30, "test")
    out = capsys.readouterr().out
    assert f"{facts['log_px']:.2f} +- {facts['log_px_error']:.2f}" in out
    assert str(facts["fingerprint"]) in out


def test_evidence_does_not_depend_on_the_memory(run: Path) -> None:
    few = "--num_data 60"
    assert evidence(run, few) == evidence(run, f"{few} --method.max-bytes 5000")


def test_evidence_depends_on_seed_split_and_number(run: Path) -> None:
    whole, seed = evidence(run), evidence(run, "--method.seed 1")
    assert seed["log_px"] != whole["log_px"]
    assert seed["fingerprint"] == whole["fingerprint"]
    part, valid = evidence(run, "--num-data 20"), evidence(run, "--split valid")
    assert (part["num_data"], valid["num_data"], valid["split"]) == (20, 200, "valid")
    assert len({whole["fingerprint"], part["fingerprint"], valid["fingerprint"]}) == 3


def test_evidence_is_strict_json(run: Path) -> None:
    """Few particles have no k-hat and one datum has no error; NaN is not JSON."""
    evidence(run, "--method.num_particles 1 --num_data 1")
    text = (run / "evidence.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"evidence.json holds {name}"))


METHODS = {
    "Importance": "--method.num_particles 2000 --method.seed 1",
    "Annealed": "--method.num_temperatures 60 --method.seed 1",
    "Laplace": "--method.num_particles 2000 --method.seed 1",
    "Quadrature": "",
    "Best": "--method.num_particles 2000 --method.num_temperatures 60 --method.seed 1",
}


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two latent units, and its evidence by quadrature."""
    run = train(str(tmp_path_factory.mktemp("flat") / "run"), "--model.latent_dim 2")
    assert call(f"evidence {run} --method Quadrature --num_data 4 --out {run}/exact.json") == 0
    return run


@pytest.mark.parametrize("method", METHODS)
def test_evidence_by_every_method_agrees(
    method: str, flat: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(flat, "flat"))
    assert call(f"evidence {run} --method {method} --num_data 4 {METHODS[method]}") == 0
    found = json.loads((run / "evidence.json").read_text())
    with (run / "evidence.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["datum"]) for row in rows] == [0, 1, 2, 3]
    assert sum(float(row["log_px"]) for row in rows) / 4 == pytest.approx(found["log_px"])
    assert all(float(row["lower"]) <= float(row["upper"]) for row in rows)
    exact = json.loads((run / "exact.json").read_text())
    assert abs(found["log_px"] - exact["log_px"]) <= 5 * found["log_px_monte_carlo_error"]
    out = capsys.readouterr().out
    assert found["method"] in out and "on these data" in out


def test_a_method_that_does_not_apply_is_one_line(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(f"evidence {run} --method Exact") == 2
    assert "VAE has no method `log_px`" in capsys.readouterr().err
    assert not (run / "evidence.json").exists()
