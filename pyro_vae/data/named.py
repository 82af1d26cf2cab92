"""The sets that have a name: scikit-learn's embedded digits; MNIST and Fashion-MNIST in
torchvision's layout.

torchvision fetches and checks what is not there. The images are then read here, from the plain or
gzipped idx files, so that an error can name a damaged file, and a read-only folder of .gz files is
enough. An idx file of images is four big-endian 32-bit integers (magic 2051, rows, height, width)
and then the bytes; one of labels two of them (magic 2049, rows). Images do without labels.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

KNOWN = ("digits", "mnist", "fashion_mnist")
ROOT_VARIABLE = "PYRO_VAE_DATA"
DEFAULT_ROOT = "~/.cache/pyro_vae"
FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}
FILES = {"train": ("train-images-idx3-ubyte", 60_000), "test": ("t10k-images-idx3-ubyte", 10_000)}
LABELS = {"train": "train-labels-idx1-ubyte", "test": "t10k-labels-idx1-ubyte"}
MAGIC, LABEL_MAGIC, SIDE = 2051, 2049, 28
LABEL_NAMES = {
    "fashion_mnist": (
        "T-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "boot",
    )
}
"""What the labels of a set are called, where a number does not say it."""


def digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's handwritten digits: (1797, 1, 8, 8) uint8, rescaled so that 16 becomes 255;
    and which digit each is, (1797,) int64.
    """
    images, targets = _digits()
    pixels = torch.from_numpy((images * 255 + 8) // 16).to(torch.uint8).unsqueeze(1)
    return pixels, torch.from_numpy(targets.copy())


@cache  # scikit-learn reads them from a text
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """The images `(1797, 8, 8)`, 0 to 16, and which digit each is, int64."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return np.asarray(found.images).astype(np.int64), np.asarray(found.target).astype(np.int64)


def data_root(root: str | Path | None) -> Path:
    """torchvision's folder: `root`, else the variable PYRO_VAE_DATA, else ~/.cache/pyro_vae."""
    return Path(root or os.environ.get(ROOT_VARIABLE) or DEFAULT_ROOT).expanduser()


def idx_images(name: str, root: Path) -> dict[str, Tensor]:
    """MNIST or Fashion-MNIST, fetched if it is not there.

    Args:
        name: "mnist" or "fashion_mnist".
        root: the folder above MNIST/raw or FashionMNIST/raw.

    Returns:
        {"train": (60000, 1, 28, 28), "test": (10000, 1, 28, 28)}, uint8.

    Raises:
        FileNotFoundError: the files are not there and cannot be fetched.
        ValueError: a file is torn.
    """
    raw = root / FOLDERS[name] / "raw"
    if any(find_file(raw, file) is None for file, _ in FILES.values()):
        fetch(name, root)

    images = {}
    for part, (file, rows) in FILES.items():
        path = find_file(raw, file)
        if path is None:
            raise FileNotFoundError(
                f"{name}: {raw / file} is still missing after the download; {remedy()}"
            )
        pixels = read_idx(path, (MAGIC, rows, SIDE, SIDE))
        images[part] = pixels.view(rows, 1, SIDE, SIDE)
    return images


def idx_labels(name: str, root: Path) -> dict[str, Tensor]:
    """The labels of MNIST or Fashion-MNIST that lie beside the images, (rows,) int64 by part.

    Raises:
        ValueError: a file is torn.
    """
    labels = {}
    for part, file in LABELS.items():
        path = find_file(root / FOLDERS[name] / "raw", file)
        if path is not None:
            values = read_idx(path, (LABEL_MAGIC, FILES[part][1]))
            labels[part] = values.to(torch.int64)
            if int(labels[part].max()) > 9:
                raise ValueError(
                    f"{path} holds the label {labels[part].max()}, expected 0 to 9: it is torn or"
                    f" another file; {remedy()}"
                )
    return labels


def find_file(raw: Path, file: str) -> Path | None:
    """The plain file, else the gzipped one, else None."""
    return next((path for path in (raw / file, raw / f"{file}.gz") if path.is_file()), None)


def fetch(name: str, root: Path) -> None:
    """Let torchvision download the set into `root`; raise FileNotFoundError when that fails."""
    from torchvision.datasets import MNIST, FashionMNIST

    try:
        (MNIST if name == "mnist" else FashionMNIST)(root, download=True)
    except (OSError, RuntimeError, ValueError, EOFError, AssertionError) as error:
        raise FileNotFoundError(
            f"{name}: {root} does not hold {FOLDERS[name]}/raw/*-ubyte, and the download failed "
            f"({' '.join(str(error).split())[:160]}); {remedy()}"
        ) from error


def read_idx(path: Path, header: tuple[int, ...]) -> Tensor:
    """Read an idx file with this header, the magic and then the sizes, plain or gzipped: its bytes,
    uint8 in one row.
    """
    first = struct.pack(f">{len(header)}i", *header)
    size = len(first) + math.prod(header[1:])
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            raw = file.read(size + 1)  # no more, however much it unpacks to
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}: {error}); {remedy()}"
        ) from error

    if raw[: len(first)] != first or len(raw) != size:
        words = min(len(raw), len(first)) // 4
        came = struct.unpack(f">{words}i", raw[: 4 * words])
        raise ValueError(
            f"{path} is torn or another file: {len(raw)} bytes with the header {came}, "
            f"expected {size} bytes with {header}; "
            f"delete it so that it is fetched again, or {remedy()}"
        )

    # a copy, since torch wants it writable
    return torch.from_numpy(np.frombuffer(raw, dtype=np.uint8, offset=len(first)).copy())


def remedy() -> str:
    """What to do about a bad root, for the end of an error."""
    return (
        f"point root= or the variable {ROOT_VARIABLE} (now {os.environ.get(ROOT_VARIABLE)!r}) "
        "at a folder with a whole copy in torchvision's layout"
    )
