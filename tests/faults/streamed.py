"""Trainings on rows that stay where they are, each begun or gone on with in a process that may be
killed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import pyro_vae as pv
from pyro_vae.data import as_dataset
from pyro_vae.inference import svi

ROWS, SHARD = 90, 15


class Shards(torch.utils.data.Dataset[Any]):
    """The rows of a folder of arrays, one after another."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.glob("*.npy"))

    def __len__(self) -> int:
        return SHARD * len(self.paths)

    def __getitem__(self, place: int) -> Any:
        return np.load(self.paths[place // SHARD])[place % SHARD]


class InOrder(torch.utils.data.IterableDataset[Any]):
    """The same rows, shard after shard, without a length and without a state."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.glob("*.npy"))

    def __iter__(self) -> Iterator[Any]:
        for path in self.paths:
            yield from np.load(path)


class Shuffled(torch.utils.data.IterableDataset[Any]):
    """The same rows in another order at each pass; it knows where it stands."""

    def __init__(self, folder: Path) -> None:
        self.shards, self.epoch, self.place = Shards(folder), 0, 0

    def __iter__(self) -> Iterator[Any]:
        order = np.random.RandomState(self.epoch).permutation(len(self.shards))
        while self.place < len(order):
            self.place += 1
            yield self.shards[order[self.place - 1]]
        self.epoch, self.place = self.epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "place": self.place}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.place = state["epoch"], state["place"]


def loader(folder: Path, workers: int) -> Any:
    """torchdata's, which keeps a state, with processes of its own."""
    from torchdata.stateful_dataloader import StatefulDataLoader

    torch.manual_seed(7)
    made = {"batch_size": 7, "shuffle": True, "num_workers": workers}
    return StatefulDataLoader(Shards(folder), **made)


KINDS: dict[str, Callable[[Path], pv.Dataset]] = {
    "shards-process": lambda place: as_dataset(Shards(place / "shards"), workers=1),
    "shuffled": lambda place: as_dataset(Shuffled(place / "shards"), 0),
    "map-thread": lambda place: as_dataset(np.load(place / "x.npy", mmap_mode="r")),
    "map-process": lambda place: as_dataset(np.load(place / "x.npy", mmap_mode="r"), workers=1),
    "shards-thread": lambda place: as_dataset(Shards(place / "shards")),
    "in-order": lambda place: as_dataset(InOrder(place / "shards")),
    "pictures": lambda place: pv.load(place / "pictures", memory_map=True),
    "loader": lambda place: as_dataset(loader(place / "shards", 0), 0),
    "loader-process": lambda place: as_dataset(loader(place / "shards", 1), 0),
}


def lay_out(place: Path) -> None:
    """The same rows in all the ways in which they are read."""
    x = np.random.RandomState(0).randint(0, 256, (ROWS, 1, 3, 3)).astype(np.uint8)
    np.save(place / "x.npy", x)
    for name in ("shards", "pictures"):
        (place / name).mkdir()
    for number in range(ROWS // SHARD):
        np.save(place / "shards" / f"{number}.npy", x[number * SHARD : (number + 1) * SHARD])
    for number, row in enumerate(x):
        Image.fromarray(row[0]).save(place / "pictures" / f"{number:02}.png")


def train(kind: str, place: str, folder: str) -> None:
    """Begin a training, or go on with it; nearly every step is followed by a checkpoint."""
    vars(svi)["_SAVE_EVERY"] = 0.001
    data = KINDS[kind](Path(place)).under("dynamic")
    torch.manual_seed(0)
    model = pv.VAE(data.shape, latent_dim=2, hidden=(8,), likelihood=pv.Bernoulli())
    guide = pv.Amortized(pv.MeanField(2), pv.MLP(data.shape, (8,)))
    recipe = pv.Recipe(epochs=4, batch_size=16, engine="pyro")
    resume = (Path(folder) / "checkpoint.pt").exists()
    pv.fit(model, guide, data, recipe, folder=folder, resume=resume, quiet=True)
