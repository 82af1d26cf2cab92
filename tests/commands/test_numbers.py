"""Every command gives the programs the number of each datum."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import arviz
import numpy as np
import pyro
import pytest

from pyro_vae.cli import main

PROGRAMS = '''
import pyro
import pyro.distributions as dist
import torch
from torch import nn


def check(x, index):
    """Data are coded: the first value of a row is its number. Simulated ones are not whole numbers,
    stand-ins are 0.
    """
    code = x[:, 0]
    if bool((code == code.round()).all()) and x.any() and not torch.equal(code.long(), index):
        raise ValueError(f"these are the data {code.tolist()}, got index {index.tolist()}")


class Model(nn.Module):
    latent_dim = 2

    def __init__(self, shape):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(2))

    def forward(self, x, index):
        check(x, index)
        pyro.module(f"coded model {id(self)}", self)
        with pyro.plate("data", len(x), dim=-1):
            mean = index[:, None].float() + torch.zeros(2)
            z = pyro.sample("latent", dist.Normal(mean, 1.0).to_event(1))
            pyro.sample("obs", dist.Normal(self.decode(z), 1.0).to_event(1), obs=x)

    def decode(self, z):
        return z + self.bias


class Guide(nn.Module):
    def __init__(self, shape, latent_dim):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(2))

    def forward(self, x, index):
        check(x, index)
        pyro.module(f"coded guide {id(self)}", self)
        with pyro.plate("data", len(x), dim=-1):
            mean = (x + index[:, None]) / 2
            return pyro.sample("latent", dist.Normal(mean, self.scale.exp()).to_event(1))
'''


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A run on coded rows, in a working directory with the classes that it is of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "coded.py").write_text(PROGRAMS)
    np.save("x.npy", np.arange(60, dtype=np.float32)[:, None] + np.array([0.0, 0.3], np.float32))
    pyro.clear_param_store()
    what = (
        "--data x.npy --values real --model coded.Model --guide coded.Guide"
        " --folder run --quiet true"
    )
    assert (
        main(
            [*["train", "--epochs", "2", "--batch_size", "16", "--binarise", "none"], *what.split()]
        )
        == 0
    )
    yield "run"
    sys.modules.pop("coded", None)


def test_commands_pass_the_number_of_each_datum(
    run_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = [
        "evidence RUN --method.num_particles 200",
        "evidence RUN --method Best --method.num_particles 200 --method.num_temperatures 10",
        "evidence RUN --split valid --method Annealed --method.num_temperatures 10",
        "evidence RUN --split train --method.num_particles 30",
        "compare RUN --guides amortized --num_data 4 --num_particles 50 --num_temperatures 4",
        "diagnose RUN --num_particles 100 --num_simulations 20 --num_draws 9 --num_sandwich 3"
        " --num_temperatures 4 --num_data 4",
        "export RUN --num_data 4 --num_draws 30",
        "reconstruct RUN --num_data 4",
        "sample RUN --nearest true --num_samples 4",
        "interpolate RUN --num_data 4",
        "traverse RUN --num_data 4 --datum 3",
        "manifold RUN --side 3",
        "embed RUN --num_data 4 --split train",
        "info RUN",
    ]
    for command in commands:
        pyro.clear_param_store()
        assert main([*command.replace("RUN", run_folder).split(), "--trust", "coded"]) == 0, (
            capsys.readouterr().err
        )
    told = json.loads(Path("run/evidence.json").read_text())
    assert told["split"] == "train"
    draws = arviz.from_netcdf("run/draws.nc")
    assert np.array_equal(
        draws["observed_data"]["x"].values[:, 0], draws["observed_data"]["datum"].values
    )
