"""The cells of a sweep on one machine: one after another in this process, or several at once in
processes of their own, by joblib.

A process that ends before its cell does (killed, as where memory runs out) takes no other cell with
it: whatever was being worked on is worked on again alone, and what ends its process once more has
failed. Where this process ends, whatever the reason, so do its workers.

Nothing here imports torch, so that a worker watches over its parent before it does.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_LOOK = 0.1  # seconds between two looks at whether the process that asked is still there


@dataclass(frozen=True)
class Work(Generic[T]):
    """What is to be done with a cell.

    Attributes:
        bring: a cell to its end; it can be sent to another process.
        began: whether a cell was being worked on when a process was killed.
        lost: the cell that a process was killed over.
    """

    bring: Callable[[T], T]
    began: Callable[[T], bool]
    lost: Callable[[T], T]


def on_this_machine(
    work: Work[T], cells: Iterable[T], jobs: int, threads: int
) -> Generator[T, None, None]:
    """The cells as they end.

    Args:
        work: what is to be done with each.
        cells: to work on, in this order.
        jobs: how many at once; 1 is in this process.
        threads: of each process.
    """
    if jobs == 1:
        yield from map(work.bring, cells)
        return

    waiting = dict(enumerate(cells))
    while waiting:
        try:
            for place, cell in _at_once(work.bring, dict(waiting), jobs, threads):
                del waiting[place]
                yield cell
        except BrokenProcessPool:
            suspects = [place for place, cell in waiting.items() if work.began(cell)]
            for place in suspects or list(waiting)[:1]:
                yield _alone(work, waiting.pop(place), threads)


def _alone(work: Work[T], cell: T, threads: int) -> T:
    """A cell in a process that works on nothing else."""
    try:
        (found,) = _at_once(work.bring, {0: cell}, 2, threads)
        return found[1]
    except BrokenProcessPool:
        return work.lost(cell)


def _at_once(
    bring: Callable[[T], T], cells: dict[int, T], jobs: int, threads: int
) -> Generator[tuple[int, T], None, None]:
    """Cells by their places, as they end."""
    from joblib import Parallel, delayed, parallel_config

    started = {"initializer": _die_with, "initargs": (os.getpid(),)}
    with parallel_config(backend="loky", inner_max_num_threads=threads, **started):
        # no more in flight than are worked on, so that few are in doubt where a process is killed
        parallel = Parallel(
            n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch=jobs
        )
        one = delayed(_in_worker)
        found = parallel(one(bring, place, cell, threads) for place, cell in cells.items())
        with closing(found):
            yield from found


def _in_worker(bring: Callable[[T], T], place: int, cell: T, threads: int) -> tuple[int, T]:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)
    return place, bring(cell)


def _die_with(parent: int) -> None:
    """End this process where the one that asked for it has gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
