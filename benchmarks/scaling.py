"""`python -m benchmarks.scaling`: what more GPUs would make of larger sets, on paper.

Counted and measured here, on a CPU: parameters, floating-point operations, bytes that the
operations of a step read and write, their number, what autograd keeps for the backward pass, and
seconds of a step. Published by the maker: the card's rates and the links'. Assumed: what share of
them a step gets. A step of a minibatch of b on each of N cards, its gradients averaged by a ring,

    compute  = max(flops / (share peak), bytes / (share bandwidth), operations * launch)
    traffic  = 2 (N - 1) / N * 4 P / link + 2 (N - 1) latency,   4 P bytes of gradients
    step     = compute + max(0, traffic - 2/3 compute)

since the backward pass, two thirds of the work, hides traffic. `--table` prints the tables of
docs/scaling.md from the kept figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pyro.infer import Trace_ELBO
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import pyro_vae as pv
from benchmarks.report import installed, processor

KEPT = Path(__file__).parent / "results" / "scaling.json"
SHAPE, BATCH = (3, 32, 32), 32
SETS = {"CIFAR-sized": 50_000, "ImageNet-32-sized": 1_281_167}
CARDS = (1, 8, 64)
NETS: dict[str, dict[str, Any]] = {
    "small": {"latent": 128, "hidden": (512,), "channels": (64, 128, 256)},
    "wide": {"latent": 256, "hidden": (2048,), "channels": (256, 512, 1024)},
}


@dataclass(frozen=True)
class Measured:
    """Of one net, here: per step of a minibatch of `batch`.

    Attributes:
        params: their number, P.
        flops: of forward and backward pass.
        moved: bytes that operations read and write, each by itself, more with each datum.
        fixed: the same whatever the minibatch: weights, and their gradients.
        operations: their number.
        saved: bytes kept for the backward pass.
        seconds: of a step on one core.
        batch: of the minibatch.
    """

    params: int
    flops: float
    moved: float
    fixed: float
    operations: int
    saved: float
    seconds: float
    batch: int


class Assumed(NamedTuple):
    """Published rates of a card and its links (an H100 SXM, NVLink 4, NDR InfiniBand), and the
    assumed shares of them.
    """

    peak: float = 494.7e12  # published: flop/s, TF32, dense
    bandwidth: float = 3.35e12  # published: bytes/s of memory
    memory: float = 80e9  # published: bytes
    inside: float = 450e9  # published: bytes/s one way between the 8 cards of a machine
    between: float = 50e9  # published: bytes/s one way of a card between machines
    share: float = 0.3  # assumed: of the peak
    share_moved: float = 0.7  # assumed: of all bandwidths
    fused: float = 0.4  # assumed: bytes that a compiler leaves of those of single operations
    launch: float = 1.5e-6  # assumed: seconds an operation inside a CUDA graph takes at least
    latency: float = 5e-6  # assumed: seconds of a step of the ring


class Step(NamedTuple):
    """Seconds of a step: compute, its traffic, the whole; and what bounds it."""

    compute: float
    traffic: float
    whole: float
    bound: str


def step(found: Measured, batch: int, cards: int, given: Assumed) -> Step:
    """A step of `batch` data on each of so many cards.

    Example:
        >>> one = Measured(1_000_000, 1e9, 1e8, 1e7, 100, 1e7, 0.1, 10)
        >>> step(one, 10, 1, Assumed()).traffic
        0.0
    """
    part = batch / found.batch
    adam = 7 * 4 * found.params  # reads p, g, m, v and writes p, m, v
    bytes_moved = (found.moved * part + found.fixed) * given.fused + adam
    times = {
        "products": found.flops * part / (given.share * given.peak),
        "memory": bytes_moved / (given.share_moved * given.bandwidth),
        "launches": found.operations * given.launch,
    }
    bound = max(times, key=lambda name: times[name])
    compute = times[bound]

    link = given.inside if cards <= 8 else given.between
    traffic = traffic_bytes(found.params, cards) / (given.share_moved * link)
    traffic += 2 * (cards - 1) * given.latency
    open_part = max(0.0, traffic - 2 / 3 * compute)
    return Step(compute, traffic, compute + open_part, "traffic" if open_part > 0 else bound)


def traffic_bytes(params: int, cards: int) -> float:
    """That a card sends for the gradients of a step, in a ring.

    Example:
        >>> traffic_bytes(1000, 1), traffic_bytes(1000, 8)
        (0.0, 7000.0)
    """
    return 2 * (cards - 1) / cards * 4 * params


def held(found: Measured, batch: int, num_data: int) -> dict[str, float]:
    """GB on each card, by what they are: all data as uint8 among them."""
    of_params = 4 * found.params / 1e9
    return {
        "parameters": of_params,
        "gradients": of_params,
        "Adam": 2 * of_params,
        "activations": found.saved * batch / found.batch / 1e9,
        "data": num_data * 3 * 32 * 32 / 1e9,
    }


class _Counting(TorchDispatchMode):
    """Bytes that operations read and write, and how many operations there are; views are none."""

    def __init__(self) -> None:
        super().__init__()
        self.moved, self.operations = 0.0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        writes = any(a.alias_info and a.alias_info.is_write for a in func._schema.arguments)
        if writes or not any(r.alias_info for r in func._schema.returns):
            tensors = [t for t in tree_leaves((args, kwargs, found)) if isinstance(t, Tensor)]
            self.moved += sum(t.numel() * t.element_size() for t in tensors)
            self.operations += 1
        return found


def programs(latent: int, hidden: tuple[int, ...], channels: tuple[int, ...]) -> Any:
    """The convolutional model and guide of a net, a discretised logistic for pixels."""
    decoder = partial(pv.ConvDecoder, channels=tuple(reversed(channels)))
    model = pv.VAE(SHAPE, latent, hidden, decoder=decoder, likelihood=pv.DiscretisedLogistic())
    encoder = pv.Conv(SHAPE, hidden, channels=channels)
    return model, pv.Amortized(pv.MeanField(latent), encoder)


def measure(net: dict[str, Any], batch: int, rounds: int) -> Measured:
    """Count and time a step of one net."""
    torch.manual_seed(0)
    model, guide = programs(**net)
    parameters = [p for part in (model, guide) for p in part.parameters()]
    x = torch.randint(0, 256, (batch, *SHAPE)).float().add(0.5).div(256)
    elbo = Trace_ELBO()

    def gradients() -> None:
        loss = elbo.differentiable_loss(model, guide, x)
        loss.backward()
        for p in parameters:
            p.grad = None

    gradients()
    flops, counting, twice = FlopCounterMode(display=False), _Counting(), _Counting()
    with flops:
        gradients()
    with counting:
        gradients()
    x = torch.cat([x, x])
    with twice:
        gradients()
    x = x[:batch]

    saved: dict[int, int] = {}
    own = {p.data_ptr() for p in parameters}

    def pack(t: Tensor) -> Tensor:
        if t.data_ptr() not in own:
            saved[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        elbo.differentiable_loss(model, guide, x)

    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        gradients()
        seconds.append(time.perf_counter() - started)
    return Measured(
        params=sum(p.numel() for p in parameters),
        flops=float(flops.get_total_flops()),
        moved=twice.moved - counting.moved,
        fixed=2 * counting.moved - twice.moved,
        operations=counting.operations,
        saved=float(sum(saved.values())),
        seconds=statistics.median(seconds),
        batch=batch,
    )


def tables(kept: dict[str, Any]) -> str:
    """The tables of the page, in markdown."""
    nets = {name: Measured(**found) for name, found in kept["nets"].items()}
    lines = [
        "| net | parameters | GFLOP a datum | MB moved a datum | MB kept a datum | MB moved a step"
        " besides | operations | data/s on a core |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, one in nets.items():
        of_datum = (one.flops / 1e9, one.moved / 1e6, one.saved / 1e6)
        shown = " | ".join(f"{value / one.batch:.3g}" for value in of_datum)
        rate = one.batch / one.seconds
        lines.append(
            f"| {name} | {one.params / 1e6:.1f} M | {shown} | {one.fixed / 1e6:,.0f} |"
            f" {one.operations} | {rate:,.0f} |"
        )

    for name, one in nets.items():
        lines += ["", *_steps(name, one)]
    lines += ["", *_memory(nets)]
    return "\n".join(lines)


def _steps(name: str, one: Measured) -> list[str]:
    """Steps per second of one net, by the minibatch on each card."""
    lines = [
        f"| {name}: a card's minibatch | cards | sent a step | steps/s | of perfect | bound by |"
        " CIFAR epoch | ImageNet-32 epoch |",
        "| ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: |",
    ]
    for batch in (16, 128, 1024):
        alone = step(one, batch, 1, Assumed()).whole
        for cards in CARDS:
            found = step(one, batch, cards, Assumed())
            sent = traffic_bytes(one.params, cards) / 1e6
            epochs = [num * found.whole / (batch * cards) for num in SETS.values()]
            lines.append(
                f"| {batch} | {cards} | {sent:,.0f} MB | {1 / found.whole:,.0f} |"
                f" {alone / found.whole:.0%} | {found.bound} |"
                f" {epochs[0]:.2g} s | {epochs[1]:.2g} s |"
            )
    return lines


def _memory(nets: dict[str, Measured]) -> list[str]:
    """GB on each card at a minibatch of 1,024."""
    names = list(held(next(iter(nets.values())), 1, 1))
    head = "| GB on each card, minibatch 1,024 | " + " | ".join(names) + " | together |"
    lines = [head, "| --- |" + " ---: |" * (len(names) + 1)]
    for name, one in nets.items():
        for of, num_data in SETS.items():
            parts = held(one, 1024, num_data)
            shown = " | ".join(f"{value:.2g}" for value in parts.values())
            lines.append(f"| {name}, {of} | {shown} | {sum(parts.values()):.2g} |")
    return lines


def main(words: list[str] | None = None) -> None:
    """Measure, keep and print; or print what is kept."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description="On paper.")
    p.add_argument("--table", action="store_true", help="print the tables of the kept figures")
    p.add_argument("--batch", type=int, default=BATCH, help="of the steps that are measured")
    p.add_argument("--rounds", type=int, default=9)
    p.add_argument("--json", type=Path, default=KEPT)
    args = p.parse_args(words)
    if not args.table:
        torch.set_num_threads(1)
        found = {name: asdict(measure(net, args.batch, args.rounds)) for name, net in NETS.items()}
        machine = {"processor": processor(), "threads": 1, "torch": installed("torch")}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"machine": machine, "nets": found}, indent=1) + "\n")
    print(tables(json.loads(args.json.read_text())))


if __name__ == "__main__":
    main()
