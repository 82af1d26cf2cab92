"""Data files at random: right ones, odd ones, torn ones."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Maker = Callable[[random.Random, Path], None]
SHAPES = [(20, 3), (20, 16), (20, 4, 4), (20, 1, 4, 4), (20, 4, 4, 3), (20,), (10, 1), (40, 5)]

ODD_SHAPES = [
    (0, 3),
    (3, 0),
    (),
    (1, 3),
    (9, 3),
    (20, 2, 4, 4),
    (20, 1, 1, 1, 2),
    (2,) * 20,
    (20, 0, 0),
]

KINDS = ["f4", "f8", "f2", "u1", "i8", "i2", "u8", "?", ">f4", ">i4", "<f8", ">f8", "u2"]
ODD_KINDS = ["c8", "c16", "S3", "U3", "M8[s]", "m8[s]", "V4", [("a", "f4"), ("b", "i4")], "f16"]


class Pickled:
    """What leaves a marker when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (Path("marker"),)


def numbers(rng: random.Random, shape: tuple[int, ...], kind: Any) -> np.ndarray[Any, Any]:
    """An array that a user might have."""
    generator = np.random.default_rng(rng.randrange(2**32))
    drawn = rng.choice(
        [
            lambda: generator.normal(size=shape),
            lambda: generator.integers(0, 2, shape),
            lambda: generator.integers(0, 256, shape),
            lambda: generator.integers(0, 7, shape),
            lambda: generator.uniform(size=shape),
            lambda: np.zeros(shape),
            lambda: np.ones(shape),
            lambda: 1e6 * generator.normal(size=shape),
            lambda: 1e-6 * generator.normal(size=shape) + 1,
            lambda: 1.7e9 + generator.normal(size=shape),
        ]
    )()
    with np.errstate(all="ignore"):
        return np.asarray(drawn).astype(kind)


def plain(rng: random.Random) -> np.ndarray[Any, Any]:
    return numbers(rng, rng.choice(SHAPES), rng.choice(KINDS))


def save(path: Path, array: np.ndarray[Any, Any], allow_pickle: bool = False) -> None:
    """`numpy.save` under this very name."""
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=allow_pickle)


def right(rng: random.Random, path: Path) -> None:
    array = plain(rng)
    save(path, np.asfortranarray(array) if rng.random() < 0.5 else array)


def odd_shape(rng: random.Random, path: Path) -> None:
    save(path, numbers(rng, rng.choice(ODD_SHAPES), rng.choice(KINDS)))


def odd_kind(rng: random.Random, path: Path) -> None:
    shape = rng.choice(SHAPES)
    save(path, np.zeros(shape, rng.choice(ODD_KINDS)))


def with_holes(rng: random.Random, path: Path) -> None:
    array = numbers(rng, rng.choice(SHAPES), rng.choice(["f4", "f8", "f2"]))
    spots = array.reshape(-1)
    for _ in range(rng.choice([1, 1, 5])):
        spots[rng.randrange(array.size)] = rng.choice([np.nan, np.inf, -np.inf])
    save(path, array)


def extreme(rng: random.Random, path: Path) -> None:
    """Numbers at the ends of what their type holds."""
    array = numbers(rng, rng.choice(SHAPES), rng.choice(["f8", "f4", "i8", "u8"]))
    info = np.finfo(array.dtype) if array.dtype.kind == "f" else np.iinfo(array.dtype)
    ends = [info.max, info.min] + (
        [info.tiny, info.smallest_subnormal] if array.dtype.kind == "f" else [0, 1]
    )
    if rng.random() < 0.3:
        array[...] = rng.choice(ends)
    for _ in range(rng.choice([1, 10])):
        array.reshape(-1)[rng.randrange(array.size)] = rng.choice(ends)
    save(path, array)


def torn(rng: random.Random, path: Path) -> None:
    right(rng, path)
    raw = path.read_bytes()
    path.write_bytes(raw[: rng.randrange(len(raw))])


def noise(rng: random.Random, path: Path) -> None:
    raw = rng.randbytes(rng.choice([0, 1, 6, 100, 10_000]))
    path.write_bytes(rng.choice([b"", b"\x93NUMPY", b"PK\x03\x04", b"PK\x05\x06"]) + raw)


def pictures(rng: random.Random, path: Path) -> None:
    """A folder of images in the place of a file."""
    path.mkdir()
    for number in range(rng.choice([0, 1, 12, 12, 12])):
        size = (4, 4) if rng.random() < 0.97 else rng.choice([(5, 4), (0, 4), (20_000, 20_000)])
        mode = "L" if rng.random() < 0.97 else rng.choice(["RGB", "RGBA", "CMYK", "I;16", "1", "F"])
        try:
            Image.new(mode, size, 1 if mode != "RGB" else (1, 2, 3)).save(path / f"{number}.png")
        except (OSError, ValueError, SystemError, TypeError):
            (path / f"{number}.png").write_bytes(b"")
    if rng.random() < 0.4 and (path / "0.png").exists():
        raw = (path / "0.png").read_bytes()
        (path / "0.png").write_bytes(
            rng.choice([raw[:50], b"", raw + raw, rng.randbytes(60), raw.replace(b"IDAT", b"IDAX")])
        )


def special(rng: random.Random, path: Path) -> None:
    target = rng.choice(
        ["/dev/zero", "/dev/null", "/dev/full", "missing", "/proc/self/mem", ".", path.name]
    )
    path.symlink_to(target)
