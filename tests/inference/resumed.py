"""Runs by the command line, and how two of them are compared."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyro
import torch

from pyro_vae.cli import main
from pyro_vae.inference.weights import read_weights

TINY = "--quiet true --model.hidden [16] --model.latent_dim 4 --guide.hidden [16]"


def call(arguments: str) -> int:
    pyro.clear_param_store()  # as in a new process
    return main(arguments.split())


def train(folder: Path, options: str) -> Path:
    assert call(f"train --folder {folder} {TINY} {options}") == 0
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv without what depends on the clock."""
    with (folder / "metrics.csv").open() as file:
        return [
            {k: v for k, v in r.items() if k not in ("seconds", "data_per_second")}
            for r in csv.DictReader(file)
        ]


def position(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoint.pt", weights_only=True)["position"]


def check_same(resumed: Path, uninterrupted: Path) -> None:
    """Weights, optimizer and generators equal bit for bit, and all metrics but timings."""
    x, y = (
        torch.load(folder / "checkpoint.pt", weights_only=True)
        for folder in (resumed, uninterrupted)
    )
    assert differences(x, y, "checkpoint.pt") == []
    x, y = (read_weights(folder / "weights.safetensors")[0] for folder in (resumed, uninterrupted))
    assert differences(x, y, "weights.safetensors") == []
    assert rows(resumed) == rows(uninterrupted)
    hidden = [p.name for p in resumed.iterdir() if p.name.startswith(".")]
    assert hidden == [".lock"], "a temporary file was left"


def differences(x: Any, y: Any, name: str) -> list[str]:
    """Names of what differs between two states, timings left out."""
    if isinstance(x, dict) and isinstance(y, dict):
        if x.keys() != y.keys():
            return [f"{name}: {sorted(map(str, x.keys() ^ y.keys()))}"]
        skip = {"seconds", "data_per_second", "run"}
        return [
            d for key in x if key not in skip for d in differences(x[key], y[key], f"{name}/{key}")
        ]
    if isinstance(x, list | tuple) and isinstance(y, list | tuple):
        if len(x) != len(y):
            return [f"{name}: length {len(x)} against {len(y)}"]
        return [
            d
            for i, (a, b) in enumerate(zip(x, y, strict=True))
            for d in differences(a, b, f"{name}/{i}")
        ]
    if isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor):
        return [] if torch.equal(x, y) else [name]
    return [] if x == y or (x != x and y != y) else [f"{name}: {x!r} against {y!r}"]
