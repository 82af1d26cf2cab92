"""What the studies of the KL term claim, with tiny arguments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pyro_vae import cli
from tests.scenarios import eager
from tests.test_experiments import script


@pytest.fixture(autouse=True)
def _no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)


def test_sigma_goes_where_the_closed_form_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, made = tmp_path / "out.json", script("kl_bottleneck_linear")
    monkeypatch.setattr(made, "BETAS", (1.0, 0.3))
    monkeypatch.setattr(made, "STEPS", (3, 30))
    made.main(["--num-data=500", "--epochs=80", f"--json={out}"])

    found = json.loads(out.read_text())
    for row in found["optima"]["rows"]:
        assert row["worst_ratio"] < 1.05, row
        assert row["spread"] == pytest.approx(row["predicted_spread"], rel=0.01)
    for row in found["descent"]["rows"]:
        assert row["worst_ratio"] < 1.05, row
    assert found["optima"]["rows"][1]["sigma"] < 0.27
    assert out.with_suffix(".png").stat().st_size > 1000


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge") / "run"
    sizes = ["--model.latent_dim=2", "--model.hidden=[8]", "--guide.hidden=[8]", "--epochs=1"]
    options = ["--data=digits", "--batch_size=128", "--warmup_epochs=0", *sizes]
    assert cli.main(["train", *options, f"--folder={folder}", "--quiet=true"]) == 0
    return folder


def test_without_the_kl_term_codes_are_points_far_from_the_prior(
    judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, made = tmp_path / "out.json", script("kl_bottleneck")
    monkeypatch.setattr(made, "COMPONENTS", 3)
    sizes = ["--data=digits", "--num-data=100", "--num-draws=10", "--num-codes=100", "--side=31"]
    sizes += ["--epochs=5", "--plane-epochs=4", "--few-epochs=1", "--num-few=50"]
    made.main([*sizes, "--judge", str(judge), f"--json={out}"])

    found = json.loads(out.read_text())
    nets = found["nets"]
    ends = {beta: nets[beta]["training"][-1] for beta in ("0", "1")}
    starts = {beta: nets[beta]["training"][0] for beta in ("0", "1")}
    for name in ("sigma", "spread", "train_distortion"):
        assert starts["0"][name] == starts["1"][name], name  # the same start
    assert ends["0"]["sigma"] < ends["1"]["sigma"] / 3
    assert ends["0"]["train_distortion"] < ends["1"]["train_distortion"]
    assert ends["0"]["test_rate"] > ends["1"]["test_rate"]

    for beta in ("0", "1"):
        told = nets[beta]["codes"]
        off = told["rate"] - told["information"] - told["marginal"]
        assert abs(off) < 1e-9 and told["information"] <= told["log_num_data"] + 1e-9
        assert told["marginal"] > told["gaussian_part"] > 0 or beta == "1"
    assert nets["0"]["codes"]["neighbour_in_sigmas"] > nets["1"]["codes"]["neighbour_in_sigmas"]
    assert len(nets["0"]["draws"]) == 4
    for row in nets["0"]["draws"].values():
        assert row["figures"]["distance"] > 0 and row["figures"]["missed"] > 0
    assert found["plane"]["0"]["hole"] > found["plane"]["1"]["hole"]
    assert out.with_suffix(".png").stat().st_size > 1000


def test_pictures_are_kept_whole() -> None:
    made = script("kl_bottleneck_views")
    x = torch.arange(12, dtype=torch.uint8).reshape(3, 2, 2)
    assert made.unpacked(made.packed(x), "uint8", 4).tolist() == x.flatten(1).tolist()
