"""The options of the recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.commands.calls import metrics, parts, settings, tensors, train


def test_analytic_kl(run: Path) -> None:
    folder = train("a", "--loss TraceMeanField_ELBO")
    assert settings(folder)["loss"]["class_path"] == "pyro.infer.TraceMeanField_ELBO"
    sampled, analytic = metrics(run)[0]["train_loss"], metrics(folder)[0]["train_loss"]
    assert sampled != analytic
    assert sampled == pytest.approx(analytic, rel=0.01)


def test_beta_weighs_the_rate(run: Path) -> None:
    folder = train("a", "--epochs 2 --beta 0")
    assert [row["beta"] for row in metrics(folder)] == [0, 0]
    assert metrics(folder)[1]["valid_rate"] > metrics(run)[1]["valid_rate"]


def test_warmup() -> None:
    # 3 steps an epoch: 0, 1/3, 2/3, ...
    folder = train("a", "--epochs 3 --batch-size 512 --beta 2 --warmup-epochs 2")
    assert [row["beta"] for row in metrics(folder)] == pytest.approx([2 / 3, 5 / 3, 2])


def test_clip_norm_bounds_the_step() -> None:
    sgd = "--optimizer torch.optim.SGD --batch_size 2000"  # one step
    start, end = (
        tensors(train(n, f"{sgd} --optimizer.lr {lr} --clip_norm 0.5"))
        for n, lr in (("a", 0), ("b", 0.1))
    )
    moved = sum((end[name] - start[name]).square().sum() for name in start).sqrt()
    assert moved.item() == pytest.approx(0.1 * 0.5, rel=1e-3)


def test_patience_stops_and_keeps_the_best() -> None:
    folder = train(
        "a", "--epochs 9 --patience 2 --warmup_epochs 0 --optimizer.lr 0.05 --batch_size 64"
    )
    scores = [row["valid_elbo"] for row in metrics(folder)]
    best = max(range(len(scores)), key=scores.__getitem__)
    assert len(scores) == best + 3 < 9
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    kept, last = state["position"]["best_weights"], state["weights"]
    assert all(
        torch.equal(value, kept["model"][name]) for name, value in parts(folder, "model").items()
    )
    assert not all(
        torch.equal(value, last["model"][name]) for name, value in parts(folder, "model").items()
    )
