"""What the sections share: sizes, data, trained programs, clocks; a figure of what was found."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import torch

import pyro_vae as pv
from benchmarks.networks import SHAPE, programs
from benchmarks.settings import Net
from benchmarks.timing import Skipped

NET = Net((200, 200), 50)
TINY = Net((8,), 2)


@dataclass(frozen=True)
class Figure:
    """A number that was found, or a word.

    Attributes:
        what, unit, note: in words; `value`: a number where there is one.
    """

    what: str
    value: float | str
    unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class Setting:
    """Where and how large.

    Attributes:
        device: "cuda" or "cpu".
        quick: tiny sizes, whose figures mean nothing.
        seconds: the section's share of the time, from `started` on.
    """

    device: str
    quick: bool = False
    seconds: float = 60.0
    started: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds that are left of the share."""
        return self.seconds - (time.monotonic() - self.started)

    @property
    def net(self) -> Net:
        """784-200-200-50, or next to nothing."""
        return TINY if self.quick else NET

    def size(self, full: int, quick: int) -> int:
        """One of two sizes."""
        return quick if self.quick else full

    def need_cuda(self, what: str) -> None:
        """Raise `Skipped` on a CPU."""
        if self.device != "cuda":
            raise Skipped(f"{what}: needs a CUDA device")

    def wait(self) -> None:
        """Until the device is done."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def timed(self, call: Callable[[], object]) -> float:
        """Seconds of a call, the device's work included."""
        self.wait()
        started = time.perf_counter()
        call()
        self.wait()
        return time.perf_counter() - started


@cache
def images(quick: bool) -> tuple[pv.Dataset, str]:
    """MNIST where PYRO_VAE_DATA has it, else pictures of its shape, and which of them."""
    root = Path(os.environ.get("PYRO_VAE_DATA", "/nowhere"))
    if not quick and (root / "MNIST").is_dir():
        return pv.load("mnist", valid=0), "MNIST"

    numbers = (600, 100) if quick else (60_000, 10_000)
    noise = torch.Generator().manual_seed(0)
    weights = torch.randn(10, 784, generator=noise)
    z = torch.randn(sum(numbers), 10, generator=noise)
    grey = (255 * torch.sigmoid(2 * z @ weights / 10**0.5 - 1)).to(torch.uint8).view(-1, *SHAPE)
    train, test = grey.split(numbers)
    parts = pv.Split("train", train, "dynamic"), None, pv.Split("test", test, "dynamic")
    return pv.Dataset("synthetic", *parts), "synthetic, of MNIST's shape"


@cache
def trained(device: str, quick: bool) -> tuple[pv.VAE, pv.Amortized]:
    """Programs after a short training by stock Pyro, always the same."""
    torch.manual_seed(0)
    model, guide = programs(TINY if quick else NET, device)
    data, _ = images(quick)
    some = pv.Dataset(data.name, data.train.take(300 if quick else 20_000), None, data.test)
    adam = partial(torch.optim.Adam, lr=1e-3)
    recipe = pv.Recipe(
        epochs=1 if quick else 6,
        batch_size=100,
        warmup_epochs=0.0,
        engine="pyro",
        keep="last",
        optimizer=adam,
    )
    pv.fit(model, guide, some, recipe, device=device, quiet=True)
    return model.eval(), guide.eval()


def test_images(setting: Setting, number: int) -> torch.Tensor:
    """Binarised test images `(number, 1, 28, 28)` on the device."""
    return images(setting.quick)[0].test.x[:number].to(setting.device)
