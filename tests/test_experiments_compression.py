"""experiments/compression.py, with tiny arguments, and what it claims."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.commands.calls import train
from tests.test_experiments import ROOT, script

made = script("compression")


def test_the_oracle_meets_its_bound_and_nears_the_exact_value() -> None:
    rows = made.oracle([1, 10, 100], 40, 50)
    for row in rows:
        assert abs(row["bits"] - row["bound"]) < 5 * row["error"]
    gaps = [row["bits"] - row["exact"] for row in rows]
    assert gaps[0] > gaps[1] > gaps[2] > -5 * rows[2]["error"]
    assert gaps[2] < 0.2 * gaps[0]


def test_other_compressors_are_measured_on_the_same_bits() -> None:
    x = torch.zeros(40, 1, 28, 28)
    noise = torch.randint(0, 2, (40, 1, 28, 28)).float()
    found = made.packed(x)
    assert all(bits < 0.05 for name, bits in found.items() if name != "PNG, each image")
    assert all(1 <= bits < 3 for bits in made.packed(noise).values())


def test_the_study_comes_back_exactly_and_says_what_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run, out = train("run"), tmp_path / "out.json"
    seen = {}

    def here(run: Path, data: bytes) -> tuple[np.ndarray, float]:  # in this process: it takes less
        import pyro_vae as pv

        parts = pv.open_run(run, need_data=False)
        seen["bytes"] = len(data)
        return pv.decompress(parts.model, parts.guide, data).numpy(), 0.0

    monkeypatch.setattr(made, "elsewhere", here)
    sizes = [
        "--num-data=50",
        "--num-latents-data=12",
        "--num-oracle=5",
        "--repetitions=5",
        "--latents",
        "1",
        "4",
    ]
    made.main([str(run), *sizes, f"--json={out}"])

    results = json.loads(out.read_text())
    whole = results["whole"]
    assert whole["back_exactly"] and whole["bytes"] == seen["bytes"]
    assert whole["bits_per_dim"] == pytest.approx(8 * seen["bytes"] / (50 * 64))
    # all that is counted besides is known: the initial bits, and the header
    besides = (whole["initial_bits"] + 8 * 80) / (50 * 64)
    off = whole["difference"] - besides
    assert abs(off) < 5 * whole["difference_error"] + 0.01

    assert set(results["sameness"]["exact"].values()) == {0.0}
    first, second = results["by_latents"]
    assert first["back_exactly"] and second["back_exactly"] and second["latents"] == 4
    for row in (first, second):
        assert abs(row["difference"]) < 5 * row["difference_error"]
    assert second["predicted"] < first["predicted"]
    assert out.with_suffix(".png").stat().st_size > 10_000
    assert "bits-back, everything counted" in capsys.readouterr().out


def test_the_kept_results_say_what_they_claim() -> None:
    kept = json.loads((ROOT / "experiments" / "results" / "compression.json").read_text())
    whole = kept["whole"]
    assert whole["back_exactly"] and whole["num_data"] == 10_000
    published = json.loads((ROOT / "experiments" / "mnist_gated" / "evidence.json").read_text())
    elbo = -published["elbo"] / (784 * math.log(2))
    assert abs(whole["predicted"] - elbo) < 5e-4 and abs(whole["bits_per_dim"] - elbo) < 1e-3
    assert all(row["back_exactly"] for row in kept["by_latents"])
    bits = [row["bits"] for row in kept["by_latents"]]
    assert bits == sorted(bits, reverse=True)
