"""From a user's numpy arrays to uint8 or float32 tensors, or an error that says what to mend.

All parts of a set (train, valid, test) are judged together, since each alone can mislead: a test
part that happens to hold only zeros and ones is not binary data when train is grey. The rules, in
order:

    only 0 and 1, of any dtype       -> uint8 0 / 255: binary data, all rules of binarisation agree
    integers that look like pixels   -> uint8: grey levels
    other whole numbers              -> a question: counts, categories or grades?
    floats                           -> float32: real values

A NaN among floats is a missing value, and the rules go by the others; zeros and ones, and pixels,
are floats in [0, 1] then.

Integers look like pixels where their largest value is from 16 to 255 and they come as images, or as
bytes (uint8). The question is answered by `values`: "pixels", "counts", "categories" or "real".
Counts and categories become float32 (`whole.py`). Of a table `(N, D)`, and of single values that
somebody has said what they are, each column has a kind (`kinds.py`); grey levels have none.

Layouts, with C = 1 or 3:

    (N,)                          -> (N,), a datum is one value
    (N, D)                        -> (N, D)
    (N, H, W)                     -> (N, 1, H, W)
    (N, C, H, W), (N, H, W, C)    -> (N, C, H, W)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_vae.data.codes import as_code_columns, as_codes, as_counts, is_whole
from pyro_vae.data.kinds import Columns

Array = NDArray[Any]
Values = Literal["pixels", "counts", "categories", "real"]
KINDS = {"b": "bool", "u": "integer", "i": "integer", "f": "float"}
CHANNELS = (1, 3)
DARKEST, BRIGHTEST = 16, 255  # the largest of some grey levels must lie between them


class Judged(NamedTuple):
    """Parts of a set as tensors, and what is known of their columns."""

    parts: dict[str, Tensor]
    columns: Columns = Columns()


def judged(arrays: Mapping[str, Array], source: str, values: Values | None = None) -> Judged:
    """Check arrays together and convert them.

    Args:
        arrays: the parts by name ("all" for a set that is not cut yet), each (N,), (N, D),
            (N, H, W), (N, C, H, W) or (N, H, W, C).
        source: what to call the origin in an error.
        values: what the numbers are, "pixels" (0..255), "counts", "categories" or "real"; None goes
            by the rules above.

    Returns:
        The parts under the same names: all uint8 (0..255) or all float32, (N, *shape), one shape
        for all; and what is known of their columns.

    Raises:
        ValueError: a dtype that is no number, another number of dimensions, no rows, shapes that
            differ, inf, nothing but NaN, integers mixed with floats, whole numbers that may be
            counts, values that are not what they are said to be.
    """
    check_values(values)
    where = {part: source if part == "all" else f"{source}: {part}" for part in arrays}

    for part, array in arrays.items():
        check_numeric(array, where[part])
    images = {part: channels_first(array, where[part]) for part, array in arrays.items()}
    check_same_shape(images, source)

    if values in ("counts", "categories"):
        return _as_whole(images, source, where, values)
    if values == "real":
        reals = {part: as_reals(array, where[part]) for part, array in images.items()}
        return _of_kind("real", reals, told=True)
    if values is None and all(is_binary(array) for array in images.values()):
        holed = any(has_nan(array) for array in images.values())
        turn = as_reals if holed else as_black_and_white
        return _of_kind("binary", {part: turn(a, where[part]) for part, a in images.items()})

    check_same_kind(images, source)
    whole = all(is_whole(array) for array in images.values())
    if values is None and whole:
        ask_unless_pixels(images, source)
    if not whole and values != "pixels":
        reals = {part: as_reals(array, where[part]) for part, array in images.items()}
        return _of_kind("real", reals)
    convert = as_shares if any(has_nan(array) for array in images.values()) else as_pixels
    return Judged({part: convert(array, where[part]) for part, array in images.items()})


def _of_kind(kind: str, parts: dict[str, Tensor], told: bool = False) -> Judged:
    """Parts of which every column is of one kind; single values have it where it was told."""
    shape = next(iter(parts.values())).shape[1:]
    if len(shape) == 1:
        return Judged(parts, Columns((kind,) * shape[0]))
    return Judged(parts, Columns((kind,) if told and not shape else None))


def _as_whole(
    images: Mapping[str, Array], source: str, where: Mapping[str, str], values: str
) -> Judged:
    """Counts, or categories as codes."""
    if values == "counts":
        counts = {part: as_counts(array, where[part]) for part, array in images.items()}
        found = _of_kind("counts", counts, told=True)
    else:
        ndim = next(iter(images.values())).ndim
        codes, levels = (as_code_columns if ndim == 2 else as_codes)(images, source)
        kinds = tuple(f"categories:{len(each or ())}" for each in levels)
        found = Judged(codes, Columns(kinds, tuple(levels)) if ndim <= 2 else Columns())

    for part, values_of in found.parts.items():
        check_there(values_of.numpy(), where[part])
    return found


def as_black_and_white(array: Array, where: str = "") -> Tensor:
    """Zeros and ones -> uint8 0 and 255."""
    return torch.from_numpy(array.astype(np.uint8, order="C") * np.uint8(255))


def check_values(values: object) -> None:
    """Raise ValueError unless `values` is None or one of `Values`."""
    if values is not None and values not in get_args(Values):
        known = " or ".join(map(repr, get_args(Values)))
        raise ValueError(f"values={values!r}: expected None, {known}")


def check_numeric(array: Array, where: str) -> None:
    """Raise ValueError unless the dtype is bool, integer or float."""
    if array.dtype.kind not in KINDS:
        raise ValueError(f"{where} has dtype {array.dtype}, expected bool, integers or floats")


def channels_first(array: Array, where: str) -> Array:
    """View the array as (N,), (N, D) or (N, C, H, W); raise ValueError on every other layout."""
    if array.ndim not in (1, 2, 3, 4):
        raise ValueError(
            f"{where} has shape {array.shape}, expected (N,), (N, D), (N, H, W), (N, C, H, W) or"
            " (N, H, W, C); reshape it so that the first axis counts the data"
        )
    if array.size == 0:
        raise ValueError(
            f"{where} has shape {array.shape}, expected at least one row and one value a row"
        )

    if array.ndim == 3:
        return array[:, None]
    if array.ndim <= 2 or array.shape[1] in CHANNELS:
        return array
    if array.shape[3] in CHANNELS:
        return np.moveaxis(array, 3, 1)
    raise ValueError(
        f"{where} has shape {array.shape}, expected 1 or 3 channels, as (N, C, H, W) or (N, H, W,"
        " C); save other arrays as (N, D)"
    )


def check_same_shape(images: Mapping[str, Array], source: str) -> None:
    """Raise ValueError unless all parts have rows of one shape."""
    shapes = {part: array.shape[1:] for part, array in images.items()}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{part} {shape}" for part, shape in shapes.items())
        raise ValueError(
            f"{source}: the parts have rows of different shapes ({told}), expected one shape"
        )


def check_same_kind(images: Mapping[str, Array], source: str) -> None:
    """Raise ValueError when integers and floats are mixed: their units cannot be the same."""
    if len({KINDS[array.dtype.kind] for array in images.values()}) > 1:
        told = ", ".join(f"{part} {array.dtype}" for part, array in images.items())
        raise ValueError(
            f"{source}: the parts mix kinds of numbers ({told}), expected one;"
            " save all in the same units"
        )


def is_binary(array: Array) -> bool:
    """Whether every value that is there is 0 or 1."""
    return bool(((array == 0) | (array == 1) | np.isnan(array)).all())


def has_nan(array: Array) -> bool:
    """Whether a value is missing."""
    return bool(np.isnan(array).any())


def ask_unless_pixels(images: Mapping[str, Array], source: str) -> None:
    """Raise ValueError to ask what whole numbers are, unless they look like grey levels."""
    low = int(min(np.nanmin(array) for array in images.values()))
    high = int(max(np.nanmax(array) for array in images.values()))
    some = next(iter(images.values()))
    is_image = some.ndim > 2 and KINDS[some.dtype.kind] != "float"
    if low >= 0 and DARKEST <= high <= BRIGHTEST and (is_image or some.dtype == np.uint8):
        return

    raise ValueError(
        f"{source} holds whole numbers ({some.dtype}) in [{low}, {high}], rows of shape"
        f" {some.shape[1:]}: pixels, counts, categories or grades? Say values='pixels'"
        " (--values pixels) for grey levels 0..255, 'counts' for how many there are of"
        " something, 'categories' for the codes of classes, or 'real' to fit real values, a"
        " Gaussian as they are"
    )


def as_pixels(array: Array, where: str) -> Tensor:
    """Whole numbers in 0..255 -> uint8; raise ValueError on other values."""
    low, high = np.nanmin(array), np.nanmax(array)
    if not is_whole(array) or low < 0 or high > BRIGHTEST:
        raise ValueError(
            f"{where} holds {array.dtype} values in [{low:g}, {high:g}], expected pixels, whole"
            " numbers in 0..255; rescale and round them, or say values='real'"
        )
    return torch.from_numpy(np.array(array, dtype=np.uint8, order="C"))


def as_shares(array: Array, where: str) -> Tensor:
    """Pixels, some of which are missing -> float32 v / 255, and NaN."""
    grey = as_pixels(np.nan_to_num(array), where).to(torch.float32) / BRIGHTEST
    return torch.where(torch.from_numpy(np.isnan(array)), torch.nan, grey)


def check_precision(array: Array, where: str) -> None:
    """Raise ValueError where float32 rounds a value's variation away (seconds since 1970, say)."""
    wide = np.asarray(array, dtype=np.float64).reshape(len(array), -1)
    known = np.ma.masked_invalid(wide) if has_nan(wide) else wide
    step, spread = np.ma.filled(np.abs(known).max(0), 0.0) * 2.0**-24, np.ma.filled(known.std(0), 0)
    lost = np.flatnonzero((spread > 0) & (step > spread / 100))

    if len(lost):
        raise ValueError(
            f"{where} varies by {spread[lost[0]]:.3g} about {np.nanmean(wide[:, lost[0]]):.6g} in"
            f" value {lost[0]} of a row (and {len(lost) - 1} more), which float32 cannot"
            " hold; subtract an offset first"
        )


def check_there(values: Array, where: str) -> None:
    """Raise ValueError where float32 values are infinite, or all missing."""
    rows = np.flatnonzero(np.isinf(values).any(axis=tuple(range(1, values.ndim))))
    if len(rows):
        raise ValueError(
            f"{where} holds inf (as float32) in {len(rows)} of {len(values)} rows, the first is row"
            f" {rows[0]}; drop those rows, or put NaN where a value is missing"
        )
    if np.isnan(values).all():
        raise ValueError(f"{where} holds nothing but NaN, expected values that are not missing")


def as_reals(array: Array, where: str) -> Tensor:
    """Any numbers -> float32; raise ValueError on inf, nothing but NaN, and what float32 cannot
    hold.
    """
    with np.errstate(over="ignore"):  # an overflow becomes inf, which is told below
        values = np.array(array, dtype=np.float32, order="C")
    check_there(values, where)

    if array.dtype.itemsize > 4:
        check_precision(array, where)
    return torch.from_numpy(values)
