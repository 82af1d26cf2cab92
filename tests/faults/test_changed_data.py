"""Data that have changed since a run was trained on them: every command that reads them says so,
names them, and computes and writes nothing; data that change during a training stop it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from PIL import Image

import pyro_vae as pv
from pyro_vae.data import as_dataset
from pyro_vae.inference import svi
from pyro_vae.inference.closing import close_epoch
from tests.faults.places import TINY, broken_promise, call, snapshot
from tests.faults.scale import times
from tests.faults.tally import Tally

X = np.random.default_rng(0).integers(0, 2, (60, 4, 4)).astype(np.uint8)


def write_npy(path: Path, x: Any) -> None:
    with path.open("wb") as file:
        np.save(file, x)


def write_npz(path: Path, x: Any) -> None:
    np.savez(path, train=x[:-10], test=x[-10:])


def write_csv(path: Path, x: Any) -> None:
    head = ",".join(f"c{n}" for n in range(x[0].size))
    np.savetxt(path, x.reshape(len(x), -1), "%d", ",", header=head, comments="")


def write_folder(path: Path, x: Any) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    for number, row in enumerate(x):
        Image.fromarray(255 * row).save(path / f"{number:03}.png")


SOURCES: dict[str, tuple[str, Callable[[Path, Any], None], str]] = {
    "array": ("x.npy", write_npy, ""),
    "mapped": ("x.npy", write_npy, "--memory_map true"),
    "parts": ("x.npz", write_npz, ""),
    "table": ("x.csv", write_csv, ""),
    "folder": ("pictures", write_folder, ""),
    "mapped folder": ("pictures", write_folder, "--memory_map true"),
}
COMMANDS = {
    "resume": "resume run --epochs 2 --quiet true",
    "evidence": "evidence run --num_data 3 --method.num_particles 3",
    "compress": "compress run test x.bits --num_data 2",
    "report": "report run --out report.html",
    "compare": "compare run --num_data 2 --num_particles 30 --guides amortized",
    "diagnose": "diagnose run --num_data 3 --num_particles 30 --num_simulations 20 --num_draws 5",
    "export": "export run --num_data 2 --num_draws 30",
    "embed": "embed run --num_data 4 --num_prior 9",
    "reconstruct": "reconstruct run --num_data 2 --out x.png",
    "interpolate": "interpolate run --out x.png",
    "rank": "rank run other --num_data 3",
}
CHANGES = ("train", "valid", "test", "fewer", "more", "smaller", "torn", "gone")
SHORT = [("array", "valid"), ("mapped", "train"), ("table", "fewer"), ("mapped folder", "gone")]


def changed(kind: str, numbers: dict[str, int]) -> Any:
    """The data with a change: one value of a row of a part, or more."""
    x = X.copy()
    if kind in numbers:
        x[numbers[kind], 1, 1] ^= 1
        return x
    return {"fewer": x[:-1], "more": np.concatenate([x, x[:1]]), "smaller": x[:, :3]}[kind]


def spoil(kind: str, path: Path, write: Callable[[Path, Any], None], numbers: Any) -> None:
    """Change what lies at a path."""
    inside = path / "007.png" if path.is_dir() else path
    if kind == "torn":
        inside.write_bytes(inside.read_bytes()[:20])
    elif kind == "gone":
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    else:
        write(path, changed(kind, numbers))


@pytest.mark.parametrize(("source", "kind"), times(SHORT, list(product(SOURCES, CHANGES))))
def test_since_the_training(
    source: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYRO_VAE_DEBUG", raising=False)
    name, write, options = SOURCES[source]
    write(tmp_path / name, X)
    whole = f"train --data ./{name} --folder run --device cpu {options} {TINY}"
    assert call(whole.split()).code == 0
    data = pv.load(f"./{name}")
    numbers = {
        part.name: int(part.numbers()[0]) for part in (data.train, data.valid, data.test) if part
    }

    shutil.copytree("run", "other")
    spoil(kind, tmp_path / name, write, numbers)
    before, found = snapshot(tmp_path), []
    for command in list(COMMANDS)[: times(2, None)]:
        ended = call(COMMANDS[command].split())
        told = broken_promise(ended, (2,))
        if not told and name not in ended.error:
            told = f"{name} is not named: {ended.error}"
        if not told and snapshot(tmp_path) != before:
            told = "something was written"
        found += [(command, told)] if told else []
    print(f"{source}, {kind}: {times(2, len(COMMANDS))} commands, {len(found)} went wrong")
    tally("commands on changed data", times(2, len(COMMANDS)), len(found))
    assert found == []


def test_new_data_that_are_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the error says of them is true; data that are written anew are the same; and a run of an
    earlier version knows a checksum of its test data alone.
    """
    monkeypatch.chdir(tmp_path)
    write_npy(Path("x.npy"), X)
    assert call(f"train --data x.npy --folder run {TINY}".split()).code == 0
    write_npy(Path("x.npy"), X.astype(np.float64))
    pv.open_run("run")
    write_npy(Path("x.npy"), 1 - X)
    with pytest.raises(ValueError, match="its train and valid and test data have other values"):
        pv.open_run("run")

    known = Path("run/data.json")
    known.write_text(known.read_text().replace('"rows"', '"other"'))
    with pytest.raises(ValueError, match="its test data have other values"):
        pv.open_run("run")
    write_npy(Path("x.npy"), X)
    pv.open_run("run")
    write_npy(Path("x.npy"), 1 - X)
    known.unlink()
    pv.open_run("run")


def fitted(data: pv.Dataset, **options: Any) -> pv.Run:
    pyro.clear_param_store()
    torch.manual_seed(0)
    model = pv.VAE(data.shape, latent_dim=2, hidden=(8,), likelihood=pv.Bernoulli())
    guide = pv.Amortized(pv.MeanField(2), pv.MLP(data.shape, (8,)))
    settings: dict[str, Any] = {"epochs": 3, "batch_size": 16, "quiet": True, "engine": "pyro"}
    return pv.fit(model, guide, data, **(settings | options))


def after_an_epoch(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something at the end of the first epoch."""

    def closed(*args: Any) -> Any:
        found = close_epoch(*args)
        if args[1].epoch == 1:
            act()
        return found

    monkeypatch.setattr(svi, "close_epoch", closed)


def mapped(path: Path, workers: int = 0) -> pv.Dataset:
    return as_dataset(np.load(path, mmap_mode="r"), 6, workers=workers)


def edit(path: Path, number: int) -> None:
    there = np.load(path, mmap_mode="r+")
    there[number, 1, 1] ^= 1
    there.flush()


def hidden(data: pv.Dataset) -> int:
    """The number of a train row that is not in the sample by which data are told apart."""
    assert isinstance(data.train, pv.Stream)
    return min({*data.train.numbers().tolist()} - {*data.train.sample.numbers().tolist()})


@pytest.mark.parametrize("workers", [0, 1])
def test_a_map_that_changes_during_a_training(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyro_vae.data.readers.MOST_ROWS", 16)
    write_npy(tmp_path / "x.npy", X)
    data = mapped(tmp_path / "x.npy", workers)
    after_an_epoch(monkeypatch, lambda: edit(tmp_path / "x.npy", hidden(data)))
    with pytest.raises(ValueError, match="has changed while it was trained on"):
        fitted(data, folder=tmp_path / "run")


def test_a_map_that_changes_between_a_training_and_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyro_vae.data.readers.MOST_ROWS", 16)
    write_npy(tmp_path / "x.npy", X)
    data = mapped(tmp_path / "x.npy")
    fitted(data, folder=tmp_path / "run", epochs=1)
    edit(tmp_path / "x.npy", hidden(data))
    with pytest.raises(ValueError, match="has changed while it was trained on"):
        fitted(mapped(tmp_path / "x.npy"), folder=tmp_path / "run", resume=True)


def test_a_map_that_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a look at its size the process would end by a signal."""
    x = np.repeat(X, 2000, axis=0)  # pages beyond the new end
    write_npy(tmp_path / "x.npy", x)
    data = mapped(tmp_path / "x.npy")
    after_an_epoch(monkeypatch, lambda: os.truncate(tmp_path / "x.npy", 4096))
    with pytest.raises(ValueError, match="has been cut since; put the old file back"):
        fitted(data, folder=tmp_path / "run", batch_size=20_000)


def test_a_map_that_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old file is there as long as it is open, and the run is that on the old file."""

    def replaced() -> None:
        write_npy(tmp_path / "new.npy", 1 - X)
        os.replace(tmp_path / "new.npy", tmp_path / "x.npy")

    write_npy(tmp_path / "x.npy", X)
    whole = fitted(mapped(tmp_path / "x.npy"))
    data = mapped(tmp_path / "x.npy")
    after_an_epoch(monkeypatch, replaced)
    run = fitted(data, folder=tmp_path / "run")
    assert run.history[-1]["train_loss"] == whole.history[-1]["train_loss"]
    with pytest.raises(ValueError, match="the run was started with data fingerprint"):
        fitted(mapped(tmp_path / "x.npy"), folder=tmp_path / "run", resume=True, epochs=4)


@pytest.mark.parametrize("kind", ["edited", "gone", "added"])
def test_a_folder_that_changes_during_a_training(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pictures"
    write_folder(folder, X)
    monkeypatch.setattr("pyro_vae.data.readers.MOST_ROWS", 16)
    data = pv.load(folder, memory_map=True)
    picture = folder / f"{hidden(data):03}.png"
    acts = {
        "edited": lambda: Image.fromarray(255 * (1 - X[0])).save(picture),
        "gone": picture.unlink,
        "added": lambda: shutil.copy(picture, folder / "zzz.png"),
    }
    after_an_epoch(monkeypatch, acts[kind])
    if kind == "added":  # it is none of the run's
        assert len(fitted(data).history) == 3
        return
    named = {"edited": "pictures has changed while", "gone": picture.name}[kind]
    with pytest.raises(ValueError, match=named):
        fitted(data)


def test_validation_rows_that_change(tmp_path: Path) -> None:
    data = as_dataset(X, 6)
    fitted(data, folder=tmp_path / "run", epochs=1)
    assert isinstance(data.valid, pv.Split)
    x = X.copy()
    x[int(data.valid.numbers()[0]), 0, 0] ^= 1
    with pytest.raises(ValueError, match="the run was started with validation fingerprint"):
        fitted(as_dataset(x, 6), folder=tmp_path / "run", resume=True)
