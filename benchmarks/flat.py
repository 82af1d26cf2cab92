"""`python -m benchmarks.flat`: what a process holds while it trains and estimates for long.

    train     100,000 steps of one training, a run folder with it, for either engine
    evidence  1,000 calls of `log_evidence`, for either engine
    fit       200 calls of `fit`, each with programs of its own, compiled
    local     200 calls of `fit_local`, compiled
    open      200 calls of `open_run`

A tiny net on 1,000 rows of 4 columns, so that what is lost at each step or call is not hidden by
what a step needs. After the first few of them, and then some twenty times, garbage is collected,
free memory is given back to the system, and what is left is counted: resident memory, open files,
threads, tensors and those that hold a graph of gradients, states of random generators, Python
objects, captured graphs, modules and code of torch's compiler, parameters in Pyro's store.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pyro
import torch
from torch import Tensor

import pyro_vae as pv
from benchmarks.report import describe, keep
from benchmarks.settings import Settings
from pyro_vae.cli import main as command_line
from pyro_vae.graphs import Engine
from pyro_vae.graphs.compiled import Compiled
from pyro_vae.inference.closing import close_epoch

KEPT = Path(__file__).parent / "results" / "flat.json"
NUMBER = {
    "train, pyro": 100_000,
    "train, compiled": 100_000,
    "evidence, pyro": 1_000,
    "evidence, compiled": 1_000,
    "fit": 200,
    "local": 200,
    "open": 200,
}
ROWS, BATCH, SAMPLES, FIRST = 1_000, 10, 20, 0.05

Sample = dict[str, float]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.flat", description=__doc__)
    p.add_argument("--only", help="parts, such as train,fit; all unless given")
    p.add_argument("--share", type=float, default=1.0, help="of the number of steps and calls")
    p.add_argument("--json", type=Path, default=KEPT, help="file of the figures")
    return p


def held() -> Sample:
    """What the process holds, once garbage is collected and free memory given back."""
    for _ in range(2):
        gc.collect()
    with suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL("libc.so.6").malloc_trim(0)

    objects = gc.get_objects()
    tensors = [o for o in objects if type(o) in (Tensor, torch.nn.Parameter)]
    states = [t for t in tensors if t.dtype == torch.uint8 and t.numel() in (16, 5056)]
    graphs = [len(o._entries) for o in objects if type(o) is Compiled]
    sample = {
        "MiB": resident(),
        "files": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "system's threads": len(os.listdir("/proc/self/task")),
        "tensors": len(tensors),
        "with a graph": sum(t.grad_fn is not None for t in tensors),
        "random states": len(states),
        "objects": len(objects),
        "captured graphs": sum(graphs),
        "modules": len(sys.modules),
        "compiled code": compiled_code(),
        "parameters in the store": len(pyro.get_param_store()),
    }
    return {name: float(value) for name, value in sample.items()}


def resident() -> float:
    """MiB of the process that are in memory (VmRSS)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = next(line for line in lines if line.startswith("VmRSS"))
    return int(found.split()[1]) / 1024


def compiled_code() -> int:
    """Modules of code that torch's compiler has written and keeps."""
    cache = sys.modules.get("torch._inductor.codecache")
    return 0 if cache is None else len(cache.PyCodeCache.modules)


class Counter:
    """Takes a sample after the first few steps or calls, and then every so many."""

    def __init__(self, number: int, samples: int = SAMPLES) -> None:
        first = max(1, round(FIRST * number))
        self.at = {first + round(n * (number - first) / samples) for n in range(samples + 1)}
        self.done, self.samples = 0, list[Sample]()

    def __call__(self, steps: int = 1) -> None:
        before, self.done = self.done, self.done + steps
        if any(before < at <= self.done for at in self.at):
            self.samples.append({"after": float(self.done)} | held())


def rows() -> Tensor:
    """Data (1,000, 4)."""
    return torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(0))


def pair() -> tuple[Any, Any]:
    """A tiny model and guide."""
    torch.manual_seed(0)
    model = pv.VAE((4,), latent_dim=2, hidden=(8,), likelihood=pv.Gaussian())
    return model, pv.Amortized(pv.MeanField(2), pv.MLP((4,), (8,)))


def train(engine: Engine, number: int, told: Counter, folder: Path) -> None:
    """One training of so many steps, counted at the end of its epochs."""
    each = ROWS // BATCH

    def counted(*args: Any) -> Any:
        found = close_epoch(*args)
        told(each)
        return found

    recipe = pv.Recipe(epochs=number // each, batch_size=BATCH, engine=engine)
    with mock.patch("pyro_vae.inference.svi.close_epoch", counted):
        pv.fit(*pair(), rows(), recipe, valid=0, folder=folder / "run", quiet=True)


def evidence(engine: Engine, number: int, told: Counter, _: Path) -> None:
    """Calls of `log_evidence` on 20 rows."""
    model, guide = pair()
    x = rows()[:20]
    for _number in range(number):
        pv.log_evidence(model, guide, x, pv.Importance(num_particles=50, engine=engine))
        told()


def fits(number: int, told: Counter, _: Path) -> None:
    """Trainings of two epochs."""
    recipe = pv.Recipe(epochs=2, batch_size=50, engine="compiled")
    for _number in range(number):
        pv.fit(*pair(), rows()[:200], recipe, valid=0, quiet=True)
        told()


def local(number: int, told: Counter, _: Path) -> None:
    """Guides of 20 rows of their own, 20 steps each."""
    model, _guide = pair()
    x = rows()[:20]
    for _number in range(number):
        guide = pv.Local(pv.MeanField(2), len(x))
        pv.fit_local(model, guide, x, num_steps=20, engine="compiled")
        told()


def opened(number: int, told: Counter, folder: Path) -> None:
    """A run of the command line, opened again and again."""
    words = f"train --data digits --epochs 1 --batch_size 512 --folder {folder}/run --quiet true"
    small = " --model.hidden [8] --model.latent_dim 2 --guide.hidden [8]"
    assert command_line((words + small).split()) == 0
    for _number in range(number):
        pv.open_run(folder / "run")
        told()


def of_engine(part: Callable[..., None], engine: Engine) -> Callable[..., None]:
    """A part with one of the engines."""
    return lambda *args: part(engine, *args)


PARTS: dict[str, Callable[..., None]] = {
    "train, pyro": of_engine(train, "pyro"),
    "train, compiled": of_engine(train, "compiled"),
    "evidence, pyro": of_engine(evidence, "pyro"),
    "evidence, compiled": of_engine(evidence, "compiled"),
    "fit": fits,
    "local": local,
    "open": opened,
}


def measured(part: str, number: int, samples: int = SAMPLES) -> dict[str, Any]:
    """The samples of a part, and its seconds."""
    told, started = Counter(number, samples), time.monotonic()
    with tempfile.TemporaryDirectory() as folder, no_progress():
        PARTS[part](number, told, Path(folder))
    seconds = time.monotonic() - started
    return {"number": number, "seconds": round(seconds, 1), "samples": told.samples}


def measured_apart(part: str, number: int) -> dict[str, Any]:
    """The same, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as own:
        return own.submit(measured, part, number).result()


@contextmanager
def no_progress() -> Iterator[None]:
    """Say nothing of what is done."""
    with (
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
    ):
        yield


def grown(samples: list[Sample]) -> Sample:
    """How much each figure grew from the first third of the samples to the last, by the least of
    each: what comes and goes is no growth.
    """
    third = max(1, len(samples) // 3)
    first, last = samples[:third], samples[-third:]
    return {
        name: min(s[name] for s in last) - min(s[name] for s in first)
        for name in samples[0]
        if name != "after"
    }


def table(sections: dict[str, Any]) -> str:
    """In markdown: of each part what it held at first and in the end, and how much grew."""
    heads = ("what", "number", "MiB at first", "in the end", "grown", "what else grew", "seconds")
    lines = ["| " + " | ".join(heads) + " |", "| " + " | ".join(["---"] * len(heads)) + " |"]
    for part in PARTS:
        if part in sections:
            entry = sections[part]
            samples = entry["samples"]
            more = grown(samples)
            size = more.pop("MiB")
            others = ", ".join(f"{name} {value:+.0f}" for name, value in more.items() if value)
            cells = (
                *(part, f"{entry['number']:,}", f"{samples[0]['MiB']:,.1f}"),
                *(f"{samples[-1]['MiB']:,.1f}", f"{size:+.2f}", others or "nothing"),
                f"{entry['seconds']:,.0f}",
            )
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure each part in a process of its own, keep the figures and print them."""
    arguments = parser().parse_args()
    wanted = arguments.only.split(",") if arguments.only else {part.split(",")[0] for part in PARTS}
    for part in [part for part in PARTS if part.split(",")[0] in wanted]:
        number = max(SAMPLES, round(NUMBER[part] * arguments.share))
        found = measured_apart(part, number)
        facts = {k: v for k, v in describe(Settings()).items() if k != "settings"}
        keep(arguments.json, part, found | facts)
    print(table(json.loads(arguments.json.read_text())))


if __name__ == "__main__":
    main()
