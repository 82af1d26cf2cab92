"""Section `steps`: milliseconds per training step on pre-binarised batches in memory, float32, Adam
at 1e-3.

A turn is a block of 20 steps (10 at batch 1024) after two untimed ones. No side reads the loss
except Pyro's SVI, whose `step` returns a float.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pyro
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import PyroOptim
from torch import Tensor

import pyro_vae as pv
from benchmarks.networks import HandWritten, products, programs, synchroniser
from benchmarks.settings import GATED, ONE_LAYER, TWO_LAYERS, Net, Settings
from benchmarks.timing import Side, Skipped, Table, measure

Batches = list[tuple[Tensor, Tensor]]  # images (B, 1, 28, 28) and their rows (B,)
Step = Callable[[Tensor, Tensor], object]
BASELINE = "PyTorch, Adam fused"


def run(settings: Settings, data: pv.Dataset) -> Iterator[Table]:
    """Time every network at every batch size."""
    nets = [TWO_LAYERS] if settings.quick else [TWO_LAYERS, ONE_LAYER, GATED]
    for net in nets:
        for batch in [20] if settings.quick else [20, 128, 1024]:
            torch._dynamo.reset()
            pyro.clear_param_store()
            torch.manual_seed(0)
            yield time_steps(settings, net, make_batches(data, batch, settings.device))


def make_batches(data: pv.Dataset, size: int, device: str) -> Batches:
    """Some 10,000 images in batches of `size`, drawn once."""
    index = torch.arange(max(1, 10_000 // size) * size)
    x = data.train.batch(index, torch.Generator().manual_seed(0))
    return list(zip(x.to(device).split(size), index.to(device).split(size), strict=True))


def time_steps(settings: Settings, net: Net, batches: Batches) -> Table:
    """The table of one network and batch size."""
    size = len(batches[0][0])
    setting = f"{net.name}, batch {size}"
    table = Table("steps", setting, "ms per step", settings.baseline or BASELINE)
    block = 10 if size >= 1024 else 20
    if settings.quick:
        block = 2

    device = settings.device
    fused = partial(torch.optim.Adam, lr=1e-3, fused=True)
    plain = partial(torch.optim.Adam, lr=1e-3)

    def side(make: Callable[[], Step], validation: bool = False) -> Callable[[], Side]:
        return lambda: stepping(make(), batches, block, validation)

    sides = {
        "matrix products": lambda: floor(net, size, block, device),
        "PyTorch, Adam": side(lambda: hand_written(net, plain, False, device)),
        "PyTorch, Adam fused": side(lambda: hand_written(net, fused, False, device)),
        "PyTorch, torch.compile, Adam": side(lambda: hand_written(net, plain, True, device)),
        "PyTorch, torch.compile, Adam fused": side(lambda: hand_written(net, fused, True, device)),
        "Pyro SVI, validation off": side(lambda: stock_svi(net, device)),
        "Pyro SVI, validation on": side(lambda: stock_svi(net, device), validation=True),
        "pyro_vae.CompiledSVI": side(lambda: compiled_svi(net, fused, device)),
    }

    rounds = settings.rounds or (2 if settings.quick else 20)
    measure(table, settings.pick(sides), rounds, synchroniser(device))
    return table


def stepping(step: Step, batches: Batches, block: int, validation: bool) -> Side:
    """A side from its step: turns of `block` steps that go round the batches."""
    position = 0

    def steps(number: int) -> None:
        nonlocal position
        with pyro.validation_enabled(validation):
            for _ in range(number):
                step(*batches[position % len(batches)])
                position += 1

    def some() -> None:
        steps(2)

    return Side(lambda: steps(block), 1000 / block, warm=lambda: steps(70), prepare=some)


def floor(net: Net, size: int, block: int, device: str) -> Side:
    """All products of a step: forward, gradients of weights, and of all inputs but the images."""
    layers = [*net.encoder, *net.decoder]
    gradients = ["w"] + ["wx"] * (len(layers) - 1)
    step = products(list(zip(layers, gradients, strict=True)), size, device)

    def steps(number: int) -> None:
        for _ in range(number):
            step()

    return Side(lambda: steps(block), 1000 / block, prepare=lambda: steps(2))


def hand_written(
    net: Net, optimizer: Callable[..., torch.optim.Optimizer], compiled: bool, device: str
) -> Step:
    """The usual loop, with the loss (forward and backward) compiled or not."""
    vae = HandWritten(net).to(device)
    optim = optimizer(vae.parameters())
    loss = torch.compile(vae.loss, dynamic=False) if compiled else vae.loss

    def step(x: Tensor, index: Tensor) -> None:
        optim.zero_grad(set_to_none=True)
        loss(x.view(len(x), -1)).backward()
        optim.step()

    return step


def stock_svi(net: Net, device: str) -> Step:
    """`pyro.infer.SVI` with what `pyro.optim.Adam` makes, on the package's programs."""
    return SVI(*programs(net, device), PyroOptim(torch.optim.Adam, {"lr": 1e-3}), Trace_ELBO()).step


def compiled_svi(net: Net, optimizer: Callable[..., torch.optim.Optimizer], device: str) -> Step:
    """The package's engine on the same programs."""
    engine = getattr(pv, "CompiledSVI", None)
    if engine is None:
        raise Skipped("this version of pyro_vae has no CompiledSVI")
    return engine(*programs(net, device), optimizer, Trace_ELBO()).step
