"""Runs that fail, or that have ended, go on to the same end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyro.infer import SVI

from pyro_vae.inference import svi
from tests.inference.resumed import TINY, call, check_same, position, rows, train


class Failure(Exception):
    """Stands for anything that stops a run."""


Failing = Callable[[str, int], None]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Run a command, with a checkpoint after every step, that fails after `number` steps."""

    def run(arguments: str, number: int) -> None:
        step, left = SVI.step, iter(range(number))

        def limited(self: SVI, *args: Any, **kwargs: Any) -> Any:
            if next(left, None) is None:
                raise Failure
            return step(self, *args, **kwargs)

        with monkeypatch.context() as patch, pytest.raises(Failure):
            patch.setattr(svi, "_SAVE_EVERY", -1.0)
            patch.setattr(SVI, "step", limited)
            call(arguments)

    return run


MOMENTUM = "--optimizer torch.optim.SGD --optimizer.momentum 0.9 --optimizer.lr 1e-4"

RECIPES = {
    "cosine, warm-up, clipping": f"{MOMENTUM} --schedule CosineAnnealingLR --schedule.T_max 3"
    " --warmup_epochs 2.5 --clip_norm 5 --beta 0.7",
    "one cycle, patience": "--schedule OneCycleLR --schedule.max_lr 0.01 --schedule.total_steps 3"
    " --patience 2",
    "plateau, static, analytic": "--optimizer torch.optim.AdamW --binarise static"
    " --loss TraceMeanField_ELBO --schedule ReduceLROnPlateau --schedule.patience 0"
    " --schedule.threshold 10",
    "milestones, no validation": "--valid 0 --optimizer RMSprop --schedule MultiStepLR"
    " --schedule.milestones [1,2]",
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_failed_in_an_epoch_and_resumed(recipe: str, tmp_path: Path, failing: Failing) -> None:
    options = f"--epochs 3 --batch_size 200 {RECIPES[recipe]}"  # 7 or 8 steps an epoch
    whole = train(tmp_path / "whole", options)
    failing(f"train --folder {tmp_path / 'run'} {TINY} {options}", 11)
    at = position(tmp_path / "run")
    assert at["epoch"] == 1 and 0 < at["step"] < 7 and len(at["history"]) == 1
    assert call(f"resume {tmp_path / 'run'} --quiet true") == 0
    check_same(tmp_path / "run", whole)


def test_stopped_after_the_last_step_of_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All steps are done and the epoch is open: the validation and schedule are still to come."""

    def fail(*arguments: Any) -> None:
        raise Failure

    options = "--epochs 2 --batch_size 200 --schedule ExponentialLR --schedule.gamma 0.5"
    whole = train(tmp_path / "whole", options)
    with monkeypatch.context() as patch, pytest.raises(Failure):
        patch.setattr(svi, "_SAVE_EVERY", -1.0)
        patch.setattr(svi, "close_epoch", fail)
        train(tmp_path / "run", options)
    assert (position(tmp_path / "run")["epoch"], position(tmp_path / "run")["step"]) == (0, 7)
    assert call(f"resume {tmp_path / 'run'} --quiet true") == 0
    check_same(tmp_path / "run", whole)


def test_stopped_twice(tmp_path: Path, failing: Failing) -> None:
    options = "--epochs 3 --batch_size 200"
    whole = train(tmp_path / "whole", options)
    failing(f"train --folder {tmp_path / 'run'} {TINY} {options}", 3)
    failing(f"resume {tmp_path / 'run'} --quiet true", 9)
    assert position(tmp_path / "run")["epoch"] == 1
    assert call(f"resume {tmp_path / 'run'} --quiet true") == 0
    check_same(tmp_path / "run", whole)


def test_patience_survives(tmp_path: Path, failing: Failing) -> None:
    """At rate 0 the first epoch is best; the run stops after the third, wherever resumed."""
    options = (
        "--epochs 9 --batch_size 200 --patience 2 --warmup_epochs 0 --optimizer"
        " torch.optim.SGD --optimizer.lr 0"
    )
    whole = train(tmp_path / "whole", options)
    assert len(rows(whole)) == 3
    failing(f"train --folder {tmp_path / 'run'} {TINY} {options}", 17)
    assert position(tmp_path / "run")["stale"] == 1
    assert call(f"resume {tmp_path / 'run'} --quiet true") == 0
    check_same(tmp_path / "run", whole)


def test_resuming_a_finished_run_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path / "run", "--epochs 2")
    names = ("config.yaml", "metrics.csv", "versions.json", "checkpoint.pt")
    before = [(run / name).read_bytes() for name in names]
    weights = (run / "weights.safetensors").read_bytes()
    assert call(f"resume {run} --quiet true") == 0
    assert [(run / name).read_bytes() for name in names] == before
    assert (run / "weights.safetensors").read_bytes() == weights
    assert f"{run}: after 2 epochs" in capsys.readouterr().out


def test_more_epochs_equal_all_epochs_at_once(tmp_path: Path) -> None:
    options = "--warmup_epochs 3 --beta 0.5"
    whole = train(tmp_path / "whole", f"--epochs 4 {options}")
    run = train(tmp_path / "run", f"--epochs 2 {options}")
    assert call(f"resume {run} --epochs 4 --quiet true") == 0
    check_same(run, whole)
    assert yaml.safe_load((run / "config.yaml").read_text())["epochs"] == 4
