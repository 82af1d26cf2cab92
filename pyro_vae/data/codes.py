"""Whole numbers that are no grey levels: counts, and codes of categories.

Both become float32, which holds whole numbers up to 2^24. Categories are numbered 0..K-1 in the
order of their values, column by column and through all parts of a set together; so codes that are
0..K-1 already stay what they are, and 1, 2, 5 become 0, 1, 2. The levels say which is which. A
missing value stays NaN, and is no level.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
Levels = tuple[str, ...] | None
"""What the codes 0, 1, ... of a column stand for; None where it holds no categories."""

MOST = 2**24  # float32 rounds larger whole numbers


def is_whole(array: Array) -> bool:
    """Whether every value that is there is a whole number, of any dtype; among floats those below a
    billion.
    """
    if array.dtype.kind != "f":
        return True
    few = np.float64(1e9)  # float64, since float16 does not reach it
    whole = (np.abs(array) < few) & (array == np.rint(array))
    return bool((whole | np.isnan(array)).all())


def known(array: Array) -> Array:
    """The values that are not missing, in one row."""
    return array[~np.isnan(array)] if array.dtype.kind == "f" else array.reshape(-1)


def as_counts(array: Array, where: str) -> Tensor:
    """Whole numbers >= 0 -> float32 of the same shape; a ValueError on others."""
    values = known(array)
    if len(values) and not (is_whole(values) and values.min() >= 0 and values.max() <= MOST):
        raise ValueError(
            f"{where} holds {array.dtype} values in [{values.min():g}, {values.max():g}], expected"
            f" counts, whole numbers from 0 to {MOST:,}; or say 'real'"
        )
    return torch.from_numpy(array.astype(np.float32, order="C"))


def as_codes(arrays: Mapping[str, Array], source: str) -> tuple[dict[str, Tensor], list[Levels]]:
    """Categories of one column, or of all values alike, numbered through all parts.

    Args:
        arrays: by part, of any shape.
        source: what to call the origin in an error.

    Returns:
        The codes, float32 of the same shapes; and their levels, as a list of one.

    Raises:
        ValueError: values that are no whole numbers, or none at all.
    """
    values = np.concatenate([known(array) for array in arrays.values()])
    if not len(values) or not is_whole(values):
        told = f"values in [{values.min():g}, {values.max():g}]" if len(values) else "no values"
        raise ValueError(
            f"{source} holds {told}, expected categories, whole numbers that stand for classes; or"
            " say 'real'"
        )

    levels = np.unique(values)
    codes = {}
    for part, array in arrays.items():
        found = np.searchsorted(levels, array).astype(np.float32)
        if array.dtype.kind == "f":
            found[np.isnan(array)] = np.nan
        codes[part] = torch.from_numpy(found)
    return codes, [tuple(str(int(level)) for level in levels)]


def as_code_columns(
    arrays: Mapping[str, Array], source: str
) -> tuple[dict[str, Tensor], list[Levels]]:
    """The same for tables `(N, D)`, each column by its own levels."""
    width = next(iter(arrays.values())).shape[1]
    columns: dict[str, list[Tensor]] = {part: [] for part in arrays}
    levels: list[Levels] = []

    for place in range(width):
        cut = {part: array[:, place] for part, array in arrays.items()}
        codes, found = as_codes(cut, f"{source}: column {place}")
        levels += found
        for part, values in codes.items():
            columns[part].append(values)
    return {part: torch.stack(values, 1) for part, values in columns.items()}, levels
