"""Section `evidence`: log p(x) of test images by importance sampling, end to end with a result per
image.

Every side has the same weights (784-200-200-50 after one epoch). A slow side is timed on fewer
images, or fewer particles, and scaled to the whole: its column "timed on" says so. Every side picks
its own best chunk of particles, tried before the first round. The mean log p(x) of the first images
shows that the sides compute the same thing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec

import pyro
import torch
from pyro import poutine
from pyro.infer.importance import vectorized_importance_weights
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

import pyro_vae as pv
from benchmarks.networks import (
    copy_weights,
    hand_written_copy,
    products,
    synchroniser,
    trained_programs,
)
from benchmarks.settings import TWO_LAYERS, Settings
from benchmarks.timing import Note, Side, Skipped, Table, measure

BASELINE = "PyTorch, eager"
CHUNKS = (100, 250, 500, 1000, 2500, 5000)
# (images, particles per call of the decoder) -> log p(x) (N,)
LogPx = Callable[[Tensor, int], Tensor]


class Work:
    """What all sides share: the trained programs, the images, the number of particles."""

    def __init__(self, settings: Settings, data: pv.Dataset) -> None:
        self.device = settings.device
        self.num_particles = 50 if settings.quick else settings.num_particles
        self.x = data.test.x[: 20 if settings.quick else settings.num_data].to(self.device)
        self.num_checked = max(1, len(self.x) // 50)
        self.model, self.guide = trained_programs(TWO_LAYERS, data, settings.quick, self.device)

    def side(self, log_px: LogPx, num_data: int, chunks: Sequence[int] = CHUNKS) -> Side:
        """A side that is timed on the first `num_data` images, with the best chunk for it."""
        num_data = min(num_data, len(self.x))
        chunk = best(chunks, self.num_particles, lambda size: log_px(self.x[:2], size))
        note = self.note(num_data * self.num_particles)

        def run() -> None:
            self.keep_mean(note, log_px(self.x[:num_data], chunk))

        return Side(run, len(self.x) / num_data, warm=lambda: log_px(self.x[:2], chunk), note=note)

    def keep_mean(self, note: Note, log_px: Tensor) -> None:
        """The column that all sides can be compared by."""
        note[f"log p(x), first {self.num_checked}"] = log_px[: self.num_checked].mean().item()

    def note(self, evaluations: int) -> Note:
        """The column that says what share of the evaluations was timed."""
        share = evaluations / (len(self.x) * self.num_particles)
        return {"timed on": "all" if share >= 1 else f"{share:.1%}, scaled"}


def best(chunks: Sequence[int], most: int, call: Callable[[int], object]) -> int:
    """The fastest chunk size, of those up to `most`; two calls each, the second one timed."""
    times = {}
    for chunk in {min(chunk, most) for chunk in chunks}:
        call(chunk)
        started = time.perf_counter()
        call(chunk)
        times[chunk] = time.perf_counter() - started
    return min(times, key=lambda chunk: times[chunk])


def run(settings: Settings, data: pv.Dataset) -> Iterator[Table]:
    """Time all sides."""
    work = Work(settings, data)
    n, s = len(work.x), work.num_particles
    title = f"log p(x) of {n} images x {s} particles, {TWO_LAYERS.name}"
    table = Table("evidence", title, "seconds", settings.baseline or BASELINE)
    some = max(1, n // 5)

    def compiled() -> Side:
        return work.side(hand_written(work, compiled=True), n, (1000, 5000))

    sides = {
        "matrix products": lambda: floor(work),
        "PyTorch, eager": lambda: work.side(hand_written(work), n),
        "PyTorch, torch.compile": compiled,
        "Pyro vectorized_importance_weights": lambda: work.side(vectorised(work), some),
        "Pyro trace and replay": lambda: plain_replay(work),
        "pythae get_nll": lambda: work.side(pythae_nll(work), work.num_checked),
        "pyro_vae.log_evidence": lambda: ours(work),
    }
    rounds = settings.rounds or (1 if settings.quick else 3)
    with pyro.validation_enabled(False), torch.no_grad():
        measure(table, settings.pick(sides), rounds, synchroniser(settings.device))

    for side, samples in table.samples.items():
        table.notes[side]["M evaluations/s"] = n * s / sorted(samples)[len(samples) // 2] / 1e6
    yield table


def floor(work: Work) -> Side:
    """The decoder's products alone, on a fifth of the latents."""
    layers = [(layer, "") for layer in TWO_LAYERS.decoder]
    total = max(1, len(work.x) // 5) * work.num_particles

    made = cache(lambda size: products(layers, size, work.device))
    sizes = (256, 512, 1024, 4096, 16384)
    rows = best(sizes, total, lambda size: repeat(made(size), 65_536 // size))
    calls, call = math.ceil(total / rows), made(rows)
    scale = len(work.x) * work.num_particles / (calls * rows)
    return Side(lambda: repeat(call, calls), scale, warm=call, note=work.note(calls * rows))


def repeat(call: Callable[[], None], times: int) -> None:
    """Call it some times."""
    for _ in range(times):
        call()


def hand_written(work: Work, compiled: bool = False) -> LogPx:
    """A loop over images and chunks: eager by cross-entropy, or compiled by `x l - softplus(l)`."""
    vae = hand_written_copy(TWO_LAYERS, work.model, work.guide)

    def log_weights(x: Tensor, loc: Tensor, log_scale: Tensor, eps: Tensor) -> Tensor:
        z = loc + log_scale.exp() * eps
        logits = vae.decoder(z)
        if compiled:
            log_likelihood = (x * logits - softplus(logits)).sum(-1)
        else:
            target = x.expand_as(logits)
            loss = binary_cross_entropy_with_logits(logits, target, reduction="none")
            log_likelihood = -loss.sum(-1)
        return log_likelihood + 0.5 * (eps * eps - z * z).sum(-1) + log_scale.sum()

    weigh = torch.compile(log_weights, dynamic=False) if compiled else log_weights

    def log_px(x: Tensor, chunk: int) -> Tensor:
        flat = x.flatten(1)
        locs, log_scales = vae.encoder(flat).chunk(2, dim=-1)
        results = []
        for image, loc, log_scale in zip(flat, locs, log_scales, strict=True):
            draws = torch.randn(work.num_particles, len(loc), device=x.device).split(chunk)
            weights = torch.cat([weigh(image, loc, log_scale, eps) for eps in draws])
            results.append(weights.logsumexp(0) - math.log(work.num_particles))
        return torch.stack(results)

    return log_px


def vectorised(work: Work) -> LogPx:
    """Pyro's own function, an image at a time, since it sums over the data that it is given."""

    def weigh(image: Tensor, size: int) -> Tensor:
        return vectorized_importance_weights(
            work.model,
            work.guide,
            image,
            num_samples=size,
            max_plate_nesting=1,
            normalized=False,
        )[0]

    def log_px(x: Tensor, chunk: int) -> Tensor:
        results = []
        sizes = [len(part) for part in torch.arange(work.num_particles).split(chunk)]
        for image in x.split(1):
            weights = torch.cat([weigh(image, size) for size in sizes])
            results.append(weights.logsumexp(0) - math.log(work.num_particles))
        return torch.stack(results)

    return log_px


def plain_replay(work: Work) -> Side:
    """One particle of all images at a time, as tutorials do, on a fiftieth of the particles."""
    particles = max(1, work.num_particles // 50)

    def run() -> None:
        weights = []
        for _ in range(particles):
            guide = poutine.trace(work.guide).get_trace(work.x)
            model = poutine.trace(poutine.replay(work.model, trace=guide)).get_trace(work.x)
            model.compute_log_prob()
            guide.compute_log_prob()
            latent, obs, q = model.nodes["latent"], model.nodes["obs"], guide.nodes["latent"]
            weights.append(latent["log_prob"] + obs["log_prob"] - q["log_prob"])
        torch.stack(weights).logsumexp(0)

    return Side(run, work.num_particles / particles, note=work.note(particles * len(work.x)))


def pythae_nll(work: Work) -> LogPx:
    """pythae's `get_nll`, which returns +log p(x), the mean over the images; no gradients here."""
    if find_spec("pythae") is None:
        raise Skipped("pythae not installed: pip install '.[bench]'")
    from benchmarks.sides.in_pythae import build

    vae = build(TWO_LAYERS).to(work.device).eval()
    copy_weights(vae.encoder, work.guide.parameters())
    copy_weights(vae.decoder, work.model.parameters())

    def log_px(x: Tensor, chunk: int) -> Tensor:
        return torch.tensor([vae.get_nll(x, n_samples=work.num_particles, batch_size=chunk)])

    return log_px


def ours(work: Work) -> Side:
    """`pyro_vae.log_evidence` with everything it reports."""
    note = work.note(len(work.x) * work.num_particles)
    method = pv.Importance(num_particles=work.num_particles, engine="compiled")

    def run() -> None:
        found = pv.log_evidence(work.model, work.guide, work.x, method)
        work.keep_mean(note, found.log_px)

    def warm() -> None:
        pv.log_evidence(work.model, work.guide, work.x[:16], method)

    return Side(run, warm=warm, note=note)
