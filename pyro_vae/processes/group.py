"""The group of processes: who this is, and where all of them meet."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

PATIENCE = timedelta(minutes=30)  # for a process that does not come to a meeting
_TELLING = 3.0  # seconds in which the first process says what was wrong
_FAILED = "pyro_vae/failed"


class LostProcess(RuntimeError):
    """Another process of the task has ended, or does not answer."""


@dataclass(frozen=True)
class _Group:
    rank: int
    count: int


_group = _Group(0, 1)


def rank() -> int:
    """The number of this process, from 0."""
    return _group.rank


def count() -> int:
    """How many processes there are."""
    return _group.count


def is_first() -> bool:
    """Whether this is the process that writes and speaks."""
    return _group.rank == 0


@contextmanager
def joined(rank: int, count: int, store: Any) -> Iterator[None]:
    """Be process `rank` of `count` that meet at a store of torch's."""
    global _group
    import torch
    from torch import distributed

    mine = not distributed.is_initialized()
    if mine:
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        with lost(count):
            distributed.init_process_group(
                backend, store=store, rank=rank, world_size=count, timeout=PATIENCE
            )

    _group = _Group(rank, count)
    try:
        yield
        wait()
    except Exception as error:
        _tell(error)
        raise
    finally:
        _group = _Group(0, 1)
        if mine and sys.exc_info()[0] is None:  # else it may wait for those that are gone
            distributed.destroy_process_group()


def dealt(number: int) -> range:
    """Which of so many pieces of work of one size are this process's: 0, N, 2 N, ... of the first
    of N processes.
    """
    return range(_group.rank, number, _group.count)


def gathered(mine: dict[int, T], number: int) -> list[T]:
    """All pieces in order, from those that each process has made, by their number."""
    if _group.count == 1:
        return [mine[piece] for piece in range(number)]

    from torch import distributed

    parts: list[dict[int, T]] = [{} for _ in range(_group.count)]
    with lost(_group.count):
        distributed.all_gather_object(parts, mine)
    found = {piece: value for part in parts for piece, value in part.items()}
    return [found[piece] for piece in range(number)]


def agreed(value: T) -> T:
    """The first process's value, for all of them."""
    if _group.count == 1:
        return value

    from torch import distributed

    held: list[T] = [value]
    with lost(_group.count):
        distributed.broadcast_object_list(held, src=0)
    return held[0]


def summed_(tensor: Tensor) -> Tensor:
    """The tensor, which all processes have in one shape, with its sum over them in it."""
    if _group.count > 1:
        from torch import distributed

        with lost(_group.count):
            distributed.all_reduce(tensor)
    return tensor


def wait() -> None:
    """Until all processes have come here."""
    agreed(None)
    gathered({_group.rank: None}, _group.count)


@contextmanager
def lost(number: int) -> Iterator[None]:
    """What the library of a meeting of so many processes raises, in one line."""
    try:
        yield
    except RuntimeError as error:
        reason = re.sub(r"^\[[^]]*\] ", "", " ".join(str(error).split()))  # a place in its source
        raise LostProcess(
            f"another of the {number} processes has ended, or does not answer ({reason[:80]})"
        ) from error


def _tell(error: Exception) -> None:
    """Let the others know that the first process will say what is wrong, or wait until it does."""
    from torch.distributed.distributed_c10d import _get_default_store

    told = False
    with contextlib.suppress(Exception):  # the store may be gone
        store = _get_default_store()
        if not is_first():
            # where the first one has met an error, it said so before it was lost
            until = time.monotonic() + (0 if isinstance(error, LostProcess) else _TELLING)
            while not (told := store.check([_FAILED])) and time.monotonic() < until:
                time.sleep(0.05)
        elif not isinstance(error, LostProcess):
            store.set(_FAILED, "1")
    error._told_by_first = told  # type: ignore[attr-defined]
