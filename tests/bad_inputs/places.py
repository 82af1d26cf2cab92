"""What a mistake on the command line is made with: options, files, folders that are not whole."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml

from pyro_vae.inference.checkpoint import save
from pyro_vae.inference.weights import NAME as WEIGHTS
from pyro_vae.inference.weights import read_weights, write_weights

MODEL = "--model.hidden [8] --model.latent_dim 3"
RUN = f"train --quiet true --folder new --epochs 1 {MODEL}"
TRAIN = f"{RUN} --guide.hidden [8]"

GUIDES = '''
import pyro, pyro.distributions as dist, torch
from torch import nn


class Guide(nn.Module):
    """A good guide, which the others spoil in one way each."""

    name, extra, event = "latent", 0, 1

    def __init__(self, shape: tuple, latent_dim: int):
        super().__init__()
        self.net = nn.Linear(int(torch.tensor(shape).prod()), latent_dim + self.extra)

    def register(self):
        pyro.module(f"guide of mine {id(self)}", self)

    def q(self, x):
        return dist.Normal(self.net(x.flatten(1)), 1.0).to_event(1)

    def forward(self, x, index=None):
        self.register()
        with pyro.plate("data", x.shape[0], dim=-1):
            return pyro.sample(self.name, self.q(x))


class NoArguments(nn.Module):
    def __init__(self):
        super().__init__()


class OtherSite(Guide):
    name = "z"


class OtherSize(Guide):
    extra = 2


class Unregistered(Guide):
    def register(self):
        pass


class NoPlate(Guide):
    def forward(self, x, index=None):
        self.register()
        return pyro.sample("latent", self.q(x).to_event(1))


class NegativeScale(Guide):
    def q(self, x):
        return dist.Normal(self.net(x.flatten(1)), -1.0).to_event(1)


class Slip(Guide):
    def forward(self, x, index=None):
        return self.encoder(x)


class SlipInInit(Guide):
    def __init__(self, shape: tuple, latent_dim: int):
        super().__init__(shape, latent_dim)
        self.width = shape[7]


def function(x, index=None):
    pass
'''


@dataclass(frozen=True)
class Case:
    """A mistake: what it is, command line, what the message must say, the files that it takes."""

    name: str
    arguments: str
    fragment: str
    setup: Callable[[Path], object] = lambda folder: None


def array(name: str, value: object) -> Callable[[Path], object]:
    return lambda folder: np.save(folder / name, np.asarray(value))


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


def guides(folder: Path) -> None:
    (folder / "my_guides.py").write_text(GUIDES)


def torn_npz(folder: Path) -> None:
    np.savez(folder / "torn.npz", train=np.eye(100), test=np.eye(100))
    tear(folder / "torn.npz")


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def torn(name: str) -> Callable[[Path], object]:
    return lambda folder: tear(folder / "run" / name)


def without(*names: str) -> Callable[[Path], object]:
    return lambda folder: [(folder / "run" / name).unlink() for name in names]


def edited(meant: bool = False, **changes: object) -> Callable[[Path], object]:
    """Change settings of the run's config.yaml; `model__hidden` is the model's init argument. Other
    data than the run was trained on are meant where data.json is gone.
    """

    def change(folder: Path) -> None:
        path = folder / "run" / "config.yaml"
        settings = yaml.safe_load(path.read_text())
        for name, value in changes.items():
            top, _, argument = name.partition("__")
            (settings[top]["init_args"] if argument else settings)[argument or top] = value
        path.write_text(yaml.safe_dump(settings))
        if meant:
            (folder / "run" / "data.json").unlink()

    return change


class Harmful:
    """What a malicious pickle would hold."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (Path("harmed"),)  # type: ignore[return-value]


def pickled(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "run" / name).write_bytes(pickle.dumps(Harmful()))


def saved(name: str, state: dict[str, object]) -> Callable[[Path], object]:
    return lambda folder: save(folder / "run" / name, state)


def misplaced(folder: Path) -> None:
    shutil.copy(folder / "run" / WEIGHTS, folder / "run" / "checkpoint.pt")


def moved(folder: Path) -> None:
    """A run that has only its weights, under the wrong name."""
    misplaced(folder)
    (folder / "run" / WEIGHTS).unlink()


def rewritten(
    change: Callable[[dict[str, dict[str, torch.Tensor]]], object], run: str | None = None
) -> Callable[[Path], object]:
    """Write the weights once more, with another content and a checksum that is right."""

    def write(folder: Path) -> None:
        state, known = read_weights(folder / "run" / WEIGHTS)
        change(state)
        write_weights(folder / "run" / WEIGHTS, state, run or known)

    return write


def flipped(folder: Path) -> None:
    path = folder / "run" / WEIGHTS
    raw = bytearray(path.read_bytes())
    raw[-1000] ^= 64
    path.write_bytes(raw)


def earlier(folder: Path) -> None:
    (folder / "run" / WEIGHTS).unlink()
    torch.save({"format": 1, "model": {}, "guide": {}, "params": {}}, folder / "run" / "weights.pt")


GREY = np.linspace(0, 255, 20 * 16).reshape(20, 4, 4).astype(np.uint8)
INF = np.where(np.arange(80) == 33, np.inf, 0.5).reshape(20, 4)
FLAT = np.random.default_rng(0).integers(0, 2, (20, 16))

FLATS = array("flat.npy", FLAT)
REAL = np.linspace(-3, 3, 320).reshape(20, 16)
