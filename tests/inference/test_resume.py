"""Stopped and resumed equals uninterrupted, bit for bit: killed, interrupted by Ctrl-C, or failed
in the middle.
"""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
import yaml
from pyro.infer import SVI

from pyro_vae import VAE, EncoderGuide, fit
from pyro_vae.cli import main
from pyro_vae.inference import svi
from pyro_vae.inference.weights import read_weights

TINY = "--quiet true --model.hidden [16] --model.latent_dim 4 --guide.hidden [16]"
LONG = f"{TINY} --epochs 8 --batch_size 32 --device cpu"  # 41 steps an epoch
FATAL = f"{LONG} --guide fatal_guide.Fatal --guide.hidden [16]"
FATAL_STEP = 2 * 41 + 20  # in the middle of the third epoch
FATAL_GUIDE = """
import os, signal
from pyro_vae import EncoderGuide

class Fatal(EncoderGuide):
    steps = 0

    def forward(self, x, index=None):
        self.steps += self.training  # training steps alone: checks and validation run in eval mode
        if self.steps == int(os.environ.get("FATAL_STEP", -1)):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x, index)
"""
PROGRAM = Path(sys.executable).with_name("pyro-vae")


def call(arguments: str) -> int:
    pyro.clear_param_store()  # as in a new process
    return main(arguments.split())


def train(folder: Path, options: str) -> Path:
    assert call(f"train --folder {folder} {TINY} {options}") == 0
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv without what depends on the clock."""
    with (folder / "metrics.csv").open() as file:
        return [
            {k: v for k, v in r.items() if k not in ("seconds", "data_per_second")}
            for r in csv.DictReader(file)
        ]


def position(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoint.pt", weights_only=True)["position"]


def check_same(resumed: Path, uninterrupted: Path) -> None:
    """Weights, optimizer and generators equal bit for bit, and all metrics but timings."""
    x, y = (
        torch.load(folder / "checkpoint.pt", weights_only=True)
        for folder in (resumed, uninterrupted)
    )
    assert differences(x, y, "checkpoint.pt") == []
    x, y = (read_weights(folder / "weights.safetensors")[0] for folder in (resumed, uninterrupted))
    assert differences(x, y, "weights.safetensors") == []
    assert rows(resumed) == rows(uninterrupted)
    hidden = [p.name for p in resumed.iterdir() if p.name.startswith(".")]
    assert hidden == [".lock"], "a temporary file was left"


def differences(x: Any, y: Any, name: str) -> list[str]:
    """Names of what differs between two states, timings left out."""
    if isinstance(x, dict) and isinstance(y, dict):
        if x.keys() != y.keys():
            return [f"{name}: {sorted(map(str, x.keys() ^ y.keys()))}"]
        skip = {"seconds", "data_per_second", "run"}
        return [
            d for key in x if key not in skip for d in differences(x[key], y[key], f"{name}/{key}")
        ]
    if isinstance(x, list | tuple) and isinstance(y, list | tuple):
        if len(x) != len(y):
            return [f"{name}: length {len(x)} against {len(y)}"]
        return [
            d
            for i, (a, b) in enumerate(zip(x, y, strict=True))
            for d in differences(a, b, f"{name}/{i}")
        ]
    if isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor):
        return [] if torch.equal(x, y) else [name]
    return [] if x == y or (x != x and y != y) else [f"{name}: {x!r} against {y!r}"]


# a process that is stopped


@dataclass
class Stopped:
    """What a stopped process left."""

    folder: Path
    code: int
    error: str
    before: dict[str, Any]


def start(folder: Path, options: str, **variables: str) -> subprocess.Popen[str]:
    command = [str(PROGRAM)] if PROGRAM.exists() else [sys.executable, "-m", "pyro_vae.cli"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    return subprocess.Popen(
        [*command, "train", "--folder", str(folder), *options.split()],
        cwd=folder.parent,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def stop(process: subprocess.Popen[str], folder: Path, number: int) -> Stopped:
    """Send the signal half an epoch after the second one ended."""
    deadline = time.monotonic() + 120
    while not ((folder / "metrics.csv").exists() and len(rows(folder)) >= 2):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no epoch was done"
        time.sleep(0.002)
    with (folder / "metrics.csv").open() as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    time.sleep(seconds[-1] / len(seconds) / 2)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    return Stopped(folder, process.returncode, error, position(folder))


@dataclass
class Story:
    """The same training twice."""

    interrupted: Stopped
    uninterrupted: Path


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A process of the console script that is stopped; the other runs while it is importing."""
    root = tmp_path_factory.mktemp("story")
    process = start(root / "interrupted", LONG)
    try:
        whole = train(root / "whole", LONG)
        yield Story(stop(process, root / "interrupted", signal.SIGINT), whole)
    finally:
        process.kill()
        process.wait()


def test_killed_within_an_epoch_and_resumed_equals_uninterrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fatal_guide.py").write_text(FATAL_GUIDE)
    monkeypatch.syspath_prepend(tmp_path)
    process = start(tmp_path / "killed", FATAL, FATAL_STEP=str(FATAL_STEP))
    whole = train(tmp_path / "whole", FATAL)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert (
        position(tmp_path / "killed")["epoch"] == 2
        and not (tmp_path / "killed" / "weights.safetensors").exists()
    )
    (tmp_path / "killed" / ".checkpoint.pt.torn").write_bytes(
        b"what a kill in the middle of writing leaves"
    )
    assert call(f"resume {tmp_path / 'killed'} --quiet true --device cpu --trust fatal_guide") == 0
    check_same(tmp_path / "killed", whole)


def test_interrupted_and_resumed_equals_uninterrupted(story: Story) -> None:
    run = story.interrupted
    assert run.code == 130
    assert run.error == "pyro-vae: interrupted\n"
    assert 2 <= run.before["epoch"] < 8
    assert not (run.folder / "weights.safetensors").exists()
    assert call(f"resume {run.folder} --quiet true --device cpu") == 0
    check_same(run.folder, story.uninterrupted)


# a failure in this process, at a chosen step


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
        patch.setattr(svi, "_close_epoch", fail)
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


# a run that has ended


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


# a run that was killed before or between its files


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
