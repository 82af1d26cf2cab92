"""Cells in processes of their own: one that is killed takes no other with it, and none outlives
the process that asked.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pyro_vae.sweeps.machines import Work, on_this_machine
from tests.sweeps import light

WORK = Work(light.bring, light.began, light.lost)


def names(found: object) -> list[str]:
    return sorted(name for name, _ in found)  # type: ignore[attr-defined]


def test_one_at_a_time_is_here(tmp_path: Path) -> None:
    cells = [(name, tmp_path) for name in ("b", "a")]
    assert [name for name, _ in on_this_machine(WORK, cells, 1, 1)] == ["b done", "a done"]
    assert (tmp_path / "a").read_text().split()[0] == str(os.getpid())


def test_a_process_that_is_killed_takes_no_other_with_it(tmp_path: Path) -> None:
    cells = [(name, tmp_path) for name in ("kill", "a", "once", "b")]
    found = names(on_this_machine(WORK, cells, 2, 3))
    assert found == ["a done", "b done", "kill lost", "once done"]

    tries = {name: (tmp_path / name).read_text().split() for name, _ in cells}
    assert len(tries["kill"]) == 4  # with others, and alone
    workers = {pid for told in tries.values() for pid in told[::2]}
    assert str(os.getpid()) not in workers
    assert {threads for told in tries.values() for threads in told[1::2]} == {"3"}


SCRIPT = """
import sys
from pathlib import Path
from pyro_vae.sweeps.machines import Work, on_this_machine
from tests.sweeps import light
assert "torch" not in sys.modules
cells = [(name, Path(sys.argv[1])) for name in ("slow1", "slow2")]
list(on_this_machine(Work(light.bring, light.began, light.lost), cells, 2, 1))
"""


def test_no_worker_outlives_who_asked(tmp_path: Path) -> None:
    asked = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], stderr=subprocess.DEVNULL
    )
    while len(list(tmp_path.iterdir())) < 2 and asked.poll() is None:
        time.sleep(0.02)
    asked.send_signal(signal.SIGKILL)
    assert asked.wait() == -9
    workers = [int(path.read_text().split()[0]) for path in tmp_path.iterdir()]
    assert len(workers) == 2
    for _ in range(500):
        if not any(map(is_there, workers)):
            return
        time.sleep(0.02)
    raise AssertionError("a worker goes on")


def is_there(pid: int) -> bool:
    """Whether a process runs, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
