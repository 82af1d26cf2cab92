"""`python -m benchmarks.beyond_memory`: what it costs to leave the data where they are.

Two questions. How many rows a second a training takes from a memory-mapped file and from torch
Datasets, beside the same rows in memory, on rows of MNIST's size: sides take turns of some steps
each, the order turned around every time, and a rate is the median of a side's ratios to the turn in
memory of the same round. And how much memory the process has while it trains on a file far larger
than it should hold: a sparse file, which stores no zeros, so that no disk is needed (and none is
measured: its pages come from the system's cache).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pyro_vae as pv
from benchmarks.report import describe, keep
from benchmarks.settings import Settings
from pyro_vae.data import as_dataset
from pyro_vae.data.mapped import Mapped
from pyro_vae.inference.job import Job
from pyro_vae.inference.prepare import prepare

KEPT = Path(__file__).parent / "results" / "beyond_memory.json"
BATCH = 128
PICTURE = (3, 64, 64)  # of the large file
MEMORY = "in memory"
SETTINGS = {"rates": ("rows", "turn", "rounds"), "memory": ("gigabytes", "steps")}


class Pairs(torch.utils.data.Dataset[Any]):
    """x and a label of each row, as torchvision's sets give them."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, place: int) -> Any:
        return self.x[place], 0


class Rows(torch.utils.data.IterableDataset[Any]):
    """Rows one after another."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __iter__(self) -> Iterator[Any]:
        return iter(self.x)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.beyond_memory", description=__doc__)
    p.add_argument("--only", choices=["rates", "memory"], help="one of the two; both unless given")
    p.add_argument("--rows", type=int, default=60_000, help="of 784 bytes, for the rates")
    p.add_argument("--turn", type=int, default=25, help="steps of a turn")
    p.add_argument("--rounds", type=int, default=31, help="turns of each side")
    p.add_argument("--gigabytes", type=float, default=20.0, help="of the large file")
    p.add_argument("--steps", type=int, default=400, help="on the large file")
    p.add_argument("--folder", type=Path, help="of the files; a temporary one unless given")
    p.add_argument("--json", type=Path, default=KEPT, help="file of the figures")
    return p


def job_of(data: pv.Dataset) -> Job:
    """A training of 784-200-200-50 or so, about to begin."""
    torch.manual_seed(0)
    data = data if data.binarise == "dynamic" else data.under("dynamic")
    model = pv.VAE(data.shape, latent_dim=50, hidden=(200, 200), likelihood=pv.Bernoulli())
    guide = pv.Amortized(pv.MeanField(50), pv.MLP(data.shape, (200, 200)))
    recipe = pv.Recipe(batch_size=BATCH, epochs=100).for_data(len(data.train))
    return prepare(model, guide, data, recipe, None)


class Steps:
    """The steps of a training, as `fit` takes them, some at a time."""

    def __init__(self, data: pv.Dataset) -> None:
        self.job = job_of(data)
        self._given = self._all()

    def _all(self) -> Iterator[float]:
        """Steps without end, epoch after epoch; only whole minibatches."""
        job = self.job
        while True:
            batches = job.feed.order(job.noise).split(BATCH)
            batches = batches[: -1 if len(batches[-1]) < BATCH else None]
            for rows in job.feed.batches(batches):
                yield float(job.step(rows, job.train.bits(BATCH, job.noise)))

    def take(self, number: int) -> tuple[float, float]:
        """Take steps; seconds, and those of the process's own work, its threads included."""
        started = time.perf_counter(), time.process_time()
        for _ in range(number):
            next(self._given)
        return time.perf_counter() - started[0], time.process_time() - started[1]


def rates(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Rows a second of each side, and the medians of their ratios to the rows in memory."""
    pixels = strokes(arguments.rows)
    np.save(folder / "rows.npy", pixels)
    made: dict[str, Callable[[], pv.Dataset]] = {
        MEMORY: lambda: as_dataset(pixels, 0),
        "memory-mapped": lambda: as_dataset(np.load(folder / "rows.npy", mmap_mode="r"), 0),
        "torch Dataset, a thread": lambda: as_dataset(Pairs(pixels), 0),
        "torch Dataset, a process": lambda: as_dataset(Pairs(pixels), 0, workers=1),
        "IterableDataset": lambda: as_dataset(Rows(pixels), 0),
    }
    sides = {name: Steps(make()) for name, make in made.items()}
    for side in sides.values():
        side.take(20)  # compiled, compared, and the caches back

    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for number in range(arguments.rounds):
        names = list(sides)[:: 1 if number % 2 == 0 else -1]
        for name in names:
            seconds[name].append(sides[name].take(arguments.turn))
    return {
        name: summary(times, seconds[MEMORY], arguments.turn) for name, times in seconds.items()
    }


def strokes(number: int) -> Any:
    """Rows like MNIST's, uint8 (N, 784): four values in five are 0, the others anything."""
    noise = np.random.default_rng(0)
    ink = noise.random((number, 784), dtype=np.float32) < 0.19
    return ink * noise.integers(1, 256, (number, 784), dtype=np.uint8)


def summary(
    times: list[tuple[float, float]], beside: list[tuple[float, float]], steps: int
) -> dict[str, Any]:
    """Rows a second, and the ratio to the rows in memory round by round, by the clock and by the
    work of the process: medians, quartiles.
    """
    found: dict[str, Any] = {}
    for place, told in enumerate(("clock", "work")):
        mine = [turn[place] for turn in times]
        ratios = [turn[place] / here for here, turn in zip(mine, beside, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        found[told] = {
            "rows per second": round(BATCH * steps / statistics.median(mine)),
            "ratio": round(middle, 3),
            "ratio quartiles": [round(low, 3), round(high, 3)],
            "seconds of turns": [round(each, 4) for each in mine],
        }
    return found


def memory(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Memory of the process in the course of a training on a file of so many gigabytes: as it is
    read here, and with the pages left to the system.
    """
    rows = int(arguments.gigabytes * 1e9) // int(np.prod(PICTURE))
    np.lib.format.open_memmap(folder / "large.npy", "w+", np.uint8, (rows, *PICTURE))
    path = folder / "large.npy"
    found: dict[str, Any] = {"rows": rows, "bytes": path.stat().st_size}

    for name in ("given back", "left to the system"):
        data = pv.load(path, memory_map=True, values="pixels", binarise="dynamic")
        if name != "given back":
            leave_pages(data)
        steps = Steps(data)
        steps.take(5)
        curve = [{"step": 0, **resident()}]
        every = max(1, arguments.steps // 20)
        started = time.perf_counter()
        for step in range(every, arguments.steps + 1, every):
            steps.take(every)
            curve.append({"step": step, **resident()})
        seconds = time.perf_counter() - started
        told = {"rows per second": round(curve[-1]["step"] * BATCH / seconds), "curve": curve}
        found[name] = told
        del steps, data
    return found


def leave_pages(data: pv.Dataset) -> None:
    """Read a file without giving its pages back."""
    rows = data.train.reader.rows if isinstance(data.train, pv.Stream) else None
    assert isinstance(rows, Mapped)
    rows._pages = None


def resident() -> dict[str, int]:
    """MiB of the process: all, its own, and pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    names = {"VmRSS": "resident", "RssAnon": "own", "RssFile": "of files"}
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    return {words: int(told[name].split()[0]) // 1024 for name, words in names.items()}


@contextmanager
def place(folder: Path | None) -> Iterator[Path]:
    """A folder for the files."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def main(arguments: argparse.Namespace) -> None:
    """Measure, print, keep."""
    with place(arguments.folder) as folder:
        if arguments.only != "rates":  # first, in a process that holds nothing yet
            found = memory(arguments, folder)
            keep_part(arguments, "memory", found)
            for name in ("given back", "left to the system"):
                curve = [point["resident"] for point in found[name]["curve"]]
                print(f"{name:28} resident MiB {curve}", flush=True)
        if arguments.only != "memory":
            found = rates(arguments, folder)
            keep_part(arguments, "rates", found)
            for name, told in found.items():
                for by, each in told.items():
                    rate = f"{each['rows per second']:>8,} rows/s"
                    print(f"{name:28} by {by:6} {rate}  ratio {each['ratio']}")


def keep_part(arguments: argparse.Namespace, part: str, found: dict[str, Any]) -> None:
    """Keep a part of the figures, with its settings and versions, beside the other."""
    chosen = {name: getattr(arguments, name) for name in SETTINGS[part]}
    entry = describe(Settings()) | {"settings": chosen, "figures": found}
    keep(arguments.json, part, entry)


if __name__ == "__main__":
    main(parser().parse_args())
