"""The studies of what the bound and the rate consist of, with tiny arguments."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from pyro_vae import cli
from tests.scenarios import eager
from tests.test_experiments import script

SMALL = ("--data=digits", "--hidden", "8", "--num-data=8")


@pytest.fixture(autouse=True)
def _no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "run"
    sizes = ["--model.latent_dim=2", "--model.hidden=[8]", "--guide.hidden=[8]", "--epochs=1"]
    options = ["--data=digits", "--batch_size=128", "--warmup_epochs=0", *sizes]
    assert cli.main(["train", *options, f"--folder={folder}", "--quiet=true"]) == 0
    return folder


def test_the_identity_in_closed_form_and_on_grids(tmp_path: Path) -> None:
    out, made = tmp_path / "out.json", script("elbo_identity")
    made.main(["--parts", "exact", "grid", *SMALL, "--num-grids=1", "--epochs=1", f"--json={out}"])
    found = json.loads(out.read_text())
    assert found["exact"]["worst_in_closed_form"] < 1e-9 and found["exact"]["kl"] > 0.1
    for name in ("exact", "grid"):
        assert found[name]["worst_in_errors"] < 5, name
        assert found[name]["log_px"] > found[name]["elbo"], name
    assert found["grid"]["quadrature_error"] < 1e-3
    assert out.with_suffix(".png").stat().st_size > 1000

    before = out.read_text()  # what has been measured is not measured again
    made.main(["--parts", "exact", *SMALL, "--num-grids=1", "--epochs=1", f"--json={out}"])
    assert out.read_text() == before
    assert found["settings"]["run"] == "mnist_gated"  # whatever the folder is
    with pytest.raises(SystemExit):  # nor taken for what another setting would give
        made.main([*SMALL, "--num-grids=2", f"--json={out}"])


def test_the_identity_along_chains(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    arguments = ["--parts", "annealed", "--num-annealed=6", "--num-temperatures=20"]
    script("elbo_identity").main([str(small), *arguments, f"--json={out}"])
    found = json.loads(out.read_text())["annealed"]
    assert abs(found["residual"]) < 5 * found["residual_error"], found
    assert found["kl"] > 0 and abs(found["sandwich"]) < 0.5


def test_both_terms_through_training(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    sizes = ["--data=digits", "--hidden=32", "--num-data=8", "--epochs=16"]
    sizes += ["--side=201", "--num-particles=100"]
    script("elbo_epochs").main([*sizes, f"--json={out}"])
    found = json.loads(out.read_text())
    for name in ("joint", "frozen"):
        for row in found[name]["rows"]:
            assert row["worst_in_errors"] < 5 and row["grid_error"] < 1e-3, row
            assert row["kl"] > 0
    joint, frozen = (found[name]["in_all"] for name in ("joint", "frozen"))
    assert joint["log_px"] > 0.05  # the decoder has learned
    assert frozen["log_px"] == 0.0 and frozen["kl"] < 0
    assert out.with_suffix(".png").stat().st_size > 1000


def test_the_rate_is_information_and_a_distance(small: Path, tmp_path: Path) -> None:
    out, made = tmp_path / "out.json", script("information")
    made.BETAS = (0.1, 10.0)
    sizes = ["--data=digits", "--num-data=60", "--num-draws=4", "--epochs=1", "--beta-epochs=10"]
    made.main([*sizes, "--runs", str(small), f"--json={out}"])
    found = json.loads(out.read_text())
    rows = [found["channel"], found["grid"], *found["beta"]["rows"], found["runs"]["rows"]["run"]]
    for row in rows:
        assert abs(row["residual"]) < 5 * row["residual_error"], row
        assert row["information"] <= math.log(60) + 1e-6
        assert row["bounds"]["at_most"] > row["bounds"]["lower"] - 5 * row["bounds"]["lower_error"]

    truth = found["channel"]["truth"]["information"]
    for row in found["channel"]["batches"]:
        assert row["lower"] - 5 * row["lower_error"] < truth, row
        assert row["upper"] + 5 * row["upper_error"] > truth, row
        assert row["weighted"] >= row["log_num_data"]  # says no more than log N does
    strong, weak = (row["rate"] for row in reversed(found["beta"]["rows"]))
    assert strong < weak
    assert out.with_suffix(".png").stat().st_size > 1000
