"""What the studies of Gaussian decoders, gradients and collapse claim, with tiny arguments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.test_experiments import script


def test_a_gaussian_decoder_is_a_squared_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, made = tmp_path / "out.json", script("squared_error")
    monkeypatch.setattr(made, "SIGMAS", (0.1, 3.0))
    monkeypatch.setattr(made, "MOVES", 5)
    made.main(["--parts", "equal", f"--json={out}"])
    rows = json.loads(out.read_text())["equal"]
    exact = [row for row in rows if row["dtype"] == "float64"]
    assert {round(row["beta"], 9) for row in exact} == {0.02, 0.08, 18.0, 72.0}
    for row in exact:
        assert max(row["loss"], row["gradients"], row["sgd"], row["adam"]) < 1e-12, row
    for row in rows:
        assert max(row["loss"], row["gradients"]) < 1e-6, row


def test_a_learned_sigma_finds_its_optimum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, made = tmp_path / "out.json", script("squared_error")
    monkeypatch.setattr(made, "NUM_DATA", 100)
    monkeypatch.setattr(made, "NUM_DIGITS", 100)
    monkeypatch.setattr(made, "PIXELS", {"0 to 1": 1.0})
    monkeypatch.setattr(made, "SIGMAS", (0.5,))
    monkeypatch.setattr(made, "BETAS", (1.0,))
    monkeypatch.setattr(made, "MOVES", 1)
    monkeypatch.setattr(made, "EIGENVALUES", (4.0, 2.0, *(0.1 * n for n in range(8, 0, -1))))
    monkeypatch.setattr(made, "FITS", ((2, 1.0),))
    monkeypatch.setattr(made, "REDUCTIONS", {"averaged": lambda size: size / 2})
    made.main([f"--json={out}", "--steps=250"])

    found = json.loads(out.read_text())
    *linear, nonlinear = found["learned"]
    assert len(linear) == 1
    for row in linear:
        assert row["variance"] == pytest.approx(row["closed_form"], rel=0.05)
        assert row["variance"] == pytest.approx(row["mean_squared_error"], rel=0.05)
    assert linear[0]["closed_form"] == pytest.approx(0.45)  # the mean of the discarded eigenvalues
    assert nonlinear["variance"] == pytest.approx(nonlinear["mean_squared_error"], rel=0.1)

    units = {(row["pixels"], row["reduction"]): row for row in found["reductions"]}
    assert units["0 to 1", "averaged"]["found"] == 0
    assert units["0 to 1", "sigma learned"]["found"] > 8
    assert out.with_suffix(".png").stat().st_size > 1000


def test_gradients_are_right_and_as_noisy_as_predicted(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    script("gradients").main(["--parts", "guides", "--repetitions=2000", f"--json={out}"])
    rows = json.loads(out.read_text())["guides"]
    assert len(rows) == 40
    for row in rows:
        assert row["worst_bias_in_errors"] < 5, row
        for block in ("mean", "log_scale"):
            if f"{block}_predicted" in row:
                off = row[f"{block}_variance"] - row[f"{block}_predicted"]
                assert abs(off) < 5 * row[f"{block}_error"] + 1e-12, row

    landed = {
        row["posterior"]: row["mean_variance"]
        for row in rows
        if (row["guide"], row["estimator"]) == ("optimum", "sticking the landing")
    }
    assert landed["in the family"] < 1e-20 and landed["correlated"] > 0.1


def test_how_variance_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, made = tmp_path / "out.json", script("gradients")
    monkeypatch.setattr(made, "DIMS", (2, 4, 16))
    monkeypatch.setattr(made, "BATCHES", (1, 16))
    made.main(["--parts", "latents", "batch", "--repetitions=1000", f"--json={out}"])
    found = json.loads(out.read_text())
    grown = {(row["guide"], row["estimator"]): row["slope"] for row in found["latents_slopes"]}
    assert abs(grown["optimum", "reparameterised"]) < 0.2
    assert grown["optimum", "score function"] == pytest.approx(2, abs=0.4)
    assert grown["optimum", "sticking the landing"] is None
    assert grown["optimum", "score, leave-one-out"] is None

    for row in found["batch"]:
        assert row["worst_bias_in_errors"] < 6, row
    share = {(row["guide"], row["estimator"]): row for row in found["batch"]}
    far = share["half as wide, means halved", "sticking the landing"]
    near = share["half as wide, means halved", "reparameterised"]
    assert far["of_the_draws"] > 3 * near["of_the_draws"]
    assert out.with_suffix(".png").stat().st_size > 1000
