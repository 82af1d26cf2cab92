"""The study of few labels, made small."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import pyro_vae as pv
from tests.scenarios import eager
from tests.test_experiments import script


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    eager(monkeypatch)
    return script("semi_supervised")


def test_a_label_is_scored_and_the_others_are_summed_out(study: ModuleType) -> None:
    data = study.digits(0)
    assert data.given.sum() == 100 and not data.given[data.test].any()
    run = study.Run(data, 2)

    def log_w(given: bool) -> Any:
        numbers = data.labelled[:4]
        run.net.given = data.given if given else torch.zeros_like(data.given)
        torch.manual_seed(0)
        return pv.log_weights(run.model, run.guide, data.x[numbers], numbers)[0]

    # of the same draws, p(x, y) for each of ten labels adds up to p(x)
    whole, labels = log_w(False), data.y.clone()
    each = []
    for label in range(10):
        run.net.y = torch.full_like(labels, label)
        each.append(log_w(True))
    assert torch.allclose(torch.logsumexp(torch.stack(each), 0), whole, atol=1e-4)


def test_the_study_runs(study: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    study.DRAWS = 5
    small = ["--units", "2", "--epochs", "1", "--num-splits", "1"]
    found = study.main([*small, "--json", str(path)])
    assert [row["images"] for row in found["models"][:3]] == [
        "labelled",
        "then all",
        "all at once",
    ]
    accuracy = {row["what"]: row["accuracy"] for row in study.summed_up(found)}
    assert accuracy["logistic"] > 0.7 and all(0 < value <= 1 for value in accuracy.values())
    assert path.with_suffix(".png").stat().st_size > 10_000
