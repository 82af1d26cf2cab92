"""The study of rate and distortion, with tiny arguments."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import pyro_vae as pv
from tests.scenarios import eager, linear_gaussian
from tests.test_experiments import script

SIZES = ["--data=digits", "--hidden=16", "--latent-dim=3", "--epochs=2"]
SIZES += ["--num-annealed=6", "--num-simulated=6", "--num-temperatures=10", "--num-chains=4"]


@pytest.fixture(autouse=True)
def _no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)


@pytest.fixture(scope="module")
def made() -> ModuleType:
    found = script("rate_distortion")
    found.BETAS, found.BACK, found.DECODERS, found.ENDS = (0.01, 1.0, 100.0), (1.0,), (1.0,), (1.0,)
    return found


@pytest.fixture(scope="module")
def out(made: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("rate") / "out.json"
    with pytest.MonkeyPatch.context() as patch:
        eager(patch)
        options = [*SIZES, f"--weights={path.parent}", f"--json={path}"]
        made.main(["--parts", "sweep", *options])
    yield path


def options_of(out: Path) -> list[str]:
    return [*SIZES, f"--weights={out.parent}", f"--json={out}"]


def test_a_linear_vae_is_on_shannons_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    made = script("rate_distortion_linear")
    for name, value in (("BETAS", (0.7, 20.0)), ("BACK", ()), ("ENDS", (1.0,)), ("FROZEN", (0.7,))):
        monkeypatch.setattr(made, name, value)
    monkeypatch.setattr(made, "EIGENVALUES", (3.0, 1.0, 0.2))
    monkeypatch.setattr(made, "UNITS", 3)
    monkeypatch.setattr(made, "NUM_DATA", 400)
    monkeypatch.setattr(made, "FIRST", 2)
    sizes = {"num_temperatures": 30, "num_chains": 4, "num_simulated": 20, "steps": 150}
    found = made.linear(argparse.Namespace(**sizes))

    alive, dead = found["sweep"]
    assert (alive["formula_units"], dead["formula_units"], dead["units"]) == (2, 0, 0)
    assert alive["rate"] == pytest.approx(alive["formula_rate"], rel=0.1)
    assert 0 <= alive["off"] < 0.1 and 0 <= dead["off"] < 0.05  # in so few steps
    for row in found["sweep"]:
        assert row["rate"] + row["distortion"] > found["entropy"]  # H - D <= R
    for row in found["annealed"]:
        # an upper bound, which so few temperatures leave loose at the far end
        assert row["excess"] > -5 * row["excess_error"], row
        assert row["t"] > 10 or row["excess"] < 5 * row["excess_error"], row
    (between,) = found["bounds"]
    for side in ("below", "above"):
        assert abs(between[side]) < 5 * between[f"{side}_error"], between


def test_the_optimum_of_a_linear_vae_is_water_filling(monkeypatch: pytest.MonkeyPatch) -> None:
    made = script("rate_distortion_linear")
    known = torch.tensor(made.EIGENVALUES, dtype=torch.double)
    x = made.with_spectrum(known, 200)
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    model = pv.LinearGaussian(len(known), len(known)).double()
    for level in (0.01, 0.3, 3.0, 20.0):
        model.loading.data = vectors * (values - level).clamp(min=0).sqrt()
        found = [each.mean().item() for each in made.frozen(model, x, 1 / level)]
        assert found == pytest.approx(made.water_filling(level), rel=1e-9, abs=1e-9)


def test_a_slope_is_a_ratio_of_means(made: ModuleType) -> None:
    torch.manual_seed(0)
    rate = torch.rand(100, dtype=torch.double)
    one = {"rate": rate + 1, "distortion": 5 - 2 * rate}
    two = {"rate": rate, "distortion": 7 - 2 * rate}
    assert made.slope(one, two) == pytest.approx((2.0, 0.0), abs=1e-12)
    assert made.slope(one, {"rate": one["rate"] - 0.05, "distortion": rate}) is None

    noisy = {"rate": rate, "distortion": two["distortion"] + torch.randn(100).double()}
    value, error = made.slope(one, noisy)
    assert abs(value - 2) < 5 * error and error == pytest.approx(0.1, rel=0.3)


def test_the_sweep(made: ModuleType, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = json.loads(out.read_text())["sweep"]
    rows = {(row["leg"], row["beta"]): row for row in found["rows"]}
    weak, one, strong = (rows["up", beta] for beta in (0.01, 1.0, 100.0))
    assert weak["rate"] > one["rate"] > strong["rate"] and weak["distortion"] < strong["distortion"]
    assert strong["rate"] < one["rate"] / 2 and len(rows) == 4
    assert one["both"] == pytest.approx(one["rate"] + one["distortion"])

    x = pv.load("digits", valid=0).test.x
    best = torch.distributions.Bernoulli(x.double().mean(0)).entropy().sum().item()
    assert found["limits"]["constant"] == pytest.approx(best, rel=1e-6)
    assert strong["distortion"] == pytest.approx(best, rel=0.05)
    assert 0 < found["limits"]["entropy_at_least"] < best
    assert found["limits"]["entropy_at_most"] is None  # of MNIST
    assert out.with_suffix(".png").stat().st_size > 1000

    # what was trained is not trained again
    monkeypatch.setattr(made, "train", lambda *arguments: pytest.fail("trained again"))
    other = out.with_name("other.json")
    made.main(["--parts", "sweep", *options_of(out)[:-1], f"--json={other}"])
    assert json.loads(other.read_text())["sweep"] == found


def test_frozen_decoders_beside_the_sweep(made: ModuleType, out: Path) -> None:
    made.main(["--parts", "annealed", "bounds", *options_of(out)])
    found = json.loads(out.read_text())
    (row,) = found["annealed"]
    assert row["above_own"] == [0.0] and row["gap"] > -5 * row["gap_error"]
    for unit in ("nats", "squared error"):
        curve = row[unit]
        assert curve["beta"][-1] == 100 and len(curve["rate"]) == 10
        assert curve["rate"][-1] > curve["rate"][0]
        assert curve["distortion"][-1] < curve["distortion"][0]
    assert row["squared error"]["distortion"][-1] < row["nats"]["distortion"][0]

    assert [side["distortion"] for side in found["bounds"]] == ["nats", "squared error"]
    for side in found["bounds"]:
        assert side["gap"] > -5 * side["gap_error"], side


def test_the_least_of_a_curve_is_an_upper_bound(made: ModuleType) -> None:
    model, x = linear_gaussian(20, 2)
    chains: Any = pv.Annealed(60, "prior", num_chains=16, engine="pyro")
    curve = pv.rate_distortion_curve(model, x, max_beta=20, num_points=60, method=chains)
    exact = -model.log_px(x)
    excess = (made.least(curve, 1.0) - exact).mean()
    assert -0.3 < excess < 0.5
    assert made.least(curve, 1.0).mean() <= (curve.rate + curve.distortion)[-1].mean()


def test_pictures_come_back(made: ModuleType) -> None:
    chart = script("rate_distortion_chart")
    rows = [torch.rand(3, 1, 8, 8) for _ in range(4)]
    found = torch.as_tensor(chart.unpacked(json.loads(json.dumps(chart.packed(rows)))))
    assert found.shape == (4, 3, 8, 8)
    assert (found - torch.stack(rows)[:, :, 0]).abs().max() <= 1 / 30 + 1e-6
