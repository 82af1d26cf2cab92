"""What has to hold on a GPU: its tests, a run that goes on as if never stopped, memory that is
short.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyro
import torch

import pyro_vae as pv
from benchmarks.networks import programs
from benchmarks.on_gpu.setting import Figure, Setting, images, test_images, trained

ROOT = Path(__file__).parents[2]
# those that are skipped without a GPU; then those whose runs go to the GPU where there is one
OWN = ["tests/data/test_datasets.py", "tests/test_on_gpu.py", "-k", "cuda"]
OTHERS = [
    "tests/inference/test_steps.py",
    "tests/inference/test_resume.py",
    "tests/inference/test_optim.py",
    "tests/graphs",
]


def tests(setting: Setting) -> Iterator[Figure]:
    """The tests that need CUDA, and then some that use it where it is there."""
    setting.need_cuda("a test of CUDA")
    yield from _pytest("tests that need CUDA", OWN, setting.left)
    yield from _pytest("tests that use it where it is", OTHERS, setting.left - 5)


def _pytest(name: str, what: list[str], seconds: float) -> Iterator[Figure]:
    """Counts, and the names of those that failed."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        try:
            done = subprocess.run(
                [*command, f"--junitxml={out}", *what],
                cwd=ROOT,
                timeout=max(5.0, seconds),
                capture_output=True,
                text=True,
            )
        except subprocess.TimeoutExpired:
            yield Figure(name, "stopped", note=f"not done within {seconds:.0f} s")
            return
        if not out.exists():
            yield Figure(name, "failed", note=(done.stdout + done.stderr)[-300:])
            return
        yield from _counted(name, ElementTree.parse(out).getroot())


def _counted(name: str, report: ElementTree.Element) -> Iterator[Figure]:
    """Of a report in JUnit's form."""
    cases = list(report.iter("testcase"))
    bad = [c for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skipped = sum(case.find("skipped") is not None for case in cases)
    passed = len(cases) - len(bad) - skipped
    yield Figure(f"{name}: passed", passed, "tests", f"{len(bad)} failed, {skipped} skipped")
    for case in bad:
        found = case.find("failure")
        why = found if found is not None else case.find("error")
        told = "" if why is None else why.get("message", "")[:200]
        yield Figure(f"failed: {case.get('classname')}::{case.get('name')}", "failed", note=told)


def resume(setting: Setting) -> Iterator[Figure]:
    """A run of three epochs, and one that was stopped after the first and goes on."""
    data, _ = images(setting.quick)
    few = pv.Dataset(data.name, data.train.take(setting.size(10_000, 110)), None, data.test)
    engine = "pyro" if setting.quick else "compiled"
    options: Any = {"engine": engine, "batch_size": 100, "warmup_epochs": 1.5, "clip_norm": 50.0}

    def weights(folder: Path, *lengths: int) -> tuple[list[float], list[torch.Tensor]]:
        pyro.clear_param_store()
        torch.manual_seed(0)
        model, guide = programs(setting.net)
        for number, epochs in enumerate(lengths):
            again: Any = {"folder": folder, "resume": number > 0, "epochs": epochs}
            run = pv.fit(model, guide, few, device=setting.device, quiet=True, **options, **again)
        losses = [row["train_loss"] for row in run.history]
        return losses, [p.detach().cpu() for part in (model, guide) for p in part.parameters()]

    with tempfile.TemporaryDirectory() as folder:
        whole = weights(Path(folder) / "whole", 3)
        yield Figure("three epochs at once, last loss", whole[0][-1], "nats per datum")
        again = weights(Path(folder) / "again", 3)
        yield _compared("the same again", whole, again)
        parted = weights(Path(folder) / "parted", 1, 3)
        yield _compared("stopped after one and resumed", whole, parted)


def _compared(name: str, one: Any, other: Any) -> Figure:
    """Bit for bit, or the largest difference of a parameter."""
    pairs = list(zip(one[1], other[1], strict=True))
    if all(torch.equal(a, b) for a, b in pairs) and one[0] == other[0]:
        return Figure(name, "equal", note="losses and parameters, bit for bit")
    most = max((a - b).abs().max().item() for a, b in pairs)
    return Figure(name, most, "largest difference", "not bit for bit")


def memory(setting: Setting) -> Iterator[Figure]:
    """A chunk that the device does not hold is halved, and the numbers are the same."""
    setting.need_cuda("memory that is short (tests/evidence/test_out_of_memory.py plays it)")
    model, guide = trained(setting.device, setting.quick)
    x = test_images(setting, 200)
    enough = pv.log_evidence(model, guide, x, pv.Importance(5000, num_scouts=0, engine="pyro"))

    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    used = torch.cuda.memory_reserved()
    torch.cuda.set_per_process_memory_fraction((used + 600 * 2**20) / total)
    greedy = pv.Importance(5000, num_scouts=0, engine="pyro", max_bytes=2**40)
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            little = pv.log_evidence(model, guide, x, greedy)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

    words = [str(w.message) for w in told if "out of memory" in str(w.message)]
    yield Figure("600 MiB free", words[0] if words else "no shortage met: nothing was shown")
    most = (little.log_px - enough.log_px).abs().max().item()
    yield Figure("largest difference of log p(x)", most, "nats")
