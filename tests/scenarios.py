"""What many tests begin with: a model whose every number is known, guides that miss its posterior
by so much, and graphs that need no compiler.
"""

from __future__ import annotations

import io
import re
import sys
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_vae import LinearGaussian


class Terminal(io.StringIO):
    """Where a terminal shows what is written to it."""

    def isatty(self) -> bool:
        return True

    def plain(self) -> str:
        """What was written, a live line as one line after another."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue()).replace("\r", "\n")


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stderr a terminal of 80 columns, and return it."""
    for name, value in (("COLUMNS", "80"), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def linear_gaussian(
    num_data: int = 20,
    dim: int = 2,
    size: int | None = None,
    sigma: float = 0.7,
    dtype: torch.dtype = torch.float64,
) -> tuple[LinearGaussian, Tensor]:
    """A linear-Gaussian model and data of its own, always the same: `dim` latent units, data of
    `size` values, three more than units unless given.
    """
    torch.manual_seed(0)
    size = dim + 3 if size is None else size
    model = LinearGaussian(size, dim, sigma=sigma).to(dtype)
    return model, model.sample(num_data) + sigma * torch.randn(num_data, size).to(dtype)


class Distorted(nn.Module):
    """The exact posterior of a linear-Gaussian model, its deviations times `width`, its mean
    shifted by `shift` of them: a number for all units, or one for each.
    """

    def __init__(
        self, model: LinearGaussian, width: float = 1.0, shift: float | tuple[float, ...] = 0.0
    ) -> None:
        super().__init__()
        self.posterior, self.width, self.shift = model.posterior, width, shift

    def forward(self, x: Tensor, index: Any = None) -> Tensor:
        q = self.posterior(x)
        with pyro.plate("data", len(x), dim=-1):
            mean = q.mean + torch.as_tensor(self.shift).to(x) * q.stddev
            return pyro.sample(
                "latent", dist.MultivariateNormal(mean, scale_tril=self.width * q.scale_tril)
            )


def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run graphs one operation at a time: what a test asks of an engine needs no compiler."""
    monkeypatch.setattr(
        "pyro_vae.graphs.compiled.compile_graph", lambda graph, inputs: graph.module
    )
