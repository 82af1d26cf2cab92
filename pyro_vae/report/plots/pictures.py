"""Pictures in a grid, as one image in axes: named rows, named columns, a gap that lets the page
through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.report.images import as_images

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TILE = 0.62  # inches that a picture takes in a figure of its own, if there are few of them
_WIDEST, _HIGHEST = 11.0, 14.0  # inches


@dataclass(frozen=True)
class Layout:
    """Where the pictures of a grid lie.

    Attributes:
        rows, columns: names, empty for none.
        stripe: rows that belong together, between wider gaps; 0 for all.
        gap: between pictures, in parts of a picture's side.
        wide: between stripes, likewise.
    """

    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    stripe: int = 0
    gap: float = 0.08
    wide: float = 0.3


def size_of(
    rows: int, columns: int, layout: Layout, left: float = 0.8, rest: float = 0.9
) -> tuple[float, float]:
    """Inches of a figure with so many pictures, within reason.

    Args:
        left, rest: inches of what is beside and above and below the pictures.
    """
    across, down = columns * (1 + layout.gap), rows * (1 + layout.gap)
    if layout.stripe:
        down += (rows // layout.stripe - 1) * (layout.wide - layout.gap)
    tile = min(_TILE, (_WIDEST - left) / across, (_HIGHEST - rest) / down)
    return max(3.8, left + tile * across), max(1.5, rest + tile * down)


def mosaic(ax: Axes, images: Tensor, layout: Layout) -> tuple[list[float], list[float]]:
    """Draw pictures `(R, C, *shape)`, values in [0, 1], into axes; NaN leaves a place empty.

    Returns:
        Where the middles of the rows and of the columns are, in the axes' units: pixels.
    """
    number, across = images.shape[:2]
    grid = as_images(images.flatten(0, 1))
    height, width = grid.shape[-2:]
    gap = 0 if layout.gap == 0 else max(1, round(layout.gap * height))
    wide = max(gap, round(layout.wide * height)) if layout.stripe else gap

    stripe = layout.stripe or number
    tops = [row * (height + gap) + (row // stripe) * (wide - gap) for row in range(number)]
    lefts = [column * (width + gap) for column in range(across)]
    canvas = torch.full((grid.shape[1], tops[-1] + height, lefts[-1] + width), torch.nan)
    for place, image in enumerate(grid):
        top, left = tops[place // across], lefts[place % across]
        canvas[:, top : top + height, left : left + width] = image

    ax.imshow(_coloured(canvas), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    rows = [top + (height - 1) / 2 for top in tops]
    columns = [left + (width - 1) / 2 for left in lefts]
    _name(ax, layout, rows, columns)
    return rows, columns


def title(ax: Axes, text: str, columns: int) -> None:
    """A title over so many pictures, on as many lines as it takes."""
    ax.set_title(fill(text, max(32, 9 * columns)), fontsize="medium")


def _coloured(canvas: Tensor) -> Any:
    """One channel as it is, NaN unseen; three with the transparency of what is empty."""
    pixels = canvas.numpy()
    if len(pixels) == 1:
        return np.ma.masked_invalid(pixels[0])
    there = np.isfinite(pixels).all(0)
    return np.stack([*np.nan_to_num(pixels), there.astype(pixels.dtype)], -1)


def _name(ax: Axes, layout: Layout, rows: list[float], columns: list[float]) -> None:
    for side in ax.spines.values():
        side.set_visible(False)
    ax.tick_params(length=0)
    named = layout.rows[: len(rows)]
    ax.set_yticks(rows[: len(named)], named)
    named = layout.columns[: len(columns)]
    ax.set_xticks(columns[: len(named)], named)


def striped(sets: Sequence[Tensor], across: int) -> Tensor:
    """Sets of as many data `(N, *shape)` as rows of stripes `(stripes * sets, across, *shape)`,
    the last of them filled up with NaN.
    """
    number = len(sets[0])
    across = min(across, number)
    missing = -number % across
    rows = []
    for data in sets:
        data = data.float()
        empty = torch.full((missing, *data.shape[1:]), torch.nan)
        rows.append(torch.cat([data, empty]).unflatten(0, (-1, across)))
    return torch.stack(rows, 1).flatten(0, 1)
