"""Data and likelihood are made to match, or are refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from pyro_vae import open_run
from tests.commands.calls import TINY, call, own, parts, same_run, settings, train


def test_photographs_are_dequantised_under_a_gaussian(capsys: pytest.CaptureFixture[str]) -> None:
    light = np.random.RandomState(0).rand(60, 1, 1)
    grey = (40 + 150 * light + 10 * np.random.RandomState(1).rand(60, 4, 5)).astype(np.uint8)
    assert call(f"train --data {own('grey.npy', grey)} --folder grey --epochs 2") == 0
    out, err = capsys.readouterr()
    assert "60" not in out and "with uniform noise between the grey levels (dequantise)" in err
    assert "VAE, Gaussian, one sigma learned; 9 latent units" in err and "bits a value" in out
    kept = settings(Path("grey"))
    assert (
        kept["binarise"] == "dequantise"
        and kept["batch_size"] == 16
        and kept["warmup_epochs"] == 1.0
    )
    assert kept["model"]["init_args"]["latent_dim"] == 9
    assert kept["model"]["init_args"]["likelihood"]["class_path"] == "pyro_vae.Gaussian"
    assert call("evidence grey --method.num_particles 30") == 0
    found = json.loads((Path("grey") / "evidence.json").read_text())
    expected = 8 - found["log_px"] / (20 * math.log(2))
    assert found["log_px_bits_per_dim"] == pytest.approx(expected)
    assert all(
        call(f"{command} grey") == 0 for command in ("sample", "reconstruct --num_data 6", "info")
    )
    assert call("train --config grey/config.yaml --folder again --quiet true") == 0
    assert same_run(Path("grey"), Path("again"))


def test_a_table_has_a_sigma_for_each_column(capsys: pytest.CaptureFixture[str]) -> None:
    table = np.random.RandomState(0).randn(60, 5) * np.logspace(-3, 3, 5)
    assert call(f"train --data {own('table.npy', table)} --folder table --epochs 2") == 0
    assert (
        "real values\nmodel  VAE, Gaussian, a sigma for each value learned; 4 latent units"
        in capsys.readouterr().err
    )
    assert settings(Path("table"))["binarise"] == "none"
    units = parts(Path("table"), "guide")["standardise.scale"]
    assert units.shape == (5,) and units[4] / units[0] > 1e5


def test_counts_are_asked_about(capsys: pytest.CaptureFixture[str]) -> None:
    name = own("counts.npy", np.random.RandomState(0).poisson(3.0, (60, 5)))
    assert call(f"train --data {name} --folder counts --epochs 1") == 2
    assert (
        "pixels, counts, categories or grades? Say values='pixels' (--values pixels)"
        in capsys.readouterr().err
    )
    assert not Path("counts").exists()
    assert call(f"train --data {name} --folder counts --epochs 1 --values real --quiet true") == 0
    assert settings(Path("counts"))["values"] == "real"


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ("--model.likelihood pyro_vae.Gaussian", "dequantise"),
        ("--model.likelihood pyro_vae.Bernoulli", "dynamic"),
        ("--model.likelihood pyro_vae.Bernoulli --model.likelihood.grey true", "none"),
        ("--model.likelihood BetaBinomial", "none"),
        ("--binarise threshold", "threshold"),
        ("--binarise dequantise", "dequantise"),
    ],
)
def test_who_names_one_gets_the_other_to_match(options: str, rule: str) -> None:
    folder = train("a", f"{options} --valid 0")
    assert settings(folder)["binarise"] == rule
    assert json.loads((folder / "data.json").read_text())["binarise"] == rule


@pytest.mark.parametrize(
    ("likelihood", "told"),
    [
        ("Mixed --model.likelihood.kinds [real,counts,categories:4,binary]", "Mixed: 1 real, 1 c"),
        ("StudentT --model.likelihood.df 4", "StudentT of 4 degrees of freedom"),
    ],
)
def test_a_likelihood_of_a_table_by_name(
    likelihood: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    np.save("table.npy", np.column_stack([*rng.integers(0, 4, (3, 80)), rng.integers(0, 2, 80)]))
    line = "train --data table.npy --values real --folder a --epochs 1 --model.hidden [4]"
    assert call(f"{line} --model.likelihood {likelihood}") == 0
    assert told in capsys.readouterr().err
    assert call("evidence a --num_data 5 --method Importance --method.num_particles 20") == 0
    assert call("resume a --epochs 2") == 0


def test_a_mismatch_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        call(f"train {TINY} --binarise dynamic --model.likelihood pyro_vae.Gaussian --folder a")
        == 2
    )
    assert "binarise='dynamic' makes no data for a Gaussian likelihood" in capsys.readouterr().err
    assert not Path("a").exists()


def test_a_table_keeps_its_kinds_and_its_context(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    towns = rng.choice(["Bern", "Rome"], 60)
    rows = [f"{rng.normal():.4f},{rng.poisson(4)},{town}" for town in towns]
    Path("t.csv").write_text("\n".join(["height,visits,town.of", *rows]))
    asked = f"--data t.csv {TINY} --kinds.visits real --epochs 1 --quiet false"
    assert call(f"train {asked} --folder kept --context [town.of]") == 0
    assert (
        "of 2 real values, each with a context of 2 values\nmodel  VAE" in capsys.readouterr().err
    )
    kept = settings(Path("kept"))
    assert kept["kinds"] == {"visits": "real"} and kept["context"] == ["town.of"]

    data = open_run("kept").data
    assert data.kinds == ("real", "real") and data.column_names == ("height", "visits")
    assert data.context is not None and data.context_names == ("town.of=Bern", "town.of=Rome")
    assert data.context.argmax(1).tolist() == (towns == "Rome").astype(int).tolist()
    assert call("info kept") == 0 and call("evidence kept --method.num_particles 5") == 0
    assert "columns (height real, visits real), context ['town.of=Bern'" in capsys.readouterr().out

    assert call("train --config kept/config.yaml --folder again --quiet true") == 0
    assert same_run(Path("kept"), Path("again"))
    assert call("resume kept") == 0
    config = Path("kept/config.yaml")
    config.write_text(config.read_text().replace("visits: real", "visits: drop"))
    assert call("resume kept") == 2  # another table


def test_labels_are_a_context() -> None:
    folder = train("a", "--context labels")
    assert settings(folder)["context"] == "labels"
    assert open_run(folder).data.context is not None
