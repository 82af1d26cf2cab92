"""Section `local`: classical variational inference, a mean-field table for 1,000 images on a frozen
decoder.

500 steps of Adam on all images, the rate falling from 0.1 by a cosine as in `pyro_vae.fit_local`. A
sample is the time of the whole optimisation, from a new table, divided by its steps; compilation is
counted only where a side compiles anew at every optimisation. "-ELBO" is the last step's, nats per
image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyro
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim.lr_scheduler import PyroLRScheduler
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

import pyro_vae as pv
from benchmarks.networks import hand_written_copy, products, synchroniser, trained_programs
from benchmarks.settings import TWO_LAYERS, Settings
from benchmarks.timing import Note, Side, Table, measure

BASELINE = "PyTorch, eager, Adam fused"
ADAM: dict[str, Any] = {"lr": 0.1, "betas": (0.9, 0.99)}


class Work:
    """What all sides share: a trained decoder, frozen, the images, the number of steps."""

    def __init__(self, settings: Settings, data: pv.Dataset) -> None:
        self.device = settings.device
        self.num_steps = 5 if settings.quick else 500
        self.x = data.test.x[: 50 if settings.quick else settings.num_data].to(self.device)
        self.model, self.guide = trained_programs(TWO_LAYERS, data, settings.quick, self.device)
        self.index = torch.arange(len(self.x), device=self.device)

    def side(self, optimise: Callable[[int], float]) -> Side:
        """A side from a function of the number of steps that returns the last -ELBO per image."""
        note: Note = {}

        def run() -> None:
            note["-ELBO"] = optimise(self.num_steps)

        return Side(run, 1000 / self.num_steps, warm=lambda: optimise(3), note=note)


def run(settings: Settings, data: pv.Dataset) -> Iterator[Table]:
    """Time all sides."""
    work = Work(settings, data)
    title = f"{len(work.x)} images, {work.num_steps} steps, decoder of {TWO_LAYERS.name}"
    table = Table("local", title, "ms per step", settings.baseline or BASELINE)
    sides = {
        "matrix products": lambda: floor(work),
        "PyTorch, eager, Adam fused": lambda: work.side(hand_written(work, compiled=False)),
        "PyTorch, torch.compile, Adam fused": lambda: work.side(hand_written(work, compiled=True)),
        "Pyro SVI, validation off": lambda: work.side(stock_svi(work, validation=False)),
        "Pyro SVI, validation on": lambda: work.side(stock_svi(work, validation=True)),
        "pyro_vae.fit_local": lambda: work.side(ours(work)),
    }

    rounds = settings.rounds or (1 if settings.quick else 3)
    measure(table, settings.pick(sides), rounds, synchroniser(settings.device))
    yield table


def floor(work: Work) -> Side:
    """The decoder's products, forward and for the gradient of its inputs, a fifth of the steps."""
    call = products([(layer, "x") for layer in TWO_LAYERS.decoder], len(work.x), work.device)
    steps = max(1, work.num_steps // 5)

    def run() -> None:
        for _ in range(steps):
            call()

    return Side(run, 1000 / steps, note={"timed on": f"{steps} steps"})


def hand_written(work: Work, compiled: bool) -> Callable[[int], float]:
    """The loop one writes without a library, the decoder's gradients off."""
    vae = hand_written_copy(TWO_LAYERS, work.model, work.guide).requires_grad_(False)
    x = work.x.flatten(1)

    def loss_of(table: Tensor) -> Tensor:
        loc, log_scale = table.chunk(2, dim=-1)
        eps = torch.randn_like(loc)
        z = loc + log_scale.exp() * eps
        kl = 0.5 * (z * z - eps * eps).sum() - log_scale.sum()
        return binary_cross_entropy_with_logits(vae.decoder(z), x, reduction="sum") + kl

    loss = torch.compile(loss_of, dynamic=False) if compiled else loss_of

    def optimise(num_steps: int) -> float:
        table = torch.zeros(len(x), 2 * TWO_LAYERS.latent, device=work.device, requires_grad=True)
        optim = torch.optim.Adam([table], **ADAM, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optim, num_steps)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optim, num_steps)

        for _ in range(num_steps):
            optim.zero_grad(set_to_none=True)
            value = loss(table)
            value.backward()
            optim.step()
            schedule.step()
        return value.item() / len(x)

    return optimise


def stock_svi(work: Work, validation: bool) -> Callable[[int], float]:
    """Stock Pyro: SVI and a scheduled Adam of its own, on a model whose gradients are off."""

    def optimise(num_steps: int) -> float:
        guide = new_guide(work)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR
        settings = {"optimizer": torch.optim.Adam, "optim_args": ADAM, "T_max": num_steps}
        optim = PyroLRScheduler(scheduler, settings)

        work.model.requires_grad_(False)
        try:
            svi = SVI(work.model, guide, optim, Trace_ELBO())
            with pyro.validation_enabled(validation):
                for _ in range(num_steps):
                    value = svi.step(work.x, work.index)
                    optim.step()
        finally:
            work.model.requires_grad_(True)
        return value / len(work.x)

    return optimise


def ours(work: Work) -> Callable[[int], float]:
    """`pyro_vae.fit_local`, its checks and any compilation included."""

    def optimise(num_steps: int) -> float:
        guide = new_guide(work)
        pv.fit_local(work.model, guide, work.x, num_steps=num_steps, engine="compiled")
        with torch.no_grad():
            return -pv.log_weights(work.model, guide, work.x, work.index).mean().item()

    return optimise


def new_guide(work: Work) -> pv.Local:
    """A table at N(0, I)."""
    return pv.Local(pv.MeanField(TWO_LAYERS.latent), len(work.x)).to(work.device)
