"""`benchmarks/gpu.py` on a CPU, with tiny sizes; what a section that fails or hangs leaves."""

from __future__ import annotations

import json
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu
from benchmarks.on_gpu import checks, estimates
from benchmarks.on_gpu.setting import Figure, Setting

CPU = ["--device", "cpu", "--quick"]


def test_every_section_runs_or_says_why_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gpu.json"
    assert gpu.main([*CPU, "--json", str(path)]) == 0
    kept = json.loads(path.read_text())
    assert kept["machine"]["torch"] and kept["machine"]["card"]

    found = kept["sections"]
    states = {name: entry["status"] for name, entry in found.items()}
    assert states == dict.fromkeys(gpu.SECTIONS, "done") | {"memory": "skipped", "tests": "skipped"}
    assert "needs a CUDA device" in found["memory"]["reason"]
    values = {f["what"]: f["value"] for e in found.values() for f in e["figures"]}
    assert values["stopped after one and resumed"] == "equal"
    assert values["float32: log p(x) less float32's"] == 0.0
    assert values["batch 20: PyTorch, CUDA graph"] == "skipped"
    assert isinstance(values["batch 20: Pyro SVI"], float)
    assert "| evidence | *done* |" in capsys.readouterr().out


def test_a_section_that_fails_keeps_what_it_found_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(setting: Setting) -> Iterator[Figure]:
        yield Figure("half of it", 1.0)
        raise RuntimeError("CUDA error: an illegal memory access")

    def running(setting: Setting) -> Iterator[Figure]:
        yield Figure("all of it", 2.0)

    monkeypatch.setattr(estimates, "evidence", failing)
    monkeypatch.setattr(estimates, "precision", running)
    path = tmp_path / "gpu.json"
    assert gpu.main([*CPU, "--only", "evidence,precision", "--json", str(path)]) == 1
    found: dict[str, Any] = json.loads(path.read_text())["sections"]
    assert found["evidence"]["reason"] == "RuntimeError: CUDA error: an illegal memory access"
    assert [f["value"] for f in found["evidence"]["figures"]] == [1.0]
    assert found["precision"]["status"] == "done"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import time; time.sleep(60)", {"status": "out of time", "reason": "not done within 0 s"}),
        ("raise SystemExit(3)", {"status": "failed", "reason": "its process ended with 3"}),
        ("pass", None),
    ],
)
def test_a_process_has_its_share_of_the_time(code: str, told: dict[str, str] | None) -> None:
    found: list[dict[str, str]] = []
    started = time.monotonic()
    share = 0.3 if told and told["status"] == "out of time" else 30.0
    gpu.ended([sys.executable, "-S", "-c", code], share, found.append)
    assert found == ([] if told is None else [told])
    assert time.monotonic() - started < 30


def test_the_shares_are_less_than_ten_minutes() -> None:
    assert sum(seconds for _, seconds in gpu.SECTIONS.values()) <= 560 < 600


def test_tests_that_failed_are_named() -> None:
    report = ElementTree.fromstring(
        '<testsuites><testsuite><testcase classname="tests.a" name="one"/>'
        '<testcase classname="tests.a" name="two"><failure message="assert 1 == 2"/></testcase>'
        '<testcase classname="tests.b" name="three"><skipped/></testcase></testsuite></testsuites>'
    )
    total, failed = checks._counted("all", report)
    assert (total.value, total.note) == (1, "1 failed, 1 skipped")
    assert (failed.what, failed.note) == ("failed: tests.a::two", "assert 1 == 2")
