"""Figures as files; which data are pictures, and what is none as a table."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pyro_vae.files.atomic import check_replaceable, write_atomically
from pyro_vae.files.folders import making
from pyro_vae.files.texts import write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".svg", ".pdf")
"""Suffixes of figures that can be written."""


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure, cut to what is drawn, as the kind of picture that the path's suffix names.

    Raises:
        ValueError: a path that cannot be written.
    """
    path = Path(path)
    check_picture("out", path)
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:].lower(), dpi=150, bbox_inches="tight")
    with making("out", path.parent):
        write_atomically(path, lambda file: file.write(picture.getvalue()))
    return path


def check_picture(name: str, path: Path) -> None:
    """Raise a ValueError where a picture cannot be written to a path, by what is there and by its
    suffix.
    """
    check_replaceable(name, path)
    if path.suffix.lower() not in KINDS:
        raise ValueError(
            f"{name}: cannot write {path} (no kind of picture is called {path.suffix!r}): choose"
            f" another path that ends in {', '.join(KINDS)}"
        )


def save_table(sets: Mapping[str, Tensor], path: str | Path) -> Path:
    """Write sets of as many data, `(N, *shape)` each, as a CSV beside `path`: a row for each datum
    of each set, the sets in turns.
    """
    flat = [data.reshape(len(data), -1).tolist() for data in sets.values()]
    rows = []
    for number, each in enumerate(zip(*flat, strict=True)):
        for name, values in zip(sets, each, strict=True):
            told = {f"value_{place}": value for place, value in enumerate(values)}
            rows.append({"datum": number, "what": name} | told)
    return save_rows(rows, path)


def save_rows(rows: Sequence[Mapping[str, Any]], path: str | Path) -> Path:
    """Write rows as a CSV, at `path` with the suffix .csv."""
    table = Path(path).with_suffix(".csv")
    check_replaceable("out", table)
    with making("out", table.parent):
        write_csv(rows, table)
    return table


def are_images(data: Tensor) -> bool:
    """Whether data `(N, *shape)` can be shown: (C, H, W) with 1 or 3 channels, or as many values as
    a square, in [0, 1].
    """
    if data.dim() == 4:
        return data.shape[1] in (1, 3)
    square = data.dim() == 2 and math.isqrt(data.shape[1]) ** 2 == data.shape[1] > 16
    return square and bool(((data >= 0) & (data <= 1) | data.isnan()).all())


def as_images(data: Tensor) -> Tensor:
    """`(N, *shape)` as `(N, C, H, W)` in [0, 1] on the CPU, where the shape allows it."""
    data = data.detach().float().cpu()
    if data.dim() == 2:
        side = math.isqrt(data.shape[1])
        if side * side == data.shape[1]:
            data = data.view(-1, 1, side, side)
    if data.dim() != 4 or data.shape[1] not in (1, 3):
        raise ValueError(
            f"images: got shape {tuple(data.shape)}, expected (N, C, H, W) with 1 or 3 channels"
        )
    return data.clamp(0, 1)
