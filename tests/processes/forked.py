"""Several processes without a launcher: children of the test's own process, which has imported
everything, meet at a file.
"""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import torch

from pyro_vae.processes import joined


def together(number: int, work: Callable[[], Any], killed: Sequence[int] = ()) -> list[Any]:
    """What `work()` returns in each of so many processes; None of those that are killed on the way,
    which may end in whatever way.
    """
    from torch.distributed import FileStore

    with tempfile.TemporaryDirectory() as place:
        children = [_fork(rank, number, work, place, FileStore) for rank in range(number)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        told = [path.read_text() for path in sorted(Path(place).glob("error*"))]
        assert not any(codes[rank] for rank in range(number) if rank not in killed), told
        found = [Path(f"{place}/found{rank}") for rank in range(number)]
        return [torch.load(p, weights_only=False) if p.exists() else None for p in found]


def _fork(rank: int, number: int, work: Callable[[], Any], place: str, store: Any) -> int:
    child = os.fork()
    if child:
        return child

    code = 1
    try:
        torch.set_num_threads(1)
        with joined(rank, number, store(f"{place}/store", number)):
            torch.save(work(), f"{place}/found{rank}")
            code = 0
    except BaseException:
        Path(f"{place}/error{rank}").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def apart(test: Callable[..., None]) -> Callable[..., None]:
    """A test in a process of its own, for what it does to the process: torch refuses gradients in
    children of one in which a tensor has ever said that it lies on a GPU.
    """

    @wraps(test)
    def run(*args: Any, **options: Any) -> None:
        with tempfile.NamedTemporaryFile() as told:
            child = os.fork()
            if not child:
                code = 1
                try:
                    test(*args, **options)
                    code = 0
                except BaseException:
                    Path(told.name).write_text(traceback.format_exc())
                finally:
                    os._exit(code)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert code == 0, Path(told.name).read_text()

    return run
