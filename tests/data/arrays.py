"""Arrays in files and folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

GREY = np.random.RandomState(0).randint(0, 256, (20, 4, 5)).astype(np.uint8)
REAL = np.random.RandomState(1).randn(20, 6)


def npy(path: Path, array: Any) -> Path:
    np.save(path / "own.npy", array)
    return path / "own.npy"


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path / "own.npz", **arrays)
    return path / "own.npz"


def images(folder: Path, arrays: Any, suffix: str = "png") -> Path:
    for number, array in enumerate(arrays):
        Image.fromarray(array).save(folder / f"{number:03d}.{suffix}")
    return folder
