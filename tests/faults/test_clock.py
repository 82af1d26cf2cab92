"""A clock that is set back, set forward, or jumps to and fro: nothing but dates depends on it.
Budgets and durations go by a clock that cannot be set, and what is newer than what is written down.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pyro_vae as pv
from pyro_vae.commands.resume import _stamp
from pyro_vae.runs.figures import earlier, make_way
from tests.faults.places import TINY, broken_promise, call
from tests.faults.scale import times
from tests.faults.tally import Tally
from tests.faults.test_kills import result
from tests.scenarios import Distorted, linear_gaussian

HOUR = 3600.0
TRAIN = f"train --folder FOLDER --device cpu --data digits {TINY}"
RESUME = "resume FOLDER --epochs 2 --quiet true --device cpu"
JUMPS = {
    "back": lambda rng: -HOUR,
    "to and fro": lambda rng: rng.uniform(-HOUR, HOUR),
    "forward": lambda rng: HOUR,
    "1970": lambda rng: -time.monotonic_ns() / 1e9 - 1.7e9,
    "2100": lambda rng: 2.3e9,
}


@contextmanager
def jumping(kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The wall clock jumps at each look at it; counts the looks."""
    rng, real, looks = random.Random(0), time.time_ns, [0]

    def now() -> int:
        looks[0] += 1
        return max(0, real() + int(1e9 * JUMPS[kind](rng)))

    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", now)
        patch.setattr(time, "time", lambda: now() / 1e9)
        yield looks


def touch(folder: Path, kind: str) -> None:
    """The files of a folder get the times of such a clock."""
    rng = random.Random(1)
    for path in sorted(folder.rglob("*")):
        moment = max(0.0, path.stat().st_mtime + JUMPS[kind](rng))
        os.utime(path, (moment, moment))


def trained(folder: Path, act: Any = lambda: None) -> Any:
    for command in (TRAIN, RESUME):
        ended = call(command.replace("FOLDER", str(folder)).split())
        assert broken_promise(ended, (0,)) == "", ended
        act()
    return result(folder)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return trained(tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.parametrize("kind", list(JUMPS)[: times(1, None)])
def test_a_run(
    kind: str, expected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    folder, wrong = tmp_path / "run", []
    with jumping(kind, monkeypatch) as looks:
        if trained(folder, lambda: touch(folder, kind)) != expected:
            wrong.append("another end")
        rows = (folder / "metrics.csv").read_text().splitlines()
        names = rows[0].split(",")
        seconds = [float(row.split(",")[names.index("seconds")]) for row in rows[1:]]
        if not 0 < seconds[0] < seconds[1] < 60:
            wrong.append(f"seconds {seconds}")
        for command in ("info", "evidence --num_data 3 --method.num_particles 3", "list"):
            name, *rest = command.split()
            where = tmp_path if name == "list" else folder
            told = broken_promise(call([name, str(where), *rest]), (0,))
            wrong += [told] if told else []
    print(f"{kind}: looked at {looks[0]} times, {len(wrong)} went wrong")
    tally("clocks", 1, int(wrong != []))
    assert wrong == []


@pytest.mark.parametrize("kind", list(JUMPS)[: times(1, None)])
def test_a_budget(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds are those that pass."""
    model, x = linear_gaussian(10)
    started = time.monotonic()
    with jumping(kind, monkeypatch):
        method = pv.Importance(num_particles=100, target_error=1e-9, budget=0.2, engine="pyro")
        found = pv.log_evidence(model, Distorted(model, 1.5), x, method)
    passed = time.monotonic() - started
    print(f"{kind}: a budget of 0.2 s, {found.seconds:.2f} by its own account, {passed:.2f} passed")
    assert 0 < found.seconds <= passed < 20


def test_the_order_of_figures(tmp_path: Path) -> None:
    """Each has a time before that of the one before it, as after a clock was set back."""
    path = tmp_path / "evidence.json"
    for number in (3, 4, 5, 3, 6):
        make_way(path, [], {"seed": number})
        path.write_text(json.dumps({"settings": {"seed": number}}))
        os.utime(path, (10**9 - len(earlier(path)), 10**9 - number))
    found = [json.loads(old.read_text())["settings"]["seed"] for old in earlier(path)]
    assert found == [4, 5, 3]

    (tmp_path / "earlier" / "order.json").write_text("torn")
    assert len(earlier(path)) == 3


def test_a_checkpoint_is_told_by_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"one")
    known, moment = _stamp(path), path.stat().st_mtime_ns
    path.write_bytes(b"two")
    os.utime(path, ns=(moment, moment))
    assert _stamp(path) != known
