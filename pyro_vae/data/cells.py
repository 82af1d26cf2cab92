"""Between the values of a table and its cells, as a user has them: columns by their names, the
levels of categories in the place of codes, whole numbers without a point, nothing where a value is
missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.arguments import refuse
from pyro_vae.data.arrays import as_reals
from pyro_vae.data.codes import Array
from pyro_vae.data.columns import numbers_of, texts_of
from pyro_vae.data.kinds import Columns, check_columns, check_kinds

Cell = str | int | float | None


def cells_of(columns: Columns, values: Tensor) -> dict[str, list[Cell]]:
    """Values `(N, D)` as cells, by the names of the columns.

    Counts and zeros and ones are whole numbers where all of a column are; means of them stay what
    they are.

    Example:
        >>> city = Columns(("real", "categories:2"), (None, ("Bern", "Rome")), ("age", "city"))
        >>> cells_of(city, torch.tensor([[0.1, 1.0], [torch.nan, 0.0]]))
        {'age': [0.1, None], 'city': ['Rome', 'Bern']}
    """
    kinds = columns.kinds or ("real",) * values.shape[1]
    found = {}
    for place, name in enumerate(columns.names or ()):
        levels = columns.levels[place] if columns.levels else None
        whole = kinds[place] != "real"
        found[name] = _cells(values[:, place].detach().cpu().numpy(), whole, levels)
    return found


def _cells(values: Array, whole: bool, levels: Sequence[str] | None) -> list[Cell]:
    there = ~np.isnan(values)
    whole = whole and bool((values[there] == np.rint(values[there])).all())
    cells: list[Cell] = []
    for value, is_there in zip(values, there, strict=True):
        if not is_there:
            cells.append(None)
        elif whole:
            cells.append(levels[int(value)] if levels else int(value))
        else:
            cells.append(float(str(value)))  # the shortest that reads as this float32
    return cells


def with_cells(table: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """A table by columns in which those called value_0, value_1, ... are a table's values: these as
    cells. A name that the table has already gets a low line behind it.
    """
    if columns.names is None:
        return dict(table)

    places = [f"value_{place}" for place in range(len(columns.names))]
    found = {name: column for name, column in table.items() if name not in places}
    values = torch.stack([torch.as_tensor(table[place]) for place in places], 1)
    for name, cells in cells_of(columns, values).items():
        while name in found:
            name += "_"
        found[name] = cells
    return found


def described(columns: Columns) -> dict[str, Any]:
    """Names, kinds and levels, as `columns_from` reads them; nothing of data without names."""
    if columns.kinds is None or columns.names is None:
        return {}
    found: dict[str, Any] = {"columns": dict(zip(columns.names, columns.kinds, strict=True))}
    if columns.levels is not None:
        pairs = zip(columns.names, columns.levels, strict=True)
        found["levels"] = {name: list(levels) for name, levels in pairs if levels}
    return found


def columns_from(facts: Mapping[str, Any], size: int) -> Columns:
    """What `described` says of the columns of data `(N, size)`.

    Raises:
        ValueError: something that it never says.
    """
    kinds, levels = facts.get("columns"), facts.get("levels", {})
    if kinds is None:
        return Columns()
    if not isinstance(kinds, dict) or not isinstance(levels, dict):
        refuse("columns", kinds, "kinds, and levels, by the names of columns")

    listed = {name: tuple(some) for name, some in levels.items() if isinstance(some, list)}
    found = Columns(
        tuple(kinds.values()), tuple(listed.get(name) for name in kinds) or None, tuple(kinds)
    )
    check_kinds(found.kinds, torch.zeros(1, size), "none")
    check_columns(found, size)
    for kind, some in zip(found.kinds or (), found.levels or (), strict=True):
        if some is not None and kind != f"categories:{len(some)}":
            refuse("levels", some, f"as many as {kind!r} says")
    return found


def values_like(columns: Columns, frame: Any, source: str) -> Tensor:
    """The values `(N, D)` float32 of a frame of pandas that has the columns of a known table, and
    perhaps others, which are left alone: categories by the known levels.

    Args:
        columns: with names and kinds.
        frame: whose columns may come in any order.
        source: what to call the origin in an error.

    Raises:
        ValueError: columns that are not there, a level that is not known, values that are not of
            their kind.
    """
    found = {str(name): place for place, name in enumerate(frame.columns)}
    names, kinds = columns.names or (), columns.kinds or ()
    absent = [name for name in names if name not in found]
    if absent:
        raise ValueError(
            f"{source}: it has no column {', '.join(map(repr, absent[:5]))}, expected those of the"
            f" run: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"
        )

    levels = columns.levels or (None,) * len(names)
    parts = []
    for name, some in zip(names, levels, strict=True):
        where = f"{source}: the column {name!r}"
        series = frame.iloc[:, found[name]]
        parts.append(_numbers(series, where) if some is None else codes_like(some, series, where))
    values = as_reals(np.stack(parts, 1), source)
    for name, kind, column in zip(names, kinds, values.unbind(1), strict=True):
        try:
            check_kinds((kind,), column, "none")
        except ValueError as error:
            raise ValueError(f"{source}: the column {name!r} is no {kind} ({error})") from None
    return values


def _numbers(series: Any, where: str) -> Array:
    if series.isna().all():
        return np.full(len(series), np.nan)
    if texts_of(series, where, "") is not None:
        raise ValueError(f"{where} holds texts, expected numbers as in the run's data")
    return numbers_of(series, where)[0]


def codes_like(levels: Sequence[str], series: Any, where: str) -> Array:
    """The codes `(N,)`, NaN where one is missing, of a column whose levels are known."""
    number_of = {level: float(place) for place, level in enumerate(levels)}
    codes, empty = np.full(len(series), np.nan), series.isna().to_numpy()
    for row, value in enumerate(series.array):
        if empty[row]:
            continue
        whole = isinstance(value, float | np.floating) and value == int(value)
        text = str(int(value)) if whole else str(value)
        if text not in number_of:
            told = ", ".join(levels[:12]) + (", ..." if len(levels) > 12 else "")
            raise ValueError(f"{where} holds {text!r}, expected the run's categories: {told}")
        codes[row] = number_of[text]
    return codes


def context_like(names: Sequence[str], frame: Any, source: str) -> Tensor:
    """The context `(N, C)` float32 of a frame of pandas whose columns, or "column=level" for each
    level of one, are called by these names.

    Raises:
        ValueError: columns that are not there, missing values, a level that is not known.
    """
    levels: dict[str, list[str]] = {}
    columns = set(map(str, frame.columns))
    for name in names:
        column, equals, level = (name, "", "") if name in columns else name.partition("=")
        if column not in columns:
            raise ValueError(f"{source}: it has no column {column!r}, which is the run's context")
        levels.setdefault(column, []).extend([level] if equals else [])

    parts = []
    for column, some in levels.items():
        where, series = f"{source}: the column {column!r}", frame[column]
        if series.isna().any():
            raise ValueError(f"{where} has missing values, expected a context known of every row")
        if not some:
            parts.append(as_reals(_numbers(series, where)[:, None], where))
        else:
            codes = torch.from_numpy(codes_like(some, series, where)).long()
            parts.append(torch.nn.functional.one_hot(codes, len(some)).float())
    return torch.cat(parts, 1)
