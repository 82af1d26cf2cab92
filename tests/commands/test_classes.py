"""Models, guides, optimizers, schedules and likelihoods by the names of their classes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.commands.calls import (
    GREY,
    SIZE,
    TINY,
    call,
    evidence,
    metrics,
    same_run,
    settings,
    tensors,
    train,
)


def test_a_guide_from_a_file_outside_the_package() -> None:
    folder = train("a", "--guide my_guides.MyGuide --guide.width 5", SIZE)
    assert settings(folder)["guide"] == {
        "class_path": "my_guides.MyGuide",
        "init_args": {"width": 5},
    }
    assert tensors(folder)["guide.net.0.weight"].shape == (5, 64)
    assert math.isfinite(evidence(folder, "--trust my_guides")["log_px"])
    assert call("reconstruct a --num_data 4 --trust my_guides.MyGuide") == 0
    assert call("train --config a/config.yaml --folder b --quiet true --trust my_guides") == 0
    assert same_run(folder, Path("b"))


def test_a_guide_with_a_parameter_outside_of_modules() -> None:
    folder = train("a", "--guide my_guides.ScaleGuide", SIZE)
    assert tensors(folder)["params.my scale"] != 0  # the logarithm of 1 when it started
    assert math.isfinite(evidence(folder, "--trust my_guides")["log_px"])


def test_a_model_from_a_file_outside_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    folder = train(
        "a", "--model my_guides.MyModel --model.scale 2 --guide.hidden [8]", "--quiet true"
    )
    assert settings(folder)["model"]["init_args"] == {"scale": 2.0}
    assert math.isfinite(evidence(folder, "--trust my_guides")["log_px"])
    for command in ("sample", "reconstruct", "interpolate", "traverse", "manifold", "embed"):
        assert call(f"{command} a --trust my_guides") == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (
            "--optimizer torch.optim.SGD --optimizer.lr 1e-4 --optimizer.momentum 0.9",
            {"lr": 1e-4, "momentum": 0.9},
        ),
        ("--optimizer RMSprop --optimizer.alpha 0.9", {"alpha": 0.9, "lr": 1e-3}),
    ],
)
def test_an_optimizer_by_class(options: str, kept: dict[str, float]) -> None:
    folder = train("a", options)
    assert settings(folder)["optimizer"]["init_args"].items() >= kept.items()
    assert metrics(folder)[0]["learning_rate"] == kept["lr"]


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ("--schedule ExponentialLR --schedule.gamma 0.5", [1e-3, 5e-4, 2.5e-4]),
        (
            "--schedule torch.optim.lr_scheduler.CosineAnnealingLR --schedule.T_max 2",
            [1e-3, 5e-4, 0],
        ),
        ("--optimizer.lr 0 --schedule ReduceLROnPlateau --schedule.patience 0", [0, 0, 0]),
    ],
)
def test_a_schedule_by_class(options: str, rates: list[float]) -> None:
    folder = train("a", f"--epochs 3 {options}")
    assert [row["learning_rate"] for row in metrics(folder)] == pytest.approx(rates, abs=1e-12)


def test_gaussian_likelihood_by_name() -> None:
    folder = train(
        "a", "--model.likelihood Gaussian --binarise none --model.likelihood.learn shared"
    )
    assert "model.likelihood.log_sigma" in tensors(folder)
    assert math.isfinite(evidence(folder)["log_px"])
    assert call("sample a --num_samples 4") == 0


def test_grey_pixels_under_bernoulli_only_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(f"train --folder no --epochs 1 {TINY} {GREY}") == 2
    assert "grey=True" in capsys.readouterr().err
    folder = train("yes", f"{GREY} --model.likelihood.grey true")
    assert math.isfinite(evidence(folder)["elbo"])


def test_every_table_says_that_grey_pixels_have_no_likelihood(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, said = (
        train("a", f"{GREY} --model.likelihood.grey true"),
        "these figures are cross-entropies, not log p(x)",
    )
    told = capsys.readouterr()
    assert said in told.out
    few, own = "--num_data 20 --num_particles 100", "--num_data 20 --method.num_particles 100"
    commands = {
        f"evidence a {own}": "evidence.json",
        f"evidence a --method Best {own} --method.num_temperatures 20": "evidence.json",
        f"diagnose a {few} --num_simulations 40 --num_draws 9": "diagnosis.json",
        f"compare a {few} --guides amortized --split test": "ledger/test.csv",
        "info a": "evidence.json",
    }
    for command, file in commands.items():
        assert call(command) == 0
        out = " ".join(capsys.readouterr().out.split())
        assert said in out and said in (folder / file).read_text(), command
        # table, verdict
        assert command.startswith(("diagnose", "info")) or "Best" in command or out.count(said) == 2


def test_no_table_of_a_likelihood_has_a_caveat(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "caveat" not in evidence(run) and call(f"info {run}") == 0
    assert "cross-entropies" not in capsys.readouterr().out


def test_convolutions() -> None:
    small = "--model.decoder.channels [6,4] --guide.encoder.channels [4,6]"
    folder = train("a", f"--model.decoder ConvDecoder --guide.encoder Conv {small}")
    assert tensors(folder)["guide.encoder.convolutions.2.weight"].shape == (6, 4, 3, 3)
    assert math.isfinite(evidence(folder)["log_px"])
