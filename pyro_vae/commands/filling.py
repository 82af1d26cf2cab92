"""A user's file with holes: read as data of a run, and its table filled.

A table is read by what the run knows of it: its columns, in any order and among others, and the
levels of its categories. It is filled in its own terms, and what is no column of the run's data
stays as it is. What stands for a missing value in the table completed is the mean of a number,
rounded of a count, and the more likely of 0 and 1 and of categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from pyro_vae.data import Split
from pyro_vae.data.arrays import Values, judged
from pyro_vae.data.binarise import BINARY, Binarise
from pyro_vae.data.cells import cells_of, context_like, values_like
from pyro_vae.data.context import as_context
from pyro_vae.data.files import read_beside, read_path
from pyro_vae.data.kinds import Columns
from pyro_vae.data.tables import is_table, read_frame
from pyro_vae.files.texts import by_row
from pyro_vae.latent import Imputation
from pyro_vae.programs.given import Given
from pyro_vae.programs.protocols import HasRules, offers
from pyro_vae.runs.building import Parts


class Holed(NamedTuple):
    """Data `(N, *shape)`, NaN where a value is missing; of a table also its frame, and what is
    known of its columns.
    """

    x: Tensor
    columns: Columns
    frame: Any = None


def read_holed(file: str, parts: Parts, values: Values | None = None) -> Holed:
    """The data of a file for a run, whose programs are given the context that the file has.

    Args:
        file: a path.
        parts: the run.
        values: what the numbers of arrays are; what was said of the run's data unless given.

    Raises:
        ValueError: a file of other data than the run's, or without the context that they need.
    """
    path = Path(file)
    parameter = next(parts.model.parameters())
    if is_table(path) and path.is_file():
        if parts.columns.names is None:
            raise ValueError(f"file: {file} is a table, expected a .npy or .npz as the run's data")
        frame = read_frame(path)
        x = values_like(parts.columns, frame, file).to(parameter)
        _give(parts, file, frame)
        return Holed(x, parts.columns, frame)

    x = _read_arrays(path, parts, values or parts.values).to(parameter)
    _give(parts, file, None)
    return Holed(x, parts.columns)


def _read_arrays(path: Path, parts: Parts, values: Values | None) -> Tensor:
    """The data of a file `(N, *shape)`, drawn by the rule of the model's likelihood where they are
    grey.
    """
    arrays = read_path(path)
    if list(arrays) != ["all"]:
        raise ValueError(f"file: {path} has the arrays {sorted(arrays)}, expected one array")
    rows = judged(arrays, str(path), values).parts["all"]
    if tuple(rows.shape[1:]) != tuple(parts.shape):
        raise ValueError(
            f"file: {path} has rows of shape {tuple(rows.shape[1:])}, expected {parts.shape},"
            " the run's"
        )

    rules: Sequence[Binarise] = parts.model.rules if offers(parts.model, HasRules) else ()
    rule: Binarise = rules[0] if rules and rules[0] in BINARY else "none"
    return Split("file", rows, rule).x


def _give(parts: Parts, file: str, frame: Any) -> None:
    """Bind the context of a file's rows in the place of that of the run's own data."""
    programs = [program for program in (parts.model, parts.guide) if isinstance(program, Given)]
    if not programs:
        return

    known, names = programs[0].context, parts.data.context_names
    if frame is not None:
        context = context_like(names or (), frame, file)
    else:
        beside = read_beside(Path(file), ["all"], "c")
        if not beside:
            raise ValueError(
                f"file: the run's model is given a context, and {file} has none, expected an .npz"
                " with c, a row for each datum, beside the data"
            )
        context = as_context(beside["all"], len(beside["all"]), f"{file}: c")
    if context.shape[1:] != known.shape[1:] or context.dtype.is_floating_point != (
        known.dtype.is_floating_point
    ):
        raise ValueError(
            f"file: the context of {file} has rows of {context.dtype} {tuple(context.shape[1:])},"
            f" expected {known.dtype} {tuple(known.shape[1:])} as the run's"
        )
    for program in programs:
        program.context = context.to(known)


def with_names(found: Imputation, holed: Holed) -> list[dict[str, Any]]:
    """A row for each missing value, by the name of its column; its mean as a cell."""
    table = found.columns()
    names, cells = holed.columns.names or (), cells_of(holed.columns, found.completed())
    means = table.pop("mean").tolist()
    places = list(zip(found.datum.tolist(), found.value.tolist(), strict=True))
    of_codes = (~found.chance.isnan()).tolist()
    told = {"row": table.pop("datum"), "column": [names[value] for _, value in places]}
    table.pop("value")

    told["mean"] = [
        cells[names[value]][datum] if is_code else mean
        for (datum, value), is_code, mean in zip(places, of_codes, means, strict=True)
    ]
    rows = by_row(told | table)
    return [{name: _known(cell) for name, cell in row.items()} for row in rows]


def _known(cell: Any) -> Any:
    return None if isinstance(cell, float) and cell != cell else cell


def completed(found: Imputation, holed: Holed) -> Any:
    """The frame with what most likely stands in its holes."""
    values = found.mean.clone()
    for place, kind in enumerate(holed.columns.kinds or ()):
        here = found.value == place
        if kind != "real":
            values[here] = values[here].round()
    return _filled(found, holed, values)


def with_draws(found: Imputation, holed: Holed) -> Any:
    """The frames with each draw in the holes, one below the other; a first column counts them."""
    import pandas as pd

    frames = []
    for number, values in enumerate(found.draws):
        frame = _filled(found, holed, values)
        name = "draw"
        while name in frame.columns:
            name += "_"
        frame.insert(0, name, number)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _filled(found: Imputation, holed: Holed, values: Tensor) -> Any:
    """The frame with these values `(M,)` in its holes, in the terms of its columns."""
    flat = holed.x.cpu().clone()
    flat[found.datum, found.value] = values.to(flat)
    cells = cells_of(holed.columns, flat)

    frame = holed.frame.copy()
    for place, name in enumerate(holed.columns.names or ()):
        rows = found.datum[found.value == place].tolist()
        if not rows:
            continue
        is_bool = str(frame[name].dropna().infer_objects().dtype).startswith("bool")
        column = frame[name].astype(object)
        for row in rows:
            cell = cells[name][row]
            column.iloc[row] = bool(cell) if is_bool else cell
        frame[name] = column
    return frame
