"""A power failure at any moment of any command: whatever order the disk wrote in, each file is an
old one or a new one, whole; a run opens, goes on and ends as one that was left alone; and what a
command has told is written stays.
"""

from __future__ import annotations

import csv
import errno
import os
import random
import re
import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyro_vae.inference.job import read_checkpoint
from pyro_vae.inference.weights import digest_of, read_weights
from tests.faults.places import TINY, broken_promise, call
from tests.faults.power import Recorder, Tree, is_shown, laid_out, recorded
from tests.faults.scale import times
from tests.faults.tally import Tally

TRAIN = f"{TINY.replace('--epochs 1', '--epochs 2')} --device cpu"
LOOKS = times(1, 10_000)  # at folders that a power failure may leave
COMMANDS = {
    "evidence": "evidence run --num_data 3 --method.num_particles 30 --method.seed 1",
    "evidence elsewhere": "evidence run --num_data 3 --method.num_particles 9 --out deep/er/x.json",
    "compress": "compress run test deep/x.bits --num_data 3",
}
COMMANDS |= times(
    {},
    {
        "evidence, the same": "evidence run --num_data 5 --method.num_particles 3",
        "sample": "sample run --num_samples 3 --out a/b/x.png",
        "compare": "compare run --num_data 2 --num_particles 30 --guides amortized",
        "diagnose": "diagnose run --num_data 3 --num_particles 30 --num_simulations 20"
        " --num_draws 5",
        "export": "export run --num_data 2 --num_draws 30",
        "reconstruct": "reconstruct run --num_data 2 --out deep/x.png",
        "embed": "embed run --num_data 4 --num_prior 9",
        "impute": "impute run holes.npy --num_particles 30 --num_draws 3",
        "report": "report run --out pages/report.html",
        "rank": "rank run other --num_data 3 --method.num_particles 5 --out ranks/x.csv",
    },
)


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("PYRO_VAE_DEBUG", raising=False)
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def result(folder: Path) -> Any:
    """Weights and metrics, without what depends on the clock."""
    weights, _ = read_weights(folder / "weights.safetensors")
    with (folder / "metrics.csv").open() as file:
        rows = [
            {k: v for k, v in row.items() if k not in ("seconds", "data_per_second")}
            for row in csv.DictReader(file)
        ]
    return digest_of(weights), rows


def torn(recorder: Recorder, before: Tree, after: Tree) -> list[str]:
    """Files that may be left and are neither whole old ones nor whole new ones."""
    whole = {*recorder.written, *before.items(), *after.items()}
    return sorted(
        {p for t in recorder.trees.values() for p in t if is_shown(p) and (p, t[p]) not in whole}
    )


def files(root: Path) -> Tree:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def half(run: Path, ends: dict[int, Any]) -> str:
    """What does not go together in a run's folder; empty where all does."""
    if not (run / "checkpoint.pt").is_file():
        return "weights alone" if (run / "weights.safetensors").exists() else ""
    done = read_checkpoint(run)["position"]["epoch"]
    if (run / "weights.safetensors").exists():
        digest = digest_of(read_weights(run / "weights.safetensors")[0])
        if done not in ends or ends[done][0] != digest:
            return f"the checkpoint of epoch {done} and weights of another"
    return ""


def goes_on(run: Path, ends: dict[int, Any]) -> str:
    """What is wrong with the way a run opens and ends; empty where nothing is."""
    if told := broken_promise(call(["info", str(run)]), (0, 2)):
        return told
    config = run / "config.yaml"
    epochs = 1 if config.exists() and "epochs: 1\n" in config.read_text() else 2
    command = f"resume {run} --quiet true --device cpu"
    ended = call((command if config.exists() else f"train --folder {run} {TRAIN}").split())
    if ended.code != 0:
        return f"does not go on: {ended}"
    return "" if result(run) == ends[epochs] else "another end"


@pytest.mark.parametrize("kind", ["train", "resume"])
def test_a_training(kind: str, place: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally) -> None:
    ends: dict[int, Any] = {}
    command = f"train --folder run {TRAIN}"
    if kind == "resume":
        assert call(command.replace("--epochs 2", "--epochs 1").split()).code == 0
        ends[1] = result(place / "run")
        command = "resume run --epochs 2 --quiet true --device cpu"
    before = files(place)
    with recorded(place, monkeypatch) as recorder:
        assert call(command.split()).code == 0
    assert recorder.lost() == [] == torn(recorder, before, files(place))

    ends[2] = result(place / "run")
    trees = list(recorder.trees.values())
    chosen = random.Random(0).sample(range(len(trees)), min(LOOKS, len(trees)))
    found = []
    for number, tree in enumerate(trees):
        run = laid_out(tree, place.parent / f"left{number}") / "run"
        told = half(run, ends) or (goes_on(run, ends) if number in chosen else "")
        found += [(number, told)] if told else []
    print(f"{kind}: {len(trees)} orderings of {recorder.flushes} flushes, {len(found)} went wrong")
    tally("orderings of writes", len(trees), len(found))
    assert found == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command(
    name: str, trained: Path, place: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    shutil.copytree(trained, "run")
    old = (place / "run" / "evidence.json").read_bytes()
    if name == "rank":
        shutil.copytree("run", "other")
    if name == "impute":
        holed = np.where(np.arange(1280).reshape(20, 1, 8, 8) % 5, 0.0, np.nan)
        np.save("holes.npy", holed)
    before = files(place)
    with recorded(place, monkeypatch) as recorder:
        ended = call(COMMANDS[name].split())
    assert ended.code == 0, ended
    assert recorder.lost() == [] == torn(recorder, before, files(place))
    trees = recorder.trees.values()
    same = name == "evidence, the same"  # which replace the old ones, and differ in their seconds
    lost = [] if same else [tree for tree in trees if old not in tree.values()]
    print(f"{name}: {len(trees)} orderings of {recorder.flushes} flushes, {len(lost)} went wrong")
    tally("orderings of writes", len(trees), len(lost))
    assert lost == []


def failing(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flush of a folder fails."""
    flush = os.fsync

    def fail(handle: Any) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(code, os.strerror(code))
        flush(handle)

    monkeypatch.setattr(os, "fsync", fail)


def test_a_disk_that_fails_where_a_folder_is_flushed(
    trained: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained, "run")
    failing(errno.EIO, monkeypatch)
    ended = call(["sample", "run", "--num_samples", "2"])
    assert broken_promise(ended, (1,)) == ""
    assert re.search(r"run: cannot be flushed .* may be lost when the power fails", ended.error)


def test_a_drive_that_flushes_no_folders(
    trained: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained, "run")
    failing(errno.EINVAL, monkeypatch)
    assert call(["sample", "run", "--num_samples", "2"]).code == 0
