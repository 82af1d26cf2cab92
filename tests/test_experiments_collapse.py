"""What the studies of collapse claim, with tiny arguments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import pyro_vae as pv
from tests.test_experiments import script


def test_a_unit_dies_where_it_is_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, made = tmp_path / "out.json", script("collapse_linear")
    monkeypatch.setattr(made, "LOCATED", (2.0,))
    monkeypatch.setattr(made, "EIGENVALUES", (2.0, 0.5, *(0.1 * n for n in range(4, 0, -1))))
    monkeypatch.setattr(made, "UNITS", 2)
    monkeypatch.setattr(made, "NUM_DATA", 400)
    monkeypatch.setattr(made, "SIDES", (0.8, 1.2))
    monkeypatch.setattr(made, "LEARNED_BETAS", (1.0,))
    monkeypatch.setattr(made, "bisection", lambda x, place, e, steps: e)  # many trainings
    made.main(["--steps=300", f"--json={out}"])

    found = json.loads(out.read_text())
    alive, dead = found["threshold"]["rows"]
    assert (alive["units"], dead["units"]) == (1, 0)
    assert alive["worst_difference"] < 0.05
    assert abs(found["threshold"]["located"][0]["by_line_off"]) < 0.05
    learned = found["learned"][0]
    (predicted,) = learned["predicted"]
    assert learned["units"] == predicted["units"] == 2
    assert learned["variance"] == pytest.approx(predicted["variance"], rel=0.05)
    assert out.with_suffix(".png").stat().st_size > 1000


def test_a_bisection_ends_at_the_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    made = script("collapse_linear")
    at: list[float] = []
    monkeypatch.setattr(made, "train", lambda pair, x, steps, beta: at.append(beta))
    monkeypatch.setattr(
        made, "variances", lambda pair, x: torch.tensor([max(0.0, 1 - at[-1] / 2.0)])
    )
    x = made.with_spectrum(torch.tensor(made.EIGENVALUES, dtype=torch.double), 100)
    assert made.bisection(x, 0, 2.0, 1) == pytest.approx(0.995 * 2.0, rel=0.004)


def test_where_a_learned_variance_can_rest() -> None:
    made = script("collapse_linear")
    known = torch.tensor(made.EIGENVALUES, dtype=torch.double)
    ((units, variance),) = made.optima(known, 1.0)
    assert units == 5 and variance == pytest.approx(known[5:].mean().item())
    numbers = [made.optima(known, beta)[0][0] for beta in (1.0, 2.0, 4.0, 8.0)]
    assert numbers == sorted(numbers, reverse=True) and numbers[-1] == 0


def test_mutual_information_is_at_most_the_logarithm_of_the_number_of_data() -> None:
    made, x = script("collapse"), torch.randn(50, 4)
    guide = pv.Amortized(pv.MeanField(2), pv.MLP(4, ()))
    with torch.no_grad():
        guide.head.weight.zero_()
        assert abs(made.information(guide, x)) < 1e-5  # q is the same for all
        guide.head.weight[:2].normal_()
        guide.head.bias[2:].fill_(-12.0)  # each datum has a place of its own
    assert made.information(guide, x) == pytest.approx(torch.tensor(50.0).log().item(), abs=1e-3)


def test_remedies_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, made = tmp_path / "out.json", script("collapse")
    monkeypatch.setattr(made, "HIDDEN", ((), (8,), (8, 8)))
    monkeypatch.setattr(made, "BETAS", (4.0,))
    few = ("none", "free bits, 0.5 nats", "lagging encoder")
    monkeypatch.setattr(made, "REMEDIES", {name: made.REMEDIES[name] for name in few})
    monkeypatch.setattr(made, "BATCH", 650)
    monkeypatch.setattr(made, "LEAD", 2)
    monkeypatch.setattr(made, "PARTICLES", 5)
    made.main(["--epochs=1", "--seeds=1", f"--json={out}", f"--folder={tmp_path / 'sweep'}"])

    found = json.loads(out.read_text())
    assert len(found["power"]) == 7
    assert len(found["remedies"]) == 6
    led = [row["epochs_led"] for row in found["remedies"] if row["remedy"] == "lagging encoder"]
    assert led == [1, 1]
    rate = {row["remedy"]: row["rate"] for row in found["remedies"] if row["data"] == "digits"}
    assert all(value >= 0 for value in rate.values())
    assert out.with_suffix(".png").stat().st_size > 1000
