"""Evidence by importance sampling and by annealing, and what cheaper products cost in nats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

import pyro_vae as pv
from benchmarks.on_gpu.setting import Figure, Setting, test_images, trained
from pyro_vae.evidence.importance_estimate import statistics_of
from pyro_vae.evidence.scores import Scores
from pyro_vae.graphs import Engine
from pyro_vae.programs.pair import opened
from pyro_vae.programs.traces import Particles

GOAL = 2.0  # seconds


def evidence(setting: Setting) -> Iterator[Figure]:
    """10,000 images by 5,000 particles; where the time goes."""
    model, guide = trained(setting.device, setting.quick)
    x, particles = (
        test_images(setting, setting.size(10_000, 20)),
        setting.size(5000, 50),
    )
    method = pv.Importance(particles, num_scouts=0, engine=_engine(setting))
    few = x[: max(1, len(x) // 20)]
    pv.log_evidence(model, guide, few, method)  # compiles; the whole has blocks of the same size
    seconds = setting.timed(lambda: pv.log_evidence(model, guide, few, method))
    what = f"{len(few)} images x {particles} particles"
    yield Figure(what, seconds, "s", "once compiled")

    whole = seconds * len(x) / len(few)
    if whole > setting.left:
        yield Figure(f"{len(x)} images", whole, "s", "extrapolated: beyond its share of the time")
    else:
        if setting.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        whole = setting.timed(lambda: pv.log_evidence(model, guide, x, method))
        yield Figure(f"{len(x)} images", whole, "s", f"goal: under {GOAL:g}")
        if setting.device == "cuda":
            peak = torch.cuda.max_memory_allocated() / 2**30
            yield Figure("peak memory", peak, "GiB", "the byte budget is 1 GiB")

    rate = len(x) * particles / whole / 1e6
    yield Figure("evaluations", rate, "million/s")
    yield from _shares(setting, few, particles)
    scouted = replace(method, num_scouts=8)
    pv.log_evidence(model, guide, few, scouted)
    took = setting.timed(lambda: pv.log_evidence(model, guide, few, scouted))
    yield Figure(f"{what}, with scouts", took, "s")


def _shares(setting: Setting, x: Tensor, particles: int) -> Iterator[Figure]:
    """Drawing and scoring apart from the statistics of the weights, per 1,000 images."""
    model, guide = trained(setting.device, setting.quick)
    block = x[:16]
    found: list[Particles] = []
    with opened(model, guide, block, seed=0) as pair:
        scores = Scores(
            pair,
            len(block),
            particles,
            particles * 1000,
            engine=_engine(setting),
            precision="float32",
            defensive=0.0,
            max_bytes=None,
        )

        def draw() -> None:
            found[:] = [scores.particles(pair, particles)]

        draw()
        drawing = setting.timed(draw) * 1000 / len(block)
    yield Figure("drawing and scoring", drawing, "s per 1,000 images")
    statistics_of(found[0])
    counting = setting.timed(lambda: statistics_of(found[0])) * 1000 / len(block)
    yield Figure("statistics of weights", counting, "s per 1,000 images")


def annealing(setting: Setting) -> Iterator[Figure]:
    """1,000 temperatures on 1,000 images, 16 chains of 5 leapfrog steps, from the guide."""
    model, guide = trained(setting.device, setting.quick)
    x = test_images(setting, setting.size(1000, 4))
    temperatures, few = setting.size(1000, 4), setting.size(50, 2)
    method = pv.Annealed(few, engine=_engine(setting))
    if setting.quick:
        method = replace(method, num_chains=2, num_leapfrog=1)

    pv.log_evidence(model, guide, x, method)  # compiles
    seconds = setting.timed(lambda: pv.log_evidence(model, guide, x, method))
    what = f"{len(x)} images, {temperatures} temperatures"
    yield Figure(f"{len(x)} images, {few} temperatures", seconds, "s", "once compiled")

    whole = replace(method, num_temperatures=temperatures)
    share = whole.plan.evaluations / method.plan.evaluations
    if seconds * share > setting.left:
        yield Figure(what, seconds * share, "s", "extrapolated: beyond its share of the time")
        return
    estimates: list[pv.Estimate] = []
    took = setting.timed(lambda: estimates.append(pv.log_evidence(model, guide, x, whole)))
    found = estimates[0]
    yield Figure(what, took, "s")
    yield Figure("log p(x)", found.log_px.mean().item(), "nats per datum")
    yield Figure("its error, median", found.log_px_error.median().item(), "nats")


@contextmanager
def _products(word: str) -> Iterator[None]:
    """Matrix products in TF32 ("high") or in float32 ("highest")."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(word)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def precision(setting: Setting) -> Iterator[Figure]:
    """float32, TF32 and bfloat16 on the same noise: seconds, and the paired bias of log p(x)."""
    model, guide = trained(setting.device, setting.quick)
    x = test_images(setting, setting.size(1000, 10))
    plain = pv.Importance(setting.size(5000, 50), num_scouts=0, engine=_engine(setting))
    half = replace(plain, precision="bfloat16")
    ways = {"float32": (plain, "highest"), "TF32": (plain, "high"), "bfloat16": (half, "highest")}
    if setting.device != "cuda":
        del ways["TF32"]
        yield Figure("TF32", "skipped", note="needs a CUDA device")

    exact: Tensor | None = None
    for name, (method, word) in ways.items():
        with _products(word):
            pv.log_evidence(model, guide, x, method)
            estimates: list[pv.Estimate] = []

            def run(method: pv.Importance = method, into: list[pv.Estimate] = estimates) -> None:
                into.append(pv.log_evidence(model, guide, x, method))

            yield Figure(f"{name}: seconds", setting.timed(run), "s")
        log_px = estimates[0].log_px
        exact = log_px if exact is None else exact
        bias = log_px - exact
        error = (bias.std() / len(bias) ** 0.5).item()
        told = f"± {error:.2g}, paired; at most {bias.abs().max().item():.2g} of a datum"
        yield Figure(f"{name}: log p(x) less float32's", bias.mean().item(), "nats per datum", told)


def _engine(setting: Setting) -> Engine:
    return "pyro" if setting.quick else "compiled"
