"""The command line called within the process, and what it leaves in a run's folder."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import torch
import yaml

from pyro_vae.cli import main
from pyro_vae.inference.weights import read_weights

TINY = "--quiet true --model.hidden [16] --model.latent_dim 4 --guide.hidden [16]"
SIZE = "--quiet true --model.hidden [16] --model.latent_dim 4"  # for guides that have no `hidden`
GREY = "--binarise none --model.likelihood Bernoulli"

PROGRAMS = '''
import math
from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from torch import nn


class MyGuide(nn.Module):
    """As in a Pyro tutorial: no type hints."""

    def __init__(self, shape, latent_dim, width=8):
        super().__init__()
        first, last = nn.Linear(math.prod(shape), width), nn.Linear(width, latent_dim)
        self.net = nn.Sequential(first, nn.Tanh(), last)

    def forward(self, x, index=None):
        pyro.module(f"my guide {id(self)}", self)
        with pyro.plate("data", x.shape[0], dim=-1):
            return pyro.sample("latent", dist.Normal(self.net(x.flatten(1)), 0.5).to_event(1))


class ScaleGuide(MyGuide):
    """With type hints, and a `pyro.param` outside of the module."""

    def __init__(self, shape: Sequence[int], latent_dim: int, width: int = 8):
        super().__init__(shape, latent_dim, width)

    def forward(self, x, index=None):
        pyro.module(f"my guide {id(self)}", self)
        scale = pyro.param("my scale", torch.ones(()), constraint=dist.constraints.positive)
        with pyro.plate("data", x.shape[0], dim=-1):
            return pyro.sample("latent", dist.Normal(self.net(x.flatten(1)), scale).to_event(1))


class MyModel(nn.Module):
    """Two latent units and a linear decoder; neither `sample` nor `decode`."""

    latent_dim = 2

    def __init__(self, shape: Sequence[int], scale: float = 1.0):
        super().__init__()
        self.shape, self.scale = shape, scale
        self.net = nn.Linear(2, math.prod(shape))

    def forward(self, x, index=None):
        pyro.module(f"my model {id(self)}", self)
        with pyro.plate("data", x.shape[0], dim=-1):
            z = pyro.sample("latent", dist.Normal(torch.zeros(2), self.scale).to_event(1))
            logits = self.net(z).unflatten(-1, self.shape)
            pyro.sample("obs", dist.Bernoulli(logits=logits).to_event(len(self.shape)), obs=x)
'''


def call(arguments: str) -> int:
    pyro.clear_param_store()  # as in a new process
    return main(arguments.split())


def train(folder: str, options: str = "", base: str = TINY) -> Path:
    assert call(f"train --folder {folder} --epochs 1 {base} {options}") == 0
    return Path(folder)


def metrics(folder: Path) -> list[dict[str, float]]:
    """The rows of metrics.csv without what depends on the clock."""
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [
        {k: float(v) for k, v in row.items() if k not in ("seconds", "data_per_second")}
        for row in rows
    ]


def parts(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return read_weights(folder / "weights.safetensors")[0][name]


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": x
        for name in ("model", "guide", "params")
        for key, x in parts(folder, name).items()
    }


def same_run(a: Path, b: Path) -> bool:
    x, y = tensors(a), tensors(b)
    return (
        x.keys() == y.keys()
        and all(torch.equal(x[n], y[n]) for n in x)
        and metrics(a) == metrics(b)
    )


def settings(folder: Path) -> dict:
    return yaml.safe_load((folder / "config.yaml").read_text())


def evidence(folder: Path, options: str = "") -> dict[str, float]:
    assert call(f"evidence {folder} --method.num_particles 30 {options}") == 0
    facts = json.loads((folder / "evidence.json").read_text())
    del facts["seconds"]
    return facts


def own(name: str, array: Any) -> str:
    np.save(name, array)
    return name
