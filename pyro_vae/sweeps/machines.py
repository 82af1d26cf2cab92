"""The cells of a sweep on one machine: one after another in this process, or several at once in
processes of their own, by joblib.

A process that ends before its cell does (killed, as where memory runs out) takes no other cell with
it: whatever was being worked on is worked on again alone, and what ends its process once more has
failed. Where this process ends, whatever the reason, so do its workers.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from typing import TypeVar

from pyro_vae.sweeps.cells import Cell, read_cell

Work = Callable[[Cell], Cell]
"""Brings a cell to its end, done or failed; it can be sent to another process."""

KILLED = "its process was killed, as where memory runs out"
_LOOK = 0.1  # seconds between two looks at whether the process that asked is still there

T = TypeVar("T")


def on_this_machine(work: Work, cells: Sequence[Cell], jobs: int, threads: int) -> Iterator[Cell]:
    """The cells as they end.

    Args:
        work: what is to be done with each.
        cells: to work on, in this order.
        jobs: how many at once; 1 is in this process.
        threads: of each process.
    """
    if jobs == 1:
        yield from map(work, cells)
        return

    waiting = {cell.folder: cell for cell in cells}
    while waiting:
        try:
            for cell in _at_once(work, list(waiting.values()), jobs, threads):
                del waiting[cell.folder]
                yield cell
        except BrokenProcessPool:
            for cell in [each for each in waiting.values() if read_cell(each.folder).state != "to do"]:
                del waiting[cell.folder]
                yield _alone(work, cell, threads)


def _alone(work: Work, cell: Cell, threads: int) -> Cell:
    """A cell in a process that works on nothing else."""
    try:
        return next(_at_once(work, [cell], 2, threads))
    except BrokenProcessPool:
        return cell.now("failed", KILLED)


def _at_once(work: Work, cells: Sequence[Cell], jobs: int, threads: int) -> Iterator[Cell]:
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(backend="loky", inner_max_num_threads=threads):
        # no more in flight than are worked on, so that it is known what a killed process had
        options = {"return_as": "generator_unordered", "batch_size": 1, "pre_dispatch": jobs}
        found = Parallel(n_jobs=jobs, **options)(
            delayed(_in_worker)(work, cell, threads, os.getpid()) for cell in cells
        )
        with closing(found):
            yield from found


def _in_worker(work: Work, cell: Cell, threads: int, parent: int) -> Cell:
    _die_with(parent)
    _use(threads)
    return work(cell)


def _use(threads: int) -> None:
    import sys

    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)


def _die_with(parent: int) -> None:
    """End this process where the one that asked for it has gone."""
    name = f"watching {parent}"
    if any(thread.name == name for thread in threading.enumerate()):
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK)
        os._exit(1)

    threading.Thread(target=watch, name=name, daemon=True).start()
