"""`python -m benchmarks.processes`: what a second process is worth, each with one thread.

Crews of one process and of two do the same work in turns, the order turned around every time: the
evidence of MNIST's test images by importance sampling (scouts included), and an epoch's steps of
training. A speed-up is the median over the rounds of the ratio to the crew of one in the same
round. Everything is compiled before the first turn. The processes are children of this one and meet
as those that torchrun starts do; on a machine with fewer free cores than processes it says nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

import pyro_vae as pv
from benchmarks.report import describe, keep
from benchmarks.settings import Settings
from pyro_vae.inference.job import Job
from pyro_vae.inference.prepare import prepare
from pyro_vae.processes import count, is_first, joined, own_share, wait

KEPT = Path(__file__).parent / "results" / "processes.json"
_GO, _END = b"1", b"0"
Work = Callable[[], Callable[[], object]]
"""Makes everything ready, and returns what is done in each turn."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.processes", description=__doc__)
    p.add_argument("--data", default="mnist", help="a named set")
    p.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="sizes of the crews")
    p.add_argument("--rounds", type=int, default=5, help="turns of each crew")
    p.add_argument("--num-data", type=int, default=1000, help="whose evidence is estimated")
    p.add_argument("--num-particles", type=int, default=5000, help="of each")
    p.add_argument("--hidden", type=int, nargs="+", default=[200, 200], help="units of the nets")
    p.add_argument("--batch", type=int, nargs="+", default=[128, 1024], help="of the trainings")
    p.add_argument("--steps", type=int, help="of a turn of training; an epoch's unless given")
    p.add_argument("--json", type=Path, default=KEPT, help="file of the figures")
    return p


class Crew:
    """Processes that do their work when they are told to; use `turn`, then `leave`."""

    def __init__(self, number: int, work: Work) -> None:
        self.place = tempfile.TemporaryDirectory()
        self.children, self.orders = [], []
        heard, says = os.pipe()
        for rank in range(number):
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                _serve(rank, number, self.place.name, work, read, says)
            os.close(read)
            self.orders.append(write)
            self.children.append(child)
        os.close(says)
        self.heard = os.fdopen(heard)
        self._hear()  # ready

    def turn(self) -> float:
        """Seconds of a turn."""
        for order in self.orders:
            os.write(order, _GO)
        return self._hear()

    def leave(self) -> None:
        """End the processes."""
        for order in self.orders:
            os.write(order, _END)
            os.close(order)
        for child in self.children:
            os.waitpid(child, 0)
        self.place.cleanup()

    def _hear(self) -> float:
        told = self.heard.readline()
        if not told:
            raise RuntimeError("a process has ended: see what it said above")
        return float(told)


def _serve(rank: int, number: int, place: str, work: Work, read: int, says: int) -> None:
    """Be a process of a crew."""
    from torch.distributed import FileStore  # type: ignore[attr-defined]

    code = 1
    try:
        torch.set_num_threads(1)
        with joined(rank, number, FileStore(f"{place}/store", number)):
            act = work()
            wait()
            _say(says, 0.0)
            while os.read(read, 1) == _GO:
                wait()
                started = time.perf_counter()
                act()
                wait()
                _say(says, time.perf_counter() - started)
        code = 0
    except Exception:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _say(says: int, seconds: float) -> None:
    if is_first():
        os.write(says, f"{seconds}\n".encode())


def programs(data: pv.Dataset, hidden: list[int]) -> tuple[Any, Any]:
    """A model and its encoder, always the same."""
    torch.manual_seed(0)
    model = pv.VAE(data.shape, latent_dim=50, hidden=tuple(hidden))
    encoder = pv.MLP(data.shape, tuple(hidden))
    return model, pv.Amortized(pv.MeanField(50), encoder)


def evidence(data: pv.Dataset, arguments: argparse.Namespace) -> Work:
    """log p(x) of the first test data."""

    def work() -> Callable[[], object]:
        model, guide = programs(data, arguments.hidden)
        method = pv.Importance(arguments.num_particles, engine="compiled")
        x = data.test.x[: arguments.num_data]

        def act() -> object:
            return pv.log_evidence(model, guide, x, method)

        pv.log_evidence(model, guide, x[: 32 * count()], method)
        return act

    return work


def training(data: pv.Dataset, arguments: argparse.Namespace, batch: int) -> Work:
    """Steps of a training."""
    number = arguments.steps or len(data.train) // batch

    def work() -> Callable[[], object]:
        model, guide = programs(data, arguments.hidden)
        recipe = pv.Recipe(epochs=10_000, batch_size=batch, engine="compiled", warmup_epochs=0)
        job = prepare(model, guide, data, recipe.for_data(len(data.train), True), None)
        steps = _steps(job, batch)

        def act() -> object:
            return [next(steps) for _ in range(number)]

        for _ in range(12):  # compiled, and compared
            next(steps)
        return act

    return work


def _steps(job: Job, batch: int) -> Iterator[float]:
    """The steps as `fit` takes them, without an end."""
    while True:
        order = [part for part in job.feed.order(job.noise).split(batch) if len(part) == batch]
        for rows in job.feed.batches(order):
            yield float(job.step(rows, job.train.bits(batch, job.noise), own_share(batch)))


def compare(arguments: argparse.Namespace, work: Work) -> dict[str, Any]:
    """Seconds of each crew's turns, and how many times faster than the first crew."""
    crews = {number: Crew(number, work) for number in arguments.processes}
    seconds: dict[int, list[float]] = {number: [] for number in crews}
    for turn in range(arguments.rounds):
        for number in list(crews)[:: 1 if turn % 2 == 0 else -1]:
            seconds[number].append(crews[number].turn())
    for crew in crews.values():
        crew.leave()

    beside, found = seconds[arguments.processes[0]], {}
    for number, mine in seconds.items():
        ratios = [one / other for one, other in zip(beside, mine, strict=True)]
        found[str(number)] = {
            "seconds": round(statistics.median(mine), 4),
            "times faster": round(statistics.median(ratios), 3),
            "from": round(min(ratios), 3),
            "to": round(max(ratios), 3),
            "seconds of turns": [round(each, 4) for each in mine],
        }
    return found


def main(arguments: argparse.Namespace) -> None:
    """Measure, print, keep."""
    torch.set_num_threads(1)
    data = pv.load(arguments.data, binarise="dynamic")
    works = {f"evidence of {arguments.num_data}": evidence(data, arguments)}
    for batch in arguments.batch:
        works[f"training, batch {batch}"] = training(data, arguments, batch)

    for name, work in works.items():
        found = compare(arguments, work)
        for number, told in found.items():
            spread = f"{told['from']} to {told['to']}"
            print(
                f"{name}: {number} processes {told['seconds']} s,"
                f" {told['times faster']} times as fast ({spread})",
                flush=True,
            )
        settings = {key: value for key, value in vars(arguments).items() if key != "json"}
        entry = describe(Settings(data=arguments.data)) | {"settings": settings, "figures": found}
        keep(arguments.json, name, entry)


if __name__ == "__main__":
    main(parser().parse_args())
