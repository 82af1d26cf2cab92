"""Rows that stay where they are (a file, a folder, a torch Dataset), read a few at a time.

What the numbers are is judged on some rows, evenly spread, by the rules of `arrays`: zeros and
ones, pixels or real values. Every row is held to that when it is read, and one that does not keep
to it is told by its number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_vae.data.arrays import BRIGHTEST, Array, Values, channels_first, is_binary, judged

Places = NDArray[np.int64]
Kind = Literal["binary", "pixels", "real"]

MOST_ROWS = 10_000
MOST_VALUES = 2**25  # 128 MiB in float32


class Rows(Protocol):
    """Rows that can be read by their places, 0 to N - 1: in any order, unless `in_order`; where
    they are `fixed`, a place has the same row whenever it is read.
    """

    in_order: bool
    fixed: bool

    def __len__(self) -> int: ...

    def read(self, places: Places) -> Array:
        """These rows as they were saved, `(B, *shape)`."""


def affordable(size: int) -> int:
    """How many rows of `size` values may be held in memory: 10,000, or fewer where a row is large.

    Example:
        >>> affordable(784), affordable(3 * 256 * 256)
        (10000, 170)
    """
    return max(16, min(MOST_ROWS, MOST_VALUES // max(size, 1)))


def some_of(rows: Rows, total: int, number: int) -> Places:
    """Up to `number` places of 0 to `total` - 1: evenly spread, or the first ones of rows that come
    in order.
    """
    return np.arange(min(total, number)) if rows.in_order else spread_over(total, number)


def spread_over(total: int, number: int) -> Places:
    """Up to `number` places of 0 to `total` - 1, evenly spread, the first and the last among them.

    Example:
        >>> spread_over(100, 4).tolist(), spread_over(3, 4).tolist()
        ([0, 33, 66, 99], [0, 1, 2])
    """
    if total <= number:
        return np.arange(total)
    return np.linspace(0, total - 1, number).round().astype(np.int64)


@dataclass(frozen=True)
class Reader:
    """Rows as tensors, as `judged` would have made them of all rows in memory.

    Attributes:
        rows: where they are read from.
        kind: what their numbers are.
        shape: of a datum.
        dtype: of a tensor: uint8 for pixels, else that of real values.
        channels: whether images are brought into the layout (C, H, W).
        source: what to call the origin in an error.
        holed: whether values are missing (NaN), by the rows that were looked at.
    """

    rows: Rows
    kind: Kind
    shape: tuple[int, ...]
    dtype: torch.dtype
    channels: bool
    source: str
    holed: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def tensor(self, places: Places) -> Tensor:
        """The rows at these places, `(B, *shape)`; a ValueError that names a row that does not fit
        the others.
        """
        array = self.rows.read(places)
        if self.channels:
            array = channels_first(array, self.source)
        if array.shape[1:] != self.shape:
            raise ValueError(
                f"{self.source}: rows {places[0]} and on have shape {array.shape[1:]}, expected"
                f" {self.shape}, as other rows have"
            )

        self._check(array, places)
        if self.kind == "binary" and self.dtype == torch.uint8:
            return torch.from_numpy(array.astype(np.uint8, order="C") * np.uint8(255))
        return torch.from_numpy(array.astype(_NUMPY[self.dtype], order="C"))

    def _check(self, array: Array, places: Places) -> None:
        """A ValueError for the first row that holds what the kind does not allow."""
        flat = array.reshape(len(array), -1)
        if self.kind == "real":
            with np.errstate(over="ignore"):  # an overflow becomes inf, which is told
                wide = flat.astype(_NUMPY[self.dtype], copy=False)
            good = (np.isfinite(wide) | (np.isnan(wide) & self.holed)).all(1)
            expected = "finite values" + ("" if self.holed else ", nor missing ones as the others")
        elif self.kind == "binary":
            good = ((flat == 0) | (flat == 1)).all(1)
            expected = "0 and 1 alone, as in the rows looked at; or say values='pixels' or 'real'"
        elif array.dtype == np.uint8:
            return
        else:
            good = ((flat >= 0) & (flat <= BRIGHTEST) & (flat == np.rint(flat))).all(1)
            expected = "pixels, whole numbers in 0..255; rescale them, or say values='real'"

        if not good.all():
            number = places[np.flatnonzero(~good)[0]]
            raise ValueError(f"{self.source}: row {number} does not hold {expected}")


_NUMPY: dict[torch.dtype, type[Any]] = {
    torch.uint8: np.uint8,
    torch.float32: np.float32,
    torch.float64: np.float64,
}


def reader_of(
    rows: Rows,
    source: str,
    values: Values | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    shape: Sequence[int] | None = None,
) -> Reader:
    """Judge what rows hold by some of them, all where there are few.

    Args:
        rows, source, values: see `Reader` and `pyro_vae.data.arrays`.
        dtype: of real values.
        shape: of a datum as the model has it; rows that come in it stay in it.

    Raises:
        ValueError: no rows, or rows that `judged` refuses.
    """
    if len(rows) == 0:
        raise ValueError(f"{source} has no rows, expected at least one")

    size = math.prod(rows.read(np.zeros(1, np.int64)).shape)
    some = rows.read(some_of(rows, len(rows), affordable(size)))
    if values == "categories":
        raise ValueError(
            f"{source}: got values='categories' of rows that stay where they are, whose codes are"
            " not all seen: save codes 0..K-1 and say values='counts'"
        )
    found = judged({"all": some}, source, values).parts["all"]
    holed = found.is_floating_point() and bool(found.isnan().any())

    kind: Kind = "real" if found.dtype != torch.uint8 else "pixels"
    if values is None and not holed and is_binary(some):
        kind = "binary"
    # draws are float32
    floats = kind == "real" or (kind == "binary" and dtype == torch.float64)
    kept = dtype if floats else torch.uint8

    stays = some.shape[1:] in (tuple(found.shape[1:]), None if shape is None else tuple(shape))
    layout = some.shape[1:] if stays else tuple(found.shape[1:])
    return Reader(rows, kind, tuple(layout), kept, not stays, source, holed)
