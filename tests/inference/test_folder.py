"""A run's folder: one training at a time, an identity, nothing left by a refusal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pyro_vae.inference.folder import LOCK, check_identity, claim, identity, new_identity

HOLD = """
import sys, time
from pathlib import Path
from pyro_vae.inference.folder import claim
with claim(Path(sys.argv[1]), resume=False):
    print("held", flush=True)
    time.sleep(600)
"""


def test_another_process_is_refused_until_it_is_killed(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        for resume in (False, True):
            refused = pytest.raises(ValueError, match="run is being trained by another process")
            with refused, claim(tmp_path / "run", resume):
                pass
        assert (tmp_path / "run" / LOCK).exists()
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    with claim(tmp_path / "run", resume=False):
        pass


def test_another_thread_is_refused_and_the_same_one_is_not(tmp_path: Path) -> None:
    found: list[str] = []

    def other() -> None:
        try:
            with claim(tmp_path, resume=False):
                found.append("claimed")
        except ValueError as error:
            found.append(str(error))

    with claim(tmp_path, resume=False), claim(tmp_path, resume=False):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(found) == 1 and "is being trained by another process" in found[0]


def test_a_refusal_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), claim(tmp_path / "a" / "b", resume=False) as folder:
        (folder / "config.yaml").write_text("x")
        (folder / "events.out.tfevents.1").write_text("x")
        raise ZeroDivisionError
    assert not any(tmp_path.iterdir())


def test_a_refusal_leaves_what_was_there(tmp_path: Path) -> None:
    for name in ("notes.txt", "config.yaml"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(ZeroDivisionError), claim(tmp_path, resume=False):
        (tmp_path / "run.json").write_text("x")
        raise ZeroDivisionError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "notes.txt"]


def test_an_error_after_the_first_checkpoint_leaves_the_run(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), claim(tmp_path / "run", resume=False) as folder:
        (folder / "checkpoint.pt").write_text("x")
        raise ZeroDivisionError
    assert (tmp_path / "run" / "checkpoint.pt").exists()


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    for name in (".checkpoint.pt.abc", ".run.json.x", ".evidence.json.x", "checkpoint.pt"):
        (tmp_path / name).write_text("x")
    with claim(tmp_path, resume=True):
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == [".evidence.json.x", LOCK, "checkpoint.pt"]


def test_a_folder_that_holds_a_run(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_text("x")
    with pytest.raises(ValueError, match="holds a run already"), claim(tmp_path, resume=False):
        pass
    with (
        pytest.raises(FileNotFoundError, match="no such folder"),
        claim(tmp_path / "none", resume=True),
    ):
        pass
    assert not (tmp_path / "none").exists()


def test_an_identity_is_drawn_once(tmp_path: Path) -> None:
    assert identity(tmp_path) is None
    check_identity(tmp_path, "weights", "anything")  # a folder that does not say
    drawn = new_identity(tmp_path)
    assert len(drawn) == 32 and new_identity(tmp_path) == identity(tmp_path) == drawn
    check_identity(tmp_path, "weights", drawn)
    with pytest.raises(ValueError, match=r"weights: is of the run abc, expected"):
        check_identity(tmp_path, "weights", "abc")


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"id": 3}', b'{"id": "x"}', b"[" * 9000, b"\xff"]
)
def test_a_torn_identity(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.json: .*the file is damaged"):
        identity(tmp_path)
