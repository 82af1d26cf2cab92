"""The table of the importance-weighted autoencoder, with tiny arguments."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from pyro_vae import Annealed, Dataset, load
from pyro_vae.objectives import Bound
from tests.scenarios import eager
from tests.test_experiments import script

TINY = ["--data=digits", "--epochs=1", "--batch-size=400", "--num-data=20", "--num-particles=60"]


@pytest.fixture(scope="module")
def study() -> ModuleType:
    return script("iwae_table")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits", valid=0)


def test_cells_are_trained_once_scored_and_drawn(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager(monkeypatch)
    out = tmp_path / "out.json"
    arguments = [*TINY, f"--json={out}"]
    study.main([*arguments, "--parts", "1-vae-1"])
    first = json.loads(out.read_text())
    assert first["1-vae-1"]["active"].isdigit()
    assert [row["verdict"] for row in first["order"]] == []  # no published pair is there yet

    study.main([*arguments, "--parts", "2-vae-1"])
    found = json.loads(out.read_text())
    assert found["1-vae-1"] == first["1-vae-1"]
    assert "+" in found["2-vae-1"]["active"]
    (row,) = found["order"]
    assert (row["better"], row["worse"]) == ("2-vae-1", "1-vae-1")
    assert row["gain"] == pytest.approx(found["1-vae-1"]["nll"] - found["2-vae-1"]["nll"], abs=2e-3)
    assert row["verdict"] == "open" and row["error"] is None  # no cell has two seeds
    assert out.with_suffix(".png").stat().st_size > 1000


def test_two_cells_are_annealed(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager(monkeypatch)
    monkeypatch.setattr(study, "ANNEALED", 5)
    monkeypatch.setattr(study, "CHAINS", Annealed(num_temperatures=10, num_chains=2, engine="pyro"))
    out = tmp_path / "out.json"
    study.main([*TINY, f"--json={out}", "--parts", "annealed"])
    found = json.loads(out.read_text())["annealed"]
    assert found["gain"] == pytest.approx(
        found["1-vae-5"]["nll"] - found["1-iwae-5"]["nll"], abs=2e-3
    )
    for name in ("1-vae-5", "1-iwae-5"):  # the same number by two methods
        assert found[name]["nll"] == pytest.approx(found[name]["nll_by_weights"], abs=2)


def test_the_cells_are_those_of_the_papers(study: ModuleType, digits: Dataset) -> None:
    kinds = {name: make() for name, make in study.OBJECTIVES.items()}
    assert all(isinstance(loss, Bound) for loss in kinds.values())
    told = {name: (b.alpha, b.groups, b.guide_groups, b.mix) for name, b in kinds.items()}
    assert told["vae-50"][0] == 1 and told["iwae-50"] == (0, 1, 1, 0)
    assert told["miwae"] == (0, 8, 8, 0) and told["piwae"] == (0, 1, 8, 0)
    assert told["ciwae"] == (0, 1, 1, 0.05)  # and not the 0.5 that went by that label elsewhere
    assert {kinds[name].num_particles for name in ("miwae", "piwae", "ciwae")} == {64}

    rates = [study.rate(epoch) for epoch in range(3280)]
    stages = [10 ** (-i / 7) for i in range(8) for _ in range(3**i)]
    assert rates == pytest.approx(stages, rel=1e-12)

    for layers in (1, 2):
        model, guide = study.pair(layers, digits, 0)
        weights = [p for p in (*model.parameters(), *guide.parameters()) if p.dim() == 2]
        for weight in weights:  # Glorot's start
            limit = (6 / sum(weight.shape)) ** 0.5
            assert 0.9 * limit < weight.abs().max() <= limit
        odds = torch.special.logit(digits.mean.clamp(1e-3, 1 - 1e-3))
        assert (
            torch.corrcoef(torch.stack([model.decoder.bias.flatten(), odds.flatten()]))[0, 1] > 0.99
        )


def test_an_inequality_is_judged_by_images_and_seeds(study: ModuleType) -> None:
    torch.manual_seed(0)
    images = torch.randn(400).double()

    def row(shift: float) -> dict[str, Any]:
        values = images + 0.1 * torch.randn(400) - 90 + shift
        return {"log_px": " ".join(f"{value:.4f}" for value in values.tolist())}

    cells = {"1-vae-1": row(0.0), "1-vae-1-seed1": row(0.2), "1-vae-1-seed2": row(-0.2)}
    cells |= {"1-vae-5": row(2.0), "1-iwae-5": row(1.9), "1-vae-50": row(1.0)}
    assert study.spread(cells) == pytest.approx(0.2, abs=0.02)

    found = {(r["better"], r["worse"]): r for r in study.compared(cells)}
    verdicts = {pair: r["verdict"] for pair, r in found.items()}
    assert verdicts == {
        ("1-vae-5", "1-vae-1"): "holds",
        ("1-iwae-5", "1-vae-1"): "holds",
        ("1-iwae-5", "1-vae-5"): "open",
        ("1-vae-50", "1-vae-5"): "reversed",
    }
    one = found["1-iwae-5", "1-vae-5"]
    assert one["published"] == pytest.approx(0.93) and one["gain"] == pytest.approx(-0.1, abs=0.03)
    # images are paired: 0.1 * sqrt(2) over 20, and not their own spread
    assert one["over_images"] == pytest.approx(0.1 * 2**0.5 / 20, rel=0.2)
    assert one["error"] == pytest.approx(0.2 * 2**0.5, rel=0.15)
