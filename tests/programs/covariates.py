"""A model and its posterior that look up a covariate of each datum, by the datum's number."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.data import Dataset, Split
from pyro_vae.programs.naming import unique_name

SIZE, NUM = 3, 40
# standard deviations between the prior means of neighbours: another datum's is seen at once
FAR = 5.0


class Covariates(nn.Module):
    """z_n ~ N(c_n, I), x_n | z_n ~ N(z_n, I): a covariate for each datum, looked up by its number.

    log p(x_n) = log N(x_n; c_n, 2 I),   z_n | x_n ~ N((x_n + c_n) / 2, I / 2)
    """

    latent_dim = SIZE
    table: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table)
        self.shift = nn.Parameter(torch.zeros(()))  # something to train, of no effect at rate 0

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        pyro.module(unique_name(self), self)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Normal(self.table[index] + self.shift, 1.0).to_event(1))
            pyro.sample("obs", dist.Normal(z, 1.0).to_event(1), obs=x)
        return z

    def closed_form(self, x: Tensor, index: Tensor) -> Tensor:
        return dist.Normal(self.table[index], 2**0.5).to_event(1).log_prob(x)


class Posterior(nn.Module):
    """The exact posterior, which looks up the same covariates."""

    table: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample(
                "latent", dist.Normal((x + self.table[index]) / 2, 0.5**0.5).to_event(1)
            )


def programs(num_rows: int) -> tuple[Covariates, Posterior]:
    table = FAR * torch.arange(num_rows)[:, None].expand(-1, SIZE) % 97
    return Covariates(table), Posterior(table)


def data_set(num_valid: int = 8, num_test: int = 12) -> Dataset:
    torch.manual_seed(0)
    parts = {"train": NUM, "valid": num_valid, "test": num_test}
    splits = {name: Split(name, torch.randn(size, SIZE), "none") for name, size in parts.items()}
    return Dataset("made", *splits.values())
