"""The studies of grey levels and of counts, with tiny arguments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.scenarios import eager
from tests.test_experiments import script


def test_grey_levels_are_scored_coded_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager(monkeypatch)
    study, out = script("grey_levels"), tmp_path / "out.json"
    tiny = "--data=digits --epochs=2 --hidden 8 --latent-dim=2 --num-data=10 --num-particles=20"
    arguments = [*tiny.split(), "--num-coded=6", "--keep", f"--json={out}"]
    study.main([*arguments, "--parts", "logistic", "others"])

    row = json.loads(out.read_text())["logistic"]
    assert row["back_exactly"] and row["log_px"] < row["bound"]
    assert row["coded_each"] == pytest.approx(row["coded_bound"], rel=0.1)
    assert row["coded_each"] < row["coded"]
    assert sum(row["levels"]) == pytest.approx(1, abs=1e-4)
    assert sum(row["levels_of_images"]) == pytest.approx(1)
    assert out.with_suffix(".png").stat().st_size > 1000
    assert (out.with_suffix(".runs") / "logistic" / "checkpoint.pt").is_file()


def test_counts_lose_less_by_their_own_likelihood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager(monkeypatch)
    study, out = script("counts"), tmp_path / "out.json"
    tiny = "--num-genes=6 --num-data=200 --num-test=8 --epochs=10 --hidden 8"
    study.main([*tiny.split(), f"--json={out}"])
    found = json.loads(out.read_text())
    own, other = found["negative-binomial"], found["poisson"]
    assert own["truth"] == other["truth"]
    assert own["lost"] < other["lost"]
    assert found["truth"]["kl_poisson"] > 0
    theta = torch.tensor([found["truth"]["theta"], own["theta"]]).log()
    assert torch.corrcoef(theta)[0, 1] > 0.3
    assert out.with_suffix(".png").stat().st_size > 1000
