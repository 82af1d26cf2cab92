"""A side of the section `epochs` in a process of its own: it trains one epoch when told to, and
sleeps in between.

JAX and torch each keep a pool of threads, so they never share a process. A side is a function
`train(task, gate)` that trains `task.epochs` epochs in whatever loop its library has, and calls
`gate(loss)` after each one: the gate tells the parent the seconds since the last "go" and returns
at the next "go". The first epoch, with loading the data and compiling, is not a sample; imports
come before it.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.settings import Net
from benchmarks.timing import reason

Loss = float | None
Train = Callable[["Task", "Gate"], list[float] | None]

SIDES = {
    "NumPyro, jitted scan of an epoch": "in_numpyro:train",
    "pythae, BaseTrainer": "in_pythae:train",
    "Pyro SVI, torchvision DataLoader": "in_torch:svi_with_loader",
    "Pyro SVI, in memory": "in_torch:svi_in_memory",
    "PyTorch, Adam fused": "in_torch:hand_written",
    "PyTorch, torch.compile, Adam fused": "in_torch:hand_written_compiled",
    "pyro_vae.fit, engine='compiled'": "in_torch:fit_compiled",
}
"""Sides by name: module of benchmarks.sides and function."""


@dataclass(frozen=True)
class Task:
    """What every side trains.

    Attributes:
        side: a key of `SIDES`.
        net, batch: the network and the batch size; the last, partial batch of an epoch is used too.
        epochs: with the first.
        pixels: .npy file of the training images, uint8 (N, 784).
        data_root: folder in torchvision's layout with the same images, and `data`, the name of the
            set there.
        device: of the torch sides.
        test: .npy file of binary test images, float32 (N, 784), by whose ELBO the sides are scored
            after each epoch; empty for no score.
    """

    side: str
    net: Net
    batch: int
    epochs: int
    pixels: str
    data: str
    data_root: str
    device: str
    test: str = ""

    def test_images(self) -> Any:
        """The test images, an array (N, 784)."""
        import numpy as np

        return np.load(self.test)


class Gate:
    """Ends an epoch and waits for the next.

    Attributes:
        scored: whether `score` is asked for, the mean ELBO of the test images, nats; the time that
            it takes does not count.
    """

    def __init__(self, pipe: Connection, scored: bool = False) -> None:
        self.pipe, self.scored = pipe, scored
        self.losses: list[Loss] = []
        self.started = time.perf_counter()

    def __call__(self, loss: Loss = None, score: Callable[[], float] | None = None) -> None:
        """Report an epoch, with its mean train loss (nats per image) where it is known by now; wait
        for "go".
        """
        seconds = time.perf_counter() - self.started
        self.losses.append(loss)
        told = (seconds, score()) if self.scored and score is not None else seconds
        self.pipe.send(("epoch", told))
        self.pipe.recv()
        self.started = time.perf_counter()


def work(task: Task, pipe: Connection) -> None:
    """The whole life of a worker process."""
    silence()
    try:
        module, function = SIDES[task.side].split(":")
        train: Train = getattr(import_module(f"benchmarks.sides.{module}"), function)

        pipe.send(("ready", None))
        pipe.recv()
        gate = Gate(pipe, bool(task.test))
        losses = train(task, gate) or gate.losses
        pipe.send(("end", {"train loss": losses[-1], "peak MiB": peak_memory(task.device)}))
    except Exception as error:  # told to the parent, which skips this side
        pipe.send(("failed", reason(error)))


def silence() -> None:
    """Send what libraries print (progress bars, logs) nowhere; errors go through the pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(nowhere, stream.fileno())


def peak_memory(device: str) -> float:
    """Most memory that this process held at once, MiB: allocated on the GPU, or resident."""
    if device == "cuda" and "torch" in sys.modules:
        torch: Any = sys.modules["torch"]
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss of a process that was forked may be its parent's
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def cpu_seconds(pid: int) -> float:
    """Processor time that all threads of a process have used; 0 where /proc does not tell."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
