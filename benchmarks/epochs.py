"""Section `epochs`: seconds per epoch of 60,000 shuffled, dynamically binarised images, Adam at
1e-3, one-sample ELBO.

Each side is a process (worker.py). They are set up and warmed up one after another, then take turns
epoch by epoch while the others sleep in a read of their pipe. That they do sleep is measured: "idle
CPU" is the largest share of a core that a side used while it was not its turn.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

import pyro_vae as pv
from benchmarks.settings import ONE_LAYER, TWO_LAYERS, Settings
from benchmarks.timing import Note, Skipped, Table
from benchmarks.worker import SIDES, Task, cpu_seconds, work
from pyro_vae.data.named import data_root

BASELINE = "NumPyro, jitted scan of an epoch" if find_spec("numpyro") else "PyTorch, Adam fused"
REST = 0.3  # seconds before a turn, for the threads of the last one to stop spinning
PATIENCE = 1800.0  # seconds that a side may be silent


def run(settings: Settings, data: pv.Dataset) -> Iterator[Table]:
    """Time every network and batch size."""
    cases = [(TWO_LAYERS, 128), (ONE_LAYER, 128), (TWO_LAYERS, 1024)]
    pixels = data.train.pixels.flatten(1).numpy()

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pixels.npy"
        np.save(file, pixels[:2000] if settings.quick else pixels)
        for net, batch in cases[:1] if settings.quick else cases:
            rounds = settings.rounds or (2 if settings.quick else 6)
            root, baseline = str(data_root(None)), settings.baseline or BASELINE
            task = Task("", net, batch, rounds + 1, str(file), settings.data, root, settings.device)
            yield time_epochs(task, rounds, baseline, list(settings.pick(SIDES)))


def time_epochs(task: Task, rounds: int, baseline: str, sides: list[str]) -> Table:
    """The table of one network and batch size."""
    table = Table("epochs", f"{task.net.name}, batch {task.batch}", "seconds per epoch", baseline)
    workers: dict[str, Worker] = {}

    try:
        for side in sides:
            try:
                check_installed(side)
            except Skipped as why:
                table.skipped[side] = str(why)
            else:
                workers[side] = Worker(replace(task, side=side))

        for worker in workers.values():
            worker.wait()  # until all have imported what they need
        for side, worker in workers.items():
            try:
                table.notes[side] = {"first epoch s": worker.epoch()}
                table.samples[side] = []
            except Skipped as why:
                table.skipped[side] = str(why)

        running = {side: worker for side, worker in workers.items() if side in table.samples}
        for _ in range(rounds):
            take_turns(running, table)
        for side, worker in running.items():
            table.notes[side] |= worker.end()
    finally:
        for worker in workers.values():
            worker.stop()
    return table


def take_turns(workers: dict[str, Worker], table: Table) -> None:
    """An epoch of each side, while the others sleep."""
    for side, worker in workers.items():
        time.sleep(REST)
        before = {other: cpu_seconds(w.process.pid or 0) for other, w in workers.items()}
        started = time.perf_counter()
        table.samples[side].append(worker.epoch())

        for other, w in workers.items():
            if other != side:
                used = cpu_seconds(w.process.pid or 0) - before[other]
                share = used / (time.perf_counter() - started)
                most = max(share, float(table.notes[other].get("idle CPU", 0.0)))
                table.notes[other]["idle CPU"] = most


def check_installed(side: str) -> None:
    """Skip a peer that is not installed."""
    for name, packages in {"NumPyro": ("jax", "numpyro"), "pythae": ("pythae",)}.items():
        missing = [package for package in packages if find_spec(package) is None]
        if side.startswith(name) and missing:
            raise Skipped(f"{', '.join(missing)} not installed: pip install '.[bench]'")


class Worker:
    """The parent's end of a side."""

    def __init__(self, task: Task) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe: Connection
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=work, args=(task, theirs))
        self.process.start()
        theirs.close()
        self.fresh = True

    def wait(self) -> None:
        """Wait until there is a message, or the process is dead."""
        self.pipe.poll(PATIENCE)

    def epoch(self) -> float:
        """Run an epoch, the first one with its preparations; its seconds."""
        return float(self._ask("epoch"))

    def scored_epoch(self) -> tuple[float, float]:
        """The same where sides are scored: seconds, and the test ELBO after it."""
        seconds, score = self._ask("epoch")
        return float(seconds), float(score)

    def end(self) -> Note:
        """Let the side finish; what it has to say."""
        return self._ask("end")

    def _ask(self, expected: str) -> Any:
        if self.fresh:
            self._answer("ready")
            self.fresh = False
        self.pipe.send("go")
        return self._answer(expected)

    def _answer(self, expected: str) -> Any:
        if not self.pipe.poll(PATIENCE):
            raise Skipped(f"no answer in {PATIENCE:.0f} s")
        try:
            kind, value = self.pipe.recv()
        except EOFError:
            raise Skipped("the process died") from None
        if kind != expected:
            raise Skipped(str(value))
        return value

    def stop(self, at_once: bool = False) -> None:
        """End the process: by itself if it is done, else at once."""
        self.pipe.close()
        self.process.join(0 if at_once else 5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
