"""From a frame of pandas to data: its columns in their order, each of a kind (`columns.py`).

Columns that are all binary make black-and-white data like any others, uint8; other tables are
float32. The columns of `context` are taken out of the data and become what programs are given
besides: numbers as they are, categories one-hot.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyro_vae.arguments import refuse
from pyro_vae.data.arrays import Judged, Values, as_black_and_white, as_reals, judged
from pyro_vae.data.columns import ANSWERS, Column, column_of
from pyro_vae.data.kinds import Columns, num_levels
from pyro_vae.data.tables import twice

ColumnKinds = Mapping[str, str] | None
"""What columns hold, by their names, where it is not to be inferred."""


class Framed(NamedTuple):
    """A frame as the part "all"; and its context, float32 `(N, C)`, with the names of its
    columns.
    """

    judged: Judged
    context: Tensor | None = None
    context_names: tuple[str, ...] | None = None


def check_column_kinds(kinds: object) -> None:
    """Raise a ValueError unless kinds are None or answers by the names of columns."""
    if kinds is None:
        return
    told = ", ".join(map(repr, ANSWERS))
    if not isinstance(kinds, Mapping) or not all(isinstance(name, str) for name in kinds):
        refuse("kinds", kinds, f"a dictionary from names of columns to {told}, or None")
    for name, kind in kinds.items():
        if not isinstance(kind, str) or (kind not in ANSWERS and num_levels(kind) is None):
            raise ValueError(f"kinds: got {kind!r} for {name!r}, expected one of {told}")


def column_names(argument: str, given: Any) -> tuple[str, ...]:
    """Names of columns, of which one may come alone; a ValueError where they are none."""
    names = (given,) if isinstance(given, str) else given
    listed = isinstance(names, list | tuple) and len(names) > 0
    if not listed or not all(isinstance(name, str) for name in names) or twice(names):
        refuse(argument, given, "names of columns that differ, or None")
    return tuple(names)


def is_frame(data: Any) -> bool:
    """Whether something is a frame of pandas, without asking for pandas."""
    return hasattr(data, "columns") and hasattr(data, "select_dtypes")


def from_frame(
    frame: Any,
    source: str,
    values: Values | None = None,
    kinds: ColumnKinds = None,
    context: Sequence[str] = (),
    dtype: torch.dtype = torch.float32,
) -> Framed:
    """Make data of a frame.

    Args:
        frame: of pandas; its index is not looked at.
        source: what to call the origin in an error.
        values: what the columns hold that `kinds` does not name.
        kinds: what columns hold, by their names: an answer of `columns.py`.
        context: names of the columns that are taken out of the data, in their order.
        dtype: of real values.

    Raises:
        ValueError: names that come twice or are not there, a column that is asked about, values
            that are not of their kind, no columns or rows that are left.
    """
    names = [str(name) for name in frame.columns]
    told = twice(names) if names else "a frame without columns"
    if told or not len(frame):
        raise ValueError(f"{source}: {told or 'it has no rows, expected at least one'}")
    kinds = dict(kinds or {})
    for argument, given in (("kinds", kinds), ("context", context)):
        _check_known(argument, given, names, source)

    found: dict[str, Column] = {}
    for place, name in enumerate(names):
        asked = kinds.get(name, None if values == "pixels" or name in context else values)
        column = column_of(name, frame.iloc[:, place], asked, source)
        if column is not None:
            found[name] = column

    left_out = tuple(name for name in names if name not in found)
    data = [column for name, column in found.items() if name not in context]
    if not data:
        raise ValueError(f"{source}: no columns are left, expected at least one of data")
    made = _table(data, source, values, dtype)
    made = made._replace(columns=made.columns._replace(left_out=left_out))
    return Framed(made, *_context([_kept(found, name) for name in context], source))


def _check_known(argument: str, given: Any, names: Sequence[str], source: str) -> None:
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"{argument}: {source} has no column {name!r}, expected one of"
                f" {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}{hint}"
            )


def _kept(found: Mapping[str, Column], name: str) -> Column:
    if name not in found:
        raise ValueError(f"context: the column {name!r} is dropped, expected one that is kept")
    return found[name]


def _table(
    columns: Sequence[Column], source: str, values: Values | None, dtype: torch.dtype
) -> Judged:
    """The columns side by side."""
    matrix = np.stack([column.values for column in columns], 1)
    names = tuple(column.name for column in columns)
    if values == "pixels":
        made = judged({"all": matrix}, source, values)
        return made._replace(columns=Columns(names=names))

    kinds = tuple(column.kind for column in columns)
    levels = tuple(column.levels for column in columns)
    known = Columns(kinds, levels if any(levels) else None, names)
    if set(kinds) == {"binary"} and dtype == torch.float32 and not np.isnan(matrix).any():
        return Judged({"all": as_black_and_white(matrix)}, known)

    rows = as_reals(matrix, source)
    return Judged({"all": torch.from_numpy(matrix) if dtype == torch.float64 else rows}, known)


def _context(
    columns: Sequence[Column], source: str
) -> tuple[Tensor | None, tuple[str, ...] | None]:
    """Columns as what programs are given besides the data, and the names of its columns."""
    if not columns:
        return None, None

    names: list[str] = []
    parts = []
    for column in columns:
        if np.isnan(column.values).any():
            raise ValueError(
                f"{source}: the column {column.name!r} has missing values, expected a context that"
                " is known of every row"
            )
        if column.levels is None:
            names.append(column.name)
            parts.append(as_reals(column.values[:, None], f"{source}: {column.name}"))
        else:
            names += [f"{column.name}={level}" for level in column.levels]
            codes = torch.tensor(column.values).long()
            parts.append(torch.nn.functional.one_hot(codes, len(column.levels)).float())
    return torch.cat(parts, 1), tuple(names)
