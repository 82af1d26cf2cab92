"""Processes that torchrun has started, by the environment that it gives them."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyro_vae.processes.group import PATIENCE, LostProcess, count, is_first, joined, lost


def restarts() -> int:
    """How often torchrun has started this task again."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


def may_restart() -> bool:
    """Whether torchrun will start this task again where a process fails."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) > 0


@contextmanager
def started() -> Iterator[None]:
    """Meet the other processes that torchrun has started, if it has: gloo on a CPU, NCCL on GPUs,
    of which each process takes its own.

    A group that is there already is joined. An error in a process other than the first waits for
    the first one to say the same (`is_told`).

    Raises:
        LostProcess: torchrun has ended this process, since another one failed.
    """
    launched = "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1
    if count() > 1 or not launched:
        yield
        return

    import torch
    from torch import distributed

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    with _ended_in_words():
        with lost(int(os.environ["WORLD_SIZE"])):
            meeting = distributed.rendezvous("env://", timeout=PATIENCE)  # type: ignore[attr-defined]
            place, rank, number = next(meeting)
        # torchrun keeps its store over a restart, with the addresses of those that are gone
        prefix = f"pyro_vae/{restarts()}"
        store = distributed.PrefixStore(prefix, place)  # type: ignore[attr-defined]
        with joined(rank, number, store):
            yield


def is_told(error: BaseException) -> bool:
    """Whether the first process says what this one has met."""
    return bool(getattr(error, "_told_by_first", False))


def is_spoken_for() -> bool:
    """Whether torchrun has started this process as another than the first."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("RANK", 0)) > 0


@contextmanager
def silence() -> Iterator[None]:
    """Nothing on stdout and stderr, but by the first process."""
    if is_first():
        yield
        return
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


@contextmanager
def _ended_in_words() -> Iterator[None]:
    """SIGTERM, by which torchrun ends what is left, as a LostProcess of the first process."""
    if is_spoken_for() or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: Any) -> None:
        raise LostProcess(
            "ended by SIGTERM, with which torchrun ends all processes where one has failed or was"
            " killed"
        )

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
