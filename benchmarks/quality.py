"""Section `quality`: seconds of training until the test ELBO is -90 nats per image, and what it was
on the way.

Each side trains 784-200-200-50 on 60,000 images, binarised anew at each visit, by Adam at 1e-3 in
batches of 128, and is scored after each epoch by its own one-sample ELBO on the 10,000 test images,
which are binarised once, the same for all. It stops at its first epoch at or above -90. Its seconds
are those of loading the data, building, compiling and training; imports and scoring do not count.
The sides are processes that take turns epoch by epoch (`epochs.py`), so that a slow minute hits
all.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import pyro_vae as pv
from benchmarks.epochs import BASELINE, Worker, check_installed
from benchmarks.settings import TWO_LAYERS, Settings
from benchmarks.timing import Skipped, Table
from benchmarks.worker import SIDES, Task
from pyro_vae.data.named import data_root

LEVELS = (-110.0, -100.0, -95.0, -90.0)  # nats per image, a table each
GOAL = LEVELS[-1]
BATCH = 128
MOST_EPOCHS = 200
MOST_SECONDS = 1200.0  # of a side
LEFT_OUT = "Pyro SVI"  # its steps are ours, and two to five times as long
CHART = Path(__file__).parent / "results" / "quality.png"

Curve = list[tuple[float, float]]
"""After each epoch the seconds so far, and the test ELBO."""


def run(settings: Settings, data: pv.Dataset) -> Iterator[Table]:
    """Train every side up to the goal; `--rounds` is the most epochs."""
    most = settings.rounds or (2 if settings.quick else MOST_EPOCHS)
    sides = [side for side in settings.pick(SIDES) if not side.startswith(LEFT_OUT)]
    with tempfile.TemporaryDirectory() as folder:
        pixels, test = Path(folder) / "pixels.npy", Path(folder) / "test.npy"
        images = data.train.pixels.flatten(1).numpy()
        np.save(pixels, images[:2000] if settings.quick else images)
        np.save(test, data.test.x.flatten(1).numpy())
        root, kind, device = str(data_root(None)), settings.data, settings.device
        task = Task("", TWO_LAYERS, BATCH, most, str(pixels), kind, root, device, str(test))
        curves, skipped = train(task, sides)

    if not settings.quick:
        CHART.with_suffix(".json").write_text(json.dumps(curves, indent=1) + "\n")
        draw(curves, CHART)
    baseline = settings.baseline or BASELINE
    yield from (table_of(level, curves, skipped, baseline) for level in LEVELS)


def train(task: Task, sides: list[str]) -> tuple[dict[str, Curve], dict[str, str]]:
    """Let the sides take turns until each has reached the goal, or is too slow: their curves, and
    the reasons of those that have none.
    """
    curves: dict[str, Curve] = {}
    skipped: dict[str, str] = {}
    workers: dict[str, Worker] = {}
    try:
        for side in sides:
            try:
                check_installed(side)
            except Skipped as why:
                skipped[side] = str(why)
            else:
                workers[side], curves[side] = Worker(replace(task, side=side)), []

        running = dict(workers)
        for worker in running.values():
            worker.wait()  # until all have imported what they need
        for _ in range(task.epochs):
            for side, worker in list(running.items()):
                try:
                    curves[side].append(after_epoch(worker, curves[side]))
                except Skipped as why:
                    skipped[side] = str(why)
                if side in skipped or not goes_on(curves[side]):
                    running.pop(side).stop(at_once=True)
    finally:
        for worker in workers.values():
            worker.stop(at_once=True)
    return curves, skipped


def after_epoch(worker: Worker, curve: Curve) -> tuple[float, float]:
    """Let a side train an epoch: its seconds in all, and its test ELBO."""
    seconds, elbo = worker.scored_epoch()
    return seconds + (curve[-1][0] if curve else 0.0), elbo


def goes_on(curve: Curve) -> bool:
    """Whether a side trains another epoch."""
    seconds, elbo = curve[-1]
    return elbo < GOAL and seconds < MOST_SECONDS


def table_of(
    level: float, curves: dict[str, Curve], skipped: dict[str, str], baseline: str
) -> Table:
    """The seconds to one level of the test ELBO, and how far those came that did not reach it."""
    setting = f"{TWO_LAYERS.name}, batch {BATCH}, test ELBO {level:g} nats per image"
    table = Table("quality", setting, "seconds of training", baseline, skipped=dict(skipped))
    for side, curve in curves.items():
        if side in skipped:
            continue
        found = next((n for n, (_, elbo) in enumerate(curve) if elbo >= level), None)
        if found is None:
            seconds, elbo = curve[-1]
            table.skipped[side] = f"at {elbo:.2f} after {len(curve)} epochs, {seconds:.0f} s"
            continue
        seconds, elbo = curve[found]
        table.samples[side] = [seconds]
        table.notes[side] = {"epochs": str(found + 1), "test ELBO": f"{elbo:.2f}"}
    return table


def draw(curves: dict[str, Curve], path: Path) -> None:
    """Test ELBO against seconds of training, a line a side."""
    from pyro_vae.report.plots.view import blank

    figure = blank((8, 4.8))
    axes = figure.subplots()
    for side, curve in curves.items():
        if len(curve) > 1:
            seconds, elbos = zip(*curve, strict=True)
            ours = side.startswith("pyro_vae")
            axes.plot(seconds, elbos, label=side, lw=2.2 if ours else 1.4, zorder=3 if ours else 2)

    axes.axhline(GOAL, color="0.4", lw=0.8, ls="--")
    axes.set(xlabel="seconds of training", ylabel="test ELBO, nats per image")
    last = [curve[-1][1] for curve in curves.values() if curve]
    axes.set_ylim(bottom=min([LEVELS[0], *last]) - 5)
    axes.set_xlim(left=0)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    axes.grid(alpha=0.25)
    figure.savefig(path, dpi=130, bbox_inches="tight")
