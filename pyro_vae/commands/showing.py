"""What commands that show something share: where the picture goes, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from torch import Tensor

from pyro_vae.data import Split
from pyro_vae.data.cells import with_cells
from pyro_vae.data.kinds import Columns
from pyro_vae.files.atomic import check_replaceable
from pyro_vae.files.texts import by_row
from pyro_vae.latent.centres import value_columns
from pyro_vae.programs.evaluation import device_of
from pyro_vae.programs.given import Given
from pyro_vae.report.images import are_images, check_picture, save_figure, save_rows, save_table
from pyro_vae.report.plots import plot
from pyro_vae.results import Result
from pyro_vae.runs.building import Parts
from pyro_vae.runs.usage import OneLineParser

_TABLE = "(these data are no pictures: a table, with a row for each)"


def add_out(parser: OneLineParser, name: str) -> None:
    """The option `out`."""
    told = f"file instead of RUN/{name}.png; a table for data that are no pictures"
    parser.add_argument("--out", type=str | None, default=None, help=told)


def place_of(options: Namespace, name: str) -> Path:
    """Where the picture goes; a ValueError, before the work, where it cannot go there."""
    path = Path(options.out) if options.out else Path(options.run) / f"{name}.png"
    if path.suffix.lower() == ".csv":  # where a table would go
        check_replaceable("out", path)
    else:
        check_picture("out", path)
    return path


def like_of(parts: Parts, named: str | None = None) -> tuple[Tensor, Tensor | None]:
    """Data of the kind that the run's model scores, and their numbers: one of zeros, or where the
    model is given a context the test data, or those of them whose context has this name.

    Raises:
        ValueError: a name of no class of the context.
    """
    if not isinstance(parts.model, Given):
        if named is not None:
            raise ValueError("given: got a name, but the run's model is given no context")
        return torch.zeros(1, *parts.shape, device=device_of(parts.model) or "cpu"), None

    test, names = parts.data.test, parts.data.context_names or ()
    assert test.context is not None
    if named is None:
        return test.x, test.numbers()
    if not names:
        raise ValueError(
            f"given: got {named!r}, but the classes of the run's context have no names"
        )
    if named not in names:
        raise ValueError(f"given: got {named!r}, expected one of {', '.join(names)}")

    code, context = names.index(named), test.context
    here = context == code if context.dim() == 1 else context[:, code] == context.amax(1)
    rows = here.nonzero().flatten()
    if not len(rows):
        raise ValueError(f"given: got {named!r}, a context of no test data")
    return test.x[rows], test.numbers(rows)


def check_two(split: Split) -> None:
    """Raise a ValueError where there is one datum only."""
    if len(split) < 2:
        raise ValueError(f"num_data: got {len(split)}, expected at least 2 data")


def show(
    result: Result,
    x: Tensor,
    path: Path,
    columns: Columns,
    sets: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a result as a picture where its data `x` `(N, *shape)` are pictures, else as a table,
    and print where.

    Args:
        columns: what is known of the columns of data that are a table.
        sets: the data of the table by what they are; the result's own columns unless given.
    """
    if are_images(x) and columns.names is None:
        print(save_figure(plot(result), path))
    elif sets is None:
        print(save_rows(by_row(with_cells(result.columns(), columns)), path), _TABLE)
    elif columns.names is None:
        print(save_table(sets, path), _TABLE)
    else:
        print(save_rows(_cells_in_turns(sets, columns), path), _TABLE)


def _cells_in_turns(sets: Mapping[str, Tensor], columns: Columns) -> list[dict[str, Any]]:
    """A row for each datum of each set, `(N, D)`, the sets in turns."""
    found = []
    for name, values in sets.items():
        told = {"datum": torch.arange(len(values)), "what": [name] * len(values)}
        found.append(by_row(with_cells(told | value_columns(values), columns)))
    return [row for together in zip(*found, strict=True) for row in together]


def rows_of(result: Result) -> list[dict[str, Any]]:
    """The rows of a result's table."""
    return by_row(result.columns())
