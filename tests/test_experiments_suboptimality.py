"""What the study of suboptimal inference claims, with tiny arguments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.scenarios import eager
from tests.test_experiments import script

SMALL = ["mean-field_small_small_0", "full-rank_small_small_0"]


@pytest.fixture(autouse=True)
def _no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)


@pytest.mark.usefixtures("quick_convergence")
def test_both_gaps_are_their_closed_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, made = tmp_path / "out.json", script("suboptimality")
    monkeypatch.setattr(made, "UNITS", 3)
    monkeypatch.setattr(made, "LITTLE", (2,))
    made.main(["--parts", "known", "--num-data=10", "--num-particles=500", f"--json={out}"])
    (row,) = json.loads(out.read_text())["known"]["rows"]
    for gap in ("approximation", "amortization"):
        off = row[gap] - row[f"exact_{gap}"]
        assert abs(off) < 5 * row[f"{gap}_noise"] + 0.05, (gap, row)  # q* is not quite reached
    total = row["exact_approximation"] + row["exact_amortization"]
    assert row["inference"] == pytest.approx(total, abs=5 * row["inference_noise"])
    assert row["exact_amortization"] > 1


@pytest.mark.usefixtures("hasty_convergence")
def test_cells_are_run_once_and_paired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, made = tmp_path / "out.json", script("suboptimality")
    monkeypatch.setattr(made, "UNITS", 3)
    sizes = ["--data=digits", "--epochs=1", "--num-data=6", "--num-particles=30"]
    made.main(["--parts", *SMALL, *sizes, f"--json={out}"])

    found = json.loads(out.read_text())
    for name in SMALL:
        for split in ("train", "test"):
            row = found[name][split]
            assert row["guides"]["full-rank"]["elbo"] < row["log_px"] + 0.5
            own = row["guides"]["amortized"]
            assert own["amortization"] > -3 * own["amortization_noise"]
            assert 0 <= row["k_hat_high"] <= 1 and row["estimator"] in row["log_px_by"]

    changes = {(what, split): moves for what, split, *moves in made.effects(found)}
    base, richer = (found[name]["test"]["guides"]["amortized"] for name in SMALL[:2])
    moved = richer["approximation"] - base["approximation"]
    told = changes["family: mean-field to full-rank", "test"][0]
    assert float(told.split()[0]) == pytest.approx(moved, abs=0.006)
    assert {what for what, _ in changes} == {"family: mean-field to full-rank"}
    assert out.with_suffix(".png").stat().st_size > 1000

    before = out.read_text()
    made.main(["--parts", *SMALL, *sizes, f"--json={out}"])
    assert out.read_text() == before
