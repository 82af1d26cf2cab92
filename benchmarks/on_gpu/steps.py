"""A training step, beside what bounds it and what one would write: ms, medians over turns.

All sides get the same binarised minibatches, which lie on the device, and take one fused Adam but
where said otherwise. The floor is given twice: all matrix products of a step, and the time that the
device spends in the kernels of the package's own step (the sum of kernel times), whatever the host
does meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pyro
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor

import pyro_vae as pv
from benchmarks.networks import HandWritten, programs
from benchmarks.on_gpu.setting import Figure, Setting, images
from benchmarks.steps import Batches, Step, floor, hand_written, stepping, stock_svi
from benchmarks.timing import Side, Skipped, Table, measure
from pyro_vae.inference.cuda import Replayed
from pyro_vae.inference.optim import JointOptim

FUSED = partial(torch.optim.Adam, lr=1e-3, fused=True)
OURS = "pyro_vae, CUDA graph"
FLOOR = "matrix products"


def step(setting: Setting) -> Iterator[Figure]:
    """Milliseconds per step at batch 100 and 1,024, and an epoch of `fit`."""
    data, name = images(setting.quick)
    yield Figure("data", name)
    for batch in (20,) if setting.quick else (100, 1024):
        torch._dynamo.reset()
        pyro.clear_param_store()
        torch.manual_seed(0)
        yield from _at(setting, _batches(data, batch, setting.device))
    yield from _epochs(setting, data)


def _batches(data: pv.Dataset, size: int, device: str) -> Batches:
    """Some minibatches on the device, binarised once."""
    index = torch.arange(min(10_000, len(data.train)) // size * size)
    x = data.train.batch(index, torch.Generator().manual_seed(0))
    return list(zip(x.to(device).split(size), index.to(device).split(size), strict=True))


def _at(setting: Setting, batches: Batches) -> Iterator[Figure]:
    """The sides at one batch size, ratios to the products."""
    size, block, device = len(batches[0][0]), setting.size(50, 2), setting.device
    table = Table("step", f"batch {size}", "ms", FLOOR)
    net = setting.net

    def side(make: Callable[[], Step]) -> Callable[[], Side]:
        def built() -> Side:
            found = stepping(make(), batches, block, validation=False)
            return replace(found, warm=found.prepare) if setting.quick else found

        return built

    sides = {
        FLOOR: lambda: floor(net, size, block, device),
        "PyTorch, eager": side(lambda: hand_written(net, FUSED, False, device)),
        "PyTorch, compiled": side(lambda: _compiled(setting)),
        "PyTorch, CUDA graph": side(lambda: _graphed(setting, batches, compiled=False)),
        "PyTorch, compiled, CUDA graph": side(lambda: _graphed(setting, batches, compiled=True)),
        "Pyro SVI": side(lambda: stock_svi(net, device)),
        "pyro_vae, compiled": side(lambda: _ours(setting).step),
        OURS: side(lambda: _replayed(setting)),
    }
    measure(table, sides, setting.size(11, 1), setting.wait)

    for row in table.as_dict()["rows"]:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f} of the products"
        yield Figure(f"batch {size}: {row['side']}", row["median"], "ms", ratio)
    for name, reason in table.skipped.items():
        yield Figure(f"batch {size}: {name}", "skipped", note=reason)
    yield from _kernels(setting, batches)


def _compiled(setting: Setting) -> Step:
    if setting.quick:
        raise Skipped("the compiler is not asked for figures without meaning")
    return hand_written(setting.net, FUSED, True, setting.device)


def _graphed(setting: Setting, batches: Batches, compiled: bool) -> Step:
    """The usual loop, recorded by hand: forward, backward and a capturable Adam."""
    setting.need_cuda("a CUDA graph")
    vae = HandWritten(setting.net).to(setting.device)
    optim = torch.optim.Adam(vae.parameters(), lr=1e-3, fused=True, capturable=True)
    loss = torch.compile(vae.loss, dynamic=False) if compiled else vae.loss
    static = batches[0][0].flatten(1).clone()

    def whole() -> None:
        optim.zero_grad(set_to_none=True)
        loss(static).backward()
        optim.step()

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(5):
            whole()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        whole()

    def replayed(x: Tensor, index: Tensor) -> None:
        static.copy_(x.flatten(1))
        graph.replay()

    return replayed


def _ours(setting: Setting) -> pv.CompiledSVI:
    if setting.quick and setting.device == "cpu":
        raise Skipped("the compiler is not asked for figures without meaning")
    parts = programs(setting.net, setting.device)
    return pv.CompiledSVI(*parts, FUSED, Trace_ELBO(), fallback=False)


def _replayed(setting: Setting) -> Step:
    """What `fit` takes on a GPU, without its binarisation."""
    setting.need_cuda("a CUDA graph")
    model, guide = programs(setting.net, setting.device)
    optim = JointOptim(FUSED, [*model.parameters(), *guide.parameters()])
    svi = pv.CompiledSVI(model, guide, optim, Trace_ELBO(), fallback=False)

    def granted() -> Any:
        return optim.recordable() if svi.recordable() else None

    return Replayed(svi.step, svi.plain_step, granted, optim.refresh)


def _kernels(setting: Setting, batches: Batches) -> Iterator[Figure]:
    """The device's time in the kernels of our step, and the host's beside it."""
    name = f"batch {len(batches[0][0])}: sum of kernel times of {OURS}"
    try:
        run = _replayed(setting)
    except Skipped as reason:
        yield Figure(name, "skipped", note=str(reason))
        return

    for number in range(40):
        run(*batches[number % len(batches)])
    setting.wait()
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for number in range(20):
            run(*batches[number % len(batches)])
        setting.wait()

    events = [event for event in profile.events() if str(event.device_type).endswith("CUDA")]
    total = sum(event.time_range.elapsed_us() for event in events)
    yield Figure(name, total / 20 / 1000, "ms", f"{len(events) / 20:.0f} kernels a step")


def _epochs(setting: Setting, data: pv.Dataset) -> Iterator[Figure]:
    """The last of three epochs of `fit`, binarisation, losses and all."""
    few = pv.Dataset(data.name, data.train.take(setting.size(60_000, 60)), None, data.test)
    for engine in ("pyro",) if setting.quick else ("compiled",):
        model, guide = programs(setting.net, setting.device)
        options: Any = {"engine": engine, "batch_size": 100, "epochs": setting.size(3, 2)}
        run = pv.fit(model, guide, few, device=setting.device, quiet=True, **options)
        last, before = run.history[-1]["seconds"], run.history[-2]["seconds"]
        steps = -(-len(few.train) // 100)
        yield Figure("an epoch of fit, batch 100", last - before, "s", f"engine {engine}")
        yield Figure("its step", 1000 * (last - before) / steps, "ms")
