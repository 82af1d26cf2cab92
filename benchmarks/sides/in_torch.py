"""The sides in torch: hand-written loops, stock Pyro, and the package's own `fit`.

In memory, a batch is `pyro_vae.Split.batch`: rows of uint8 pixels, compared with 16-bit noise,
three times as fast as `torch.bernoulli`. All the in-memory sides use it, which is generous to the
peers: they differ in nothing but their steps.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pyro
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import PyroOptim
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

import pyro_vae as pv
from benchmarks.networks import SHAPE, HandWritten, programs
from benchmarks.timing import Skipped
from benchmarks.worker import Gate, Task


def load_images(task: Task) -> pv.Split:
    """The training images, uint8 (N, 1, 28, 28), on the device, binarised anew at every visit."""
    pixels = torch.from_numpy(np.load(task.pixels)).unflatten(1, SHAPE)
    return pv.Split("train", pixels.to(task.device), "dynamic")


def drawn_batches(images: pv.Split, size: int, noise: torch.Generator) -> Iterator[Tensor]:
    """The batches of one epoch, shuffled and binarised."""
    for rows in torch.randperm(len(images), generator=noise, device=noise.device).split(size):
        yield images.batch(rows, noise)


def hand_written(task: Task, gate: Gate, compiled: bool = False) -> None:
    """The loop one writes without a library, with one fused Adam."""
    images = load_images(task)
    noise = torch.Generator(device=task.device).manual_seed(0)
    torch.manual_seed(0)
    vae = HandWritten(task.net).to(task.device)
    optim = torch.optim.Adam(vae.parameters(), lr=1e-3, fused=True)
    loss_of: Callable[[Tensor], Tensor] = vae.loss
    if compiled:
        loss_of = torch.compile(vae.loss, dynamic=False)

    @torch.no_grad()
    def score() -> float:
        test = torch.from_numpy(task.test_images())
        return -vae.loss(test).item() / len(test)

    for _ in range(task.epochs):
        total = torch.zeros((), device=task.device)
        for x in drawn_batches(images, task.batch, noise):
            optim.zero_grad(set_to_none=True)
            loss = loss_of(x.flatten(1))
            loss.backward()
            optim.step()
            total += loss.detach()
        gate(total.item() / len(images), score)


def hand_written_compiled(task: Task, gate: Gate) -> None:
    """The same with the loss under torch.compile."""
    hand_written(task, gate, compiled=True)


def stock_svi(task: Task) -> SVI:
    """Pyro's SVI and Adam (`pyro.optim.Adam` is this) on the package's programs."""
    torch.manual_seed(0)
    pyro.enable_validation(False)
    adam = PyroOptim(torch.optim.Adam, {"lr": 1e-3})
    return SVI(*programs(task.net, task.device), adam, Trace_ELBO())


def svi_in_memory(task: Task, gate: Gate) -> None:
    """Stock Pyro on data in memory, validation off."""
    images, svi = load_images(task), stock_svi(task)
    noise = torch.Generator(device=task.device).manual_seed(0)
    for _ in range(task.epochs):
        gate(sum(svi.step(x) for x in drawn_batches(images, task.batch, noise)) / len(images))


def svi_with_loader(task: Task, gate: Gate) -> None:
    """Stock Pyro with torchvision's set and DataLoader, as in Pyro's VAE tutorial (num_workers=1),
    validation off.
    """
    kind = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST}[task.data]
    images = kind(task.data_root, train=True, transform=transforms.ToTensor())
    data = Subset(images, range(len(np.load(task.pixels))))
    # this process was spawned, and its children would be, too, which costs seconds an epoch
    context = "fork" if sys.platform == "linux" else None
    loader: DataLoader[Any] = DataLoader(
        data, task.batch, shuffle=True, num_workers=1, multiprocessing_context=context
    )

    svi = stock_svi(task)
    for _ in range(task.epochs):
        gate(sum(svi.step(torch.bernoulli(x).to(task.device)) for x, _ in loader) / len(data))


def fit_compiled(task: Task, gate: Gate) -> list[float]:
    """The package's `fit`: the gate is its learning-rate schedule, which is stepped at the end of
    each epoch.
    """
    images = load_images(task)
    data = pv.Dataset(task.data, images, None, images)
    torch.manual_seed(0)
    model, guide = programs(task.net)

    def score() -> float:
        test = torch.from_numpy(task.test_images()).unflatten(1, SHAPE)
        return pv.log_evidence(model, guide, test, pv.Importance(1)).elbo.mean().item()

    recipe = pv.Recipe(
        epochs=task.epochs,
        batch_size=task.batch,
        optimizer=partial(torch.optim.Adam, lr=1e-3, fused=True),
        schedule=partial(Waiting, lambda: gate(score=score)),
        warmup_epochs=0,
        keep="last",
    )

    options: dict[str, Any] = {"engine": "compiled", "device": task.device, "quiet": True}
    try:
        run = pv.fit(model, guide, data, recipe, **options)
    except TypeError as error:
        if "engine" in str(error):
            raise Skipped("this version of pyro_vae.fit has no engine='compiled'") from None
        raise
    return [row["train_loss"] for row in run.history]


class Waiting(LRScheduler):
    """A schedule that keeps the rate and waits at the gate between epochs."""

    def __init__(self, gate: Callable[[], None], optimizer: torch.optim.Optimizer) -> None:
        self.gate = gate
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """The rates as they are."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def step(self, epoch: int | None = None) -> None:
        """Called once when made, and then after every epoch."""
        super().step(epoch)
        if self.last_epoch > 0:
            self.gate()
