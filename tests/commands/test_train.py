"""`train`: its folder, its sentences, its settings."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from tests.commands.calls import TINY, call, metrics, same_run, settings, train

FILES = [
    ".lock",
    "checkpoint.pt",
    "config.yaml",
    "data.json",
    "metrics.csv",
    "run.json",
    "units.csv",
    "versions.json",
    "weights.safetensors",
]


def test_train_leaves_a_run_folder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sorted(p.name for p in run.iterdir() if not p.name.startswith("events.")) == FILES
    assert settings(run)["epochs"] == 2
    assert settings(run)["model"]["init_args"]["latent_dim"] == 4
    assert {"python", "torch", "pyro-ppl", "device"} <= json.loads(
        (run / "versions.json").read_text()
    ).keys()
    rows = metrics(run)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["train_loss"] < rows[0]["train_loss"]
    assert all(
        math.isclose(r["valid_elbo"], -(r["valid_rate"] + r["valid_distortion"]), rel_tol=1e-6)
        for r in rows
    )


def test_train_says_where_the_run_is(capsys: pytest.CaptureFixture[str]) -> None:
    train("somewhere/deep", "--quiet false")
    out, error = capsys.readouterr()
    learned = (
        r"after 1 epochs the ELBO of 200 validation data is -\d+\.\d+ nats a datum"
        r" \(0\.\d+ bits a value\)"
    )
    units = r"\d of 4 latent units active, rate -?\d+\.\d+ nats"
    assert re.fullmatch(
        rf"somewhere/deep: {learned}; {units}; next: pyro-vae evidence somewhere/deep\n", out
    )
    data, model, epoch = error.splitlines()
    assert data == (
        "data   digits: 1,297 train + 200 valid + 300 test data of 1 x 8 x 8 pixels, binarised"
        " anew at each visit (dynamic)"
    )
    assert (
        model
        == "model  VAE, Bernoulli; 4 latent units; batches of 64, KL warm-up over 0.5 of 1 epochs"
    )
    assert re.match(
        r"epoch 1/1  train loss \d+\.\d+  valid ELBO -\d+\.\d+ nats  active units \d"
        r"  [\d,]+ data/s",
        epoch,
    )


def test_hyphens_and_underscores_are_one() -> None:
    a = train("a", "--batch_size 64 --warmup_epochs=1 --optimizer.weight_decay 0.01")
    b = train(
        "b", "--batch-size 64 --warmup-epochs=1 --optimizer.weight-decay 0.01".replace("_", "-")
    )
    assert same_run(a, b)
    assert settings(b)["optimizer"]["init_args"]["weight_decay"] == 0.01


def test_hyphens_in_values_stay() -> None:
    np.save("my-own_data.npy", np.random.default_rng(0).integers(0, 2, (40, 16)))
    assert settings(train("a", "--data=my-own_data.npy"))["data"] == "my-own_data.npy"


def test_config_repeats_a_run_bit_for_bit(run: Path) -> None:
    assert call(f"train --config {run}/config.yaml --folder other --quiet true") == 0
    assert same_run(run, Path("other"))
    assert settings(run) == settings(Path("other"))


def test_an_option_wins_over_the_configuration(run: Path) -> None:
    assert (
        call(f"train --config {run}/config.yaml --folder other --epochs 1 --seed 1 --quiet true")
        == 0
    )
    assert settings(Path("other")) == settings(run) | {"epochs": 1, "seed": 1}
    assert metrics(Path("other")) != metrics(run)[:1]


def test_default_folders_are_counted() -> None:
    for _ in range(2):
        assert call(f"train --epochs 1 {TINY}") == 0
    assert all(Path(f"runs/digits-{n}/weights.safetensors").is_file() for n in (1, 2))


def test_the_data_options_are_kept() -> None:
    folder = train("a", "--binarise threshold --valid 0")
    assert settings(folder)["binarise"] == "threshold"
    assert settings(folder)["valid"] == 0
    assert math.isnan(metrics(folder)[0]["valid_elbo"])
