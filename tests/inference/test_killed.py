"""Runs that were killed before or between their files, and those that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pyro_vae import VAE, EncoderGuide, fit
from tests.inference.resumed import TINY, call, check_same, train


def test_killed_before_the_first_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both ways on are told, and the one that is told first works."""
    whole = train(tmp_path / "whole", "--epochs 2")
    run = train(tmp_path / "run", "--epochs 2")
    for path in run.iterdir():
        if path.name not in ("config.yaml", "data.json", "versions.json"):
            path.unlink()
    assert call(f"train --folder {run} {TINY}") == 2
    assert f"has not begun: `pyro-vae resume {run}` begins it" in capsys.readouterr().err
    assert call(f"resume {run} --quiet true") == 0
    check_same(run, whole)


def test_killed_before_the_settings(tmp_path: Path) -> None:
    """Nothing is known of the run yet, and a new one may begin there."""
    (tmp_path / "run").mkdir()
    for name in ("data.json", ".config.yaml.torn", ".lock"):
        (tmp_path / "run" / name).write_text("")
    whole = train(tmp_path / "whole", "--epochs 2")
    check_same(train(tmp_path / "run", "--epochs 2"), whole)


def test_killed_between_the_last_checkpoint_and_the_table(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", "--epochs 2")
    run = train(tmp_path / "run", "--epochs 2")
    lines = (run / "metrics.csv").read_text().splitlines(keepends=True)
    (run / "metrics.csv").write_text("".join(lines[:-1]))
    (run / "weights.safetensors").unlink()
    assert call(f"resume {run} --quiet true") == 0
    check_same(run, whole)
    assert (run / "metrics.csv").read_text() == "".join(lines)


def test_more_epochs_that_are_refused_leave_the_settings(tmp_path: Path) -> None:
    run = train(tmp_path / "run", "--epochs 2")
    (run / "config.yaml").write_text(
        (run / "config.yaml").read_text().replace("seed: 0", "seed: 1")
    )
    before = {path: path.read_bytes() for path in run.iterdir()}
    assert call(f"resume {run} --epochs 9 --quiet true") == 2
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_a_refused_training_leaves_no_folder(tmp_path: Path) -> None:
    assert call(f"train --folder {tmp_path}/a/b --optimizer.lr -1 {TINY}") == 2
    with pytest.raises(ValueError, match="learning rate"):
        fit(
            *programs(),
            torch.zeros(20, 4),
            folder=tmp_path / "a" / "b",
            optimizer=refusing,
            quiet=True,
        )
    assert not (tmp_path / "a").exists()


def test_a_refusal_at_the_first_step_leaves_no_folder(tmp_path: Path) -> None:
    model, guide = programs()

    def failing(x: torch.Tensor, index: Any = None) -> Any:
        if guide.training:
            raise ValueError("the first step fails")
        return model(x, index)

    with pytest.raises(ValueError, match="the first step fails"):
        fit(
            failing,
            guide,
            torch.zeros(20, 4),
            folder=tmp_path / "a",
            epochs=1,
            engine="pyro",
            quiet=True,
        )
    assert not (tmp_path / "a").exists()


def programs() -> tuple[VAE, EncoderGuide]:
    return VAE((4,), 2, (4,)), EncoderGuide((4,), 2, (4,))


def refusing(parameters: Any) -> Any:
    return torch.optim.Adam(parameters, lr=-1)
