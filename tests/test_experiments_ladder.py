"""The study of the ladder, with tiny arguments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.scenarios import eager
from tests.test_experiments import script

TINY = ["--data=digits", "--dims=4", "--repetitions=60", "--epochs=1", "--num-flat=6"]
TINY += ["--num-data=4", "--num-annealed=2", "--num-temperatures=20", "--budgets", "0.5"]


@pytest.fixture(autouse=True)
def _no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)


def test_it_holds_the_ladder_to_closed_forms_and_to_quadrature(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    made = script("ladder")
    made.main([*TINY, f"--json={out}", "--parts", "closed", "flat"])
    found = json.loads(out.read_text())
    assert [row["guide"] for row in found["closed"]] == list(made.GUIDES)
    for row in found["closed"]:
        assert row["closed"] > 0.9 and row["coverage"] > 0.95 - 5 * row["coverage_error"]
        assert row["steps"][0]["num_data"] == 60
    refined = found["flat"][1]
    assert refined["method"] == "refined" and refined["settled"] == 1
    assert abs(refined["off"]) < 0.1 and refined["worst_in_errors"] < 5


def test_a_kept_run_is_measured_both_ways_and_drawn(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    script("ladder").main([*TINY, f"--json={out}", "--parts", "mnist_gated", "mnist_gated_longer"])
    found = json.loads(out.read_text())
    assert found["mnist_gated_longer"]["num_temperatures"] == 80
    row = found["mnist_gated"]
    each = [
        row[name]["seconds"] / row[n]
        for name, n in (("ladder", "num_data"), ("annealed", "num_annealed"))
    ]
    assert row["ratio"]["seconds"] == pytest.approx(each[0] / each[1])
    assert abs(row["difference"]) < 5 * row["difference_error"] + 0.05
    assert row["steps"][0]["num_data"] == 4 and out.with_suffix(".png").stat().st_size > 10_000
    assert torch.tensor(row["interval"]).isfinite().all()
