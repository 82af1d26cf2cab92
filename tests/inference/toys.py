"""Small programs and data to train them on."""

from __future__ import annotations

from functools import partial

import torch
from pyro.infer import TraceMeanField_ELBO
from torch.optim.lr_scheduler import CosineAnnealingLR

from pyro_vae import MLP, Amortized, Dataset, LinearGaussian, MeanField, Recipe, Split

NUM, SIZE = 96, 5
SGD = partial(torch.optim.SGD, lr=0.0)


def make(num: int = NUM) -> tuple[LinearGaussian, Amortized, torch.Tensor]:
    torch.manual_seed(0)
    truth = LinearGaussian(SIZE, 2, sigma=0.5, seed=7)
    x = truth.sample(num) + 0.5 * torch.randn(num, SIZE)
    return LinearGaussian(SIZE, 2), Amortized(MeanField(2), MLP(SIZE, ())), x


def with_valid(x: torch.Tensor) -> Dataset:
    return Dataset(
        "toy",
        Split("train", x[:64], "none"),
        Split("valid", x[64:], "none"),
        Split("test", x[64:], "none"),
    )


def adam(epochs: int, rate: float, batch_size: int = 32) -> Recipe:
    """Adam whose rate falls to zero by a cosine, and the analytic KL."""
    optimizer, schedule = (
        partial(torch.optim.Adam, lr=rate),
        partial(CosineAnnealingLR, T_max=epochs),
    )
    return Recipe(epochs, batch_size, optimizer, schedule, TraceMeanField_ELBO(), warmup_epochs=0)
