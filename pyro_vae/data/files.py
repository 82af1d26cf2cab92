"""From a user's own .npy or .npz file or folder of images to numpy arrays, as they were saved.

    x.npy   one array                                          -> {"all": x}
    x.npz   one array of any name                              -> {"all": x}
    x.npz   train and test, perhaps valid; also as x_train ... -> {"train": x, "test": y, ...}
    folder  png, jpg, jpeg, bmp in the order of their names    -> {"all": (N, C, H, W) uint8}

An .npz may hold a mask of its array, or mask_train, mask_test and mask_valid: bools of the shape of
the array, or of its first dimensions, true where a value is there; it comes out as NaN where it is
not.

An .npz may hold labels besides, y of the one array, y_train, y_test and y_valid of the parts, and a
context, c or c_train, c_test and c_valid. Other arrays in an .npz that has train and test are left
alone, and so are pickled ones: nothing is ever unpickled. Whether the numbers make sense is judged
in `arrays`, `labels` and `context`; here an error means that the file itself cannot be used. Tables
are read in `tables`.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile

from pyro_vae.data.arrays import Array

IMAGES = (".png", ".jpg", ".jpeg", ".bmp")
ARRAYS = (".npy", ".npz")
PARTS = ("train", "valid", "test")
# how Pillow opens an image -> what we read it as
MODES = {"1": "L", "L": "L", "RGB": "RGB", "P": "RGB"}
MAX_UNPACKED = 2**28  # bytes that any archive may unpack to
# beyond that, how many times its size a file may unpack to: numbers rarely compress so well, bombs
# far better
MAX_RATIO = 64


def is_there(path: Path) -> bool:
    """Whether something is at a path; not where its name cannot be one, or nobody may look."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def read_path(path: Path) -> dict[str, Array]:
    """Read a user's file or folder.

    Args:
        path: a .npy or .npz file, or a folder of images.

    Returns:
        {"all": array} or the parts "train", "test" and perhaps "valid"; see the module's docstring.

    Raises:
        FileNotFoundError: no such path, or a folder without images.
        ValueError: another kind of file; empty, torn or pickled files; an .npz without the expected
            arrays; images that cannot be read or whose sizes or modes differ.
    """
    if not is_there(path):
        raise FileNotFoundError(
            f"source: there is no file or folder {path}, looked for from {Path.cwd()}"
        )

    if path.is_dir():
        return {"all": read_images(path)}
    if path.suffix.lower() not in ARRAYS:
        raise ValueError(
            f"{path}: expected a .npy or .npz file, a table (.csv, .tsv, .parquet) or a folder of"
            f" {', '.join(IMAGES)} images"
        )

    if path.stat().st_size == 0:
        raise ValueError(
            f"{path} is empty (0 bytes), expected saved arrays; write it"
            " again with numpy.save or savez"
        )
    return read_arrays(path)


def read_arrays(path: Path) -> dict[str, Array]:
    """Read a .npy or .npz file, told apart by their content, without unpickling."""
    with path.open("rb") as file:  # opened here, since numpy leaves torn files open
        with torn_is_told(path):
            saved = np.load(file, allow_pickle=False)
        if not isinstance(saved, NpzFile) or saved.zip is None:
            return {"all": saved}

        check_unpacked(saved.zip, path)
        chosen = choose_arrays(saved.files, path)
        with torn_is_told(path):
            found = {part: saved[key] for part, key in chosen.items()}
            masks = {part: saved[key] for part, key in _masks(saved.files, chosen).items()}

    for part, array in found.items():
        if not isinstance(array, np.ndarray):  # numpy hands out the bytes of what is no array
            raise ValueError(
                f"{path}: {chosen[part]!r} is no array in it, expected"
                " one, as numpy.savez writes it"
            )
    for part, mask in masks.items():
        found[part] = masked(found[part], mask, str(path))
    return found


def _masks(keys: list[str], chosen: Mapping[str, str]) -> dict[str, str]:
    """Which array of an .npz masks which part."""
    names = {part: "mask" if part == "all" else f"mask_{part}" for part in chosen}
    return {part: name for part, name in names.items() if name in keys and name != chosen[part]}


def masked(array: Array, mask: Any, where: str) -> Array:
    """The array as floats, with NaN where the mask is false.

    Args:
        array: `(N, *shape)`.
        mask: bools of its shape, or of its first dimensions.
        where: what to call the origin in an error.
    """
    shape = np.shape(mask)
    fits = isinstance(mask, np.ndarray) and mask.dtype == bool and 0 < mask.ndim <= array.ndim
    if not fits or array.shape[: len(shape)] != shape:
        kind = getattr(mask, "dtype", type(mask).__name__)
        raise ValueError(
            f"{where}: its mask is {kind} of shape {shape}, expected bools of the shape"
            f" {array.shape} of the array, or of its first dimensions: true where a value is there"
        )
    there = mask.reshape(*shape, *[1] * (array.ndim - mask.ndim))
    wide = (
        array
        if array.dtype.kind == "f"
        else array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)
    )
    return np.where(there, wide, wide.dtype.type(np.nan))


def read_beside(path: Path, parts: Iterable[str], letter: str) -> dict[str, Array]:
    """The arrays of an .npz that are named as labels (y), or as the context (c), of these parts, by
    part; none of another file, and none that is pickled.

    Args:
        path: what `read_path` has read.
        parts: "all", or "train", "test" and perhaps "valid".
        letter: "y" or "c".
    """
    if not path.is_file():
        return {}

    found = {}
    with path.open("rb") as file, torn_is_told(path):
        saved = np.load(file, allow_pickle=False)
        if not isinstance(saved, NpzFile):
            return {}

        data = choose_arrays(saved.files, path).values()
        for part in parts:
            name = letter if part == "all" else f"{letter}_{part}"
            if name in saved.files and name not in data:
                array = unpickled(saved, name)
                if isinstance(array, np.ndarray):
                    found[part] = array
    return found


def unpickled(saved: NpzFile, name: str) -> Any:
    """An array of an .npz; None where it is pickled."""
    try:
        return saved[name]
    except ValueError as error:
        if "Object arrays" in str(error):
            return None
        raise


def check_unpacked(archive: zipfile.ZipFile, path: Path) -> None:
    """A ValueError where an archive says that it unpacks to far more than it holds."""
    unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > max(MAX_UNPACKED, MAX_RATIO * path.stat().st_size):
        raise ValueError(
            f"{path} unpacks to {unpacked:,} bytes, {unpacked // max(path.stat().st_size, 1):,}"
            f" times its size, expected at most {MAX_RATIO} times where it is more than"
            f" {MAX_UNPACKED:,}: if it is your own, write it by numpy.savez"
        )


def brief(error: Exception) -> str:
    """What a library says of a file, cut to a helpful length."""
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def torn_is_told(path: Path) -> Iterator[None]:
    """Turn whatever numpy and zipfile raise on a bad file into a ValueError that names the file."""
    try:
        yield
    except Exception as error:
        # numpy, zipfile, zlib, lzma, struct, tokenize and ast raise errors of their own
        raise ValueError(
            f"{path} cannot be read as numpy arrays: it is torn, no .npy/.npz file, or holds"
            f" pickled objects ({brief(error)}); write it again with numpy.save or"
            " numpy.savez from arrays of numbers"
        ) from error


def choose_arrays(keys: list[str], path: Path) -> dict[str, str]:
    """Which array of an .npz is which part: part -> key; a ValueError where that cannot be told."""
    chosen: dict[str, str] = {}
    for part in PARTS:
        found = [key for key in (part, f"x_{part}") if key in keys]
        if len(found) > 1:
            raise ValueError(f"{path} holds both {found[0]!r} and {found[1]!r}; keep one of them")
        if found:
            chosen[part] = found[0]

    if "train" in chosen and "test" in chosen:
        return chosen
    others = [key for key in keys if key not in ("y", "mask")] or keys
    if len(others) > 1:
        others = [key for key in others if key != "c"]
    if len(others) == 1:
        return {"all": others[0]}
    raise ValueError(
        f"{path} holds the arrays {sorted(keys)}, expected either one array, "
        "or 'train' and 'test' and perhaps 'valid' (also as 'x_train', 'x_test', 'x_valid'),"
        " with labels 'y' or 'y_train', 'y_test', 'y_valid', masks 'mask' or 'mask_train', ..., and"
        " a context 'c' or 'c_train', ... if there are any"
    )


def read_images(folder: Path) -> Array:
    """Read the images directly in a folder, in the order of their names: (N, C, H, W) uint8."""
    paths = image_paths(folder)
    images: list[Array] = []
    for path in paths:
        images.append(read_image(path))
        check_same_picture(images[-1], path, images[0], paths[0])
    return np.stack(images)


def image_paths(folder: Path) -> list[Path]:
    """The images directly in a folder, in the order of their names."""
    paths = sorted(path for path in folder.iterdir() if is_image(path))
    if not paths:
        raise FileNotFoundError(
            f"{folder} holds no images, expected {', '.join(IMAGES)} files directly in it"
            " (folders in it are not read)"
        )
    return paths


def check_same_picture(image: Array, path: Path, first: Array, first_path: Path) -> None:
    """A ValueError unless an image has the size and the colours of the first one."""
    if image.shape != first.shape:
        raise ValueError(
            f"{path} is {_described(image)}, {first_path.name} is {_described(first)}, "
            "expected all of one size and all grey or all RGB; resize or convert them first"
        )


def is_image(path: Path) -> bool:
    """Whether a path is that of an image file, by its name."""
    return path.suffix.lower() in IMAGES and not path.name.startswith(".") and path.is_file()


def read_image(path: Path) -> Array:
    """Read one image: (1, H, W) uint8 when grey, (3, H, W) when RGB."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # more than 89 million pixels
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path)
        with image:
            mode = image.mode + (" with transparency" if "transparency" in image.info else "")
            pixels = np.array(image.convert(MODES[mode])) if mode in MODES else None
    except Exception as error:  # each of Pillow's formats raises errors of its own
        raise ValueError(
            f"{path} cannot be read as an image, it is torn or of another kind ({brief(error)})"
        ) from error

    if pixels is None:
        raise ValueError(
            f"{path} has the mode {mode!r}, expected 8-bit grey or RGB; convert it"
            " first (no alpha, no CMYK)"
        )
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)


def _described(image: Array) -> str:
    """Size and colour of a (C, H, W) image in words."""
    channels, height, width = image.shape
    return f"{width} x {height} {'grey' if channels == 1 else 'RGB'}"
