"""A user's numpy arrays -> uint8 or float32 tensors, or an error that says what to mend.

All parts of a set (train, valid, test) are judged together, since each alone can mislead: a test part that
happens to hold only zeros and ones is not binary data when train is grey. The rules, in order:

    only 0 and 1, of any dtype         -> uint8 0 / 255: binary data, every rule of binarisation agrees
    integers in 0..255, of any width   -> uint8: grey pixels
    floats                             -> float32: real values

Layouts, with C = 1 or 3:

    (N, D)                        -> (N, D)
    (N, H, W)                     -> (N, 1, H, W)
    (N, C, H, W), (N, H, W, C)    -> (N, C, H, W)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
KINDS = {"b": "bool", "u": "integer", "i": "integer", "f": "float"}
CHANNELS = (1, 3)


def as_tensors(arrays: Mapping[str, Array], source: str) -> dict[str, Tensor]:
    """Check arrays together and convert them.

    Args:
        arrays: the parts by name ("all" for a set that is not cut yet), each (N, D), (N, H, W),
            (N, C, H, W) or (N, H, W, C).
        source: what to call the origin in an error.

    Returns:
        The parts under the same names: all uint8 (0..255) or all float32, (N, *shape), one shape for all.

    Raises:
        TypeError: a dtype that is no number.
        ValueError: another number of dimensions, no rows, shapes that differ, NaN or inf, integers outside
            0..255, integers mixed with floats.
    """
    where = {part: source if part == "all" else f"{source}: {part}" for part in arrays}
    for part, array in arrays.items():
        check_kind(array, where[part])
    images = {part: channels_first(array, where[part]) for part, array in arrays.items()}
    check_same_shape(images, source)
    if all(is_binary(array) for array in images.values()):
        return {
            part: torch.from_numpy(array.astype(np.uint8, order="C") * np.uint8(255)) for part, array in images.items()
        }
    check_same_kind(images, source)
    return {part: as_pixels(array, where[part]) for part, array in images.items()}


def check_kind(array: Array, where: str) -> None:
    """Raise TypeError unless the dtype is bool, integer or float."""
    if array.dtype.kind not in KINDS:
        raise TypeError(f"{where} has dtype {array.dtype}, expected bool, integers in 0..255 or floats")


def channels_first(array: Array, where: str) -> Array:
    """View the array as (N, D) or (N, C, H, W); raise ValueError on every other layout."""
    if array.ndim not in (2, 3, 4):
        raise ValueError(
            f"{where} has shape {array.shape}, expected (N, D), (N, H, W), (N, C, H, W) or (N, H, W, C); "
            "reshape it so that the first axis counts the data"
        )
    if array.size == 0:
        raise ValueError(f"{where} has shape {array.shape}, expected at least one row and one value a row")
    if array.ndim == 3:
        return array[:, None]
    if array.ndim == 2 or array.shape[1] in CHANNELS:
        return array
    if array.shape[3] in CHANNELS:
        return np.moveaxis(array, 3, 1)
    raise ValueError(
        f"{where} has shape {array.shape}, expected 1 or 3 channels, as (N, C, H, W) or (N, H, W, C); "
        "save other arrays as (N, D)"
    )


def check_same_shape(images: Mapping[str, Array], source: str) -> None:
    """Raise ValueError unless all parts have rows of one shape."""
    shapes = {part: array.shape[1:] for part, array in images.items()}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{part} {shape}" for part, shape in shapes.items())
        raise ValueError(f"{source}: the parts have rows of different shapes ({told}), expected one shape")


def check_same_kind(images: Mapping[str, Array], source: str) -> None:
    """Raise ValueError when integers and floats are mixed: their units cannot be the same."""
    if len({KINDS[array.dtype.kind] for array in images.values()}) > 1:
        told = ", ".join(f"{part} {array.dtype}" for part, array in images.items())
        raise ValueError(f"{source}: the parts mix kinds of numbers ({told}), expected one; save all in the same units")


def is_binary(array: Array) -> bool:
    """Whether every value is 0 or 1."""
    return bool(((array == 0) | (array == 1)).all())


def as_pixels(array: Array, where: str) -> Tensor:
    """Integers -> uint8, floats -> float32; raise ValueError on values that do not fit."""
    if KINDS[array.dtype.kind] == "integer":
        low, high = int(array.min()), int(array.max())
        if low < 0 or high > 255:
            raise ValueError(
                f"{where} holds {array.dtype} values in [{low}, {high}], expected pixels in 0..255; "
                "rescale them, or save real values as float32"
            )
        return torch.from_numpy(np.array(array, dtype=np.uint8, order="C"))
    with np.errstate(over="ignore"):  # an overflow becomes inf, which is told below
        values = np.array(array, dtype=np.float32, order="C")
    rows = np.flatnonzero(~np.isfinite(values).all(axis=tuple(range(1, values.ndim))))
    if len(rows):
        raise ValueError(
            f"{where} holds NaN or inf (as float32) in {len(rows)} of {len(values)} rows, "
            f"the first is row {rows[0]}; drop or impute those rows"
        )
    return torch.from_numpy(values)
