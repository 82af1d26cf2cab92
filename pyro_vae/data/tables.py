"""From a table in a file to a frame of pandas: .csv with commas, .tsv with tabs, .parquet.

The first line of a text holds the names of the columns. What a reader of tables would mend by a
guess is an error here: lines of different lengths, names that are missing or come twice, another
separator, a first line of numbers. Empty cells, NA, NaN, null and None are missing values.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

SEPARATORS = {".csv": ",", ".tsv": "\t"}
TABLES = (*SEPARATORS, ".parquet")
OTHERS = {";": "semicolons", "\t": "tabs", ",": "commas", "|": "bars"}


def is_table(path: Path) -> bool:
    """Whether a path is that of a table, by its name."""
    return path.suffix.lower() in TABLES


def read_frame(path: Path) -> Any:
    """Read a table, with the names of its columns as texts.

    Raises:
        ValueError: an empty or torn file, or what the module's docstring says is an error.
    """
    suffix = path.suffix.lower()
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes), expected a table with a line of names")
    if suffix == ".parquet":
        return _read_parquet(path)

    separator = SEPARATORS[suffix]
    check_lines(path, separator)
    import pandas as pd

    with torn_is_told(path):
        return pd.read_csv(
            path,
            sep=separator,
            encoding="utf-8-sig",
            index_col=False,
            skipinitialspace=True,
            low_memory=False,
            dtype_backend="numpy_nullable",  # whole numbers stay whole beside missing ones
        )


def _read_parquet(path: Path) -> Any:
    import pandas as pd

    try:
        with torn_is_told(path):
            return pd.read_parquet(path)
    except ImportError as error:
        raise ValueError(
            f"{path}: a .parquet is read by pyarrow, which is not installed: pip install pyarrow,"
            " or save the table as .csv"
        ) from error


@contextmanager
def torn_is_told(path: Path) -> Iterator[None]:
    """Turn what csv and pandas raise on a bad file into a ValueError of one line."""
    try:
        yield
    except ImportError:
        raise
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not text in UTF-8 (byte {error.object[error.start]:#04x}), expected a table"
            " saved in UTF-8"
        ) from error
    except Exception as error:  # each reader raises errors of its own
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path} cannot be read as a table ({told})") from error


def check_lines(path: Path, separator: str) -> None:
    """Raise a ValueError where the lines of a text are no table: see the module's docstring."""
    with torn_is_told(path), path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, delimiter=separator, skipinitialspace=True, strict=True)
        header = next(filter(None, lines), None)
        problem = _problem_of_header(header, separator) or _problem_of_lines(
            lines, len(header or ())
        )
    if problem:
        raise ValueError(f"{path}: {problem}")


def _problem_of_header(header: Sequence[str] | None, separator: str) -> str:
    """What is wrong with the names of the columns; "" where nothing is."""
    if header is None:
        return "holds nothing but empty lines, expected a line of names and then the data"

    for other, word in OTHERS.items():
        if len(header) == 1 and other != separator and other in header[0]:
            return (
                f"its values are separated by {word}, expected {OTHERS[separator]} in this kind of"
                " file; save it so (.csv has commas, .tsv has tabs)"
            )

    for place, name in enumerate(header):
        if not name.strip() and place > 0:
            return f"column {place + 1} of {len(header)} has no name, expected one for each"
    if _are_numbers(header):
        return (
            f"the first line holds numbers ({', '.join(header[:3])}, ...), expected the names of"
            " the columns; add a line of names"
        )
    return twice(header)


def _are_numbers(header: Sequence[str]) -> bool:
    """Whether a line holds data, and no names; 0, 1, 2, ... are the names that pandas gives."""
    names = [name.strip() for name in header if name.strip()]
    if names == [str(place) for place in range(len(names))]:
        return False
    return all(is_number(name) for name in names)


def is_number(text: str) -> bool:
    """Whether a text reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def twice(names: Sequence[str]) -> str:
    """What is wrong with names that come twice; "" where they all differ."""
    name, number = Counter(names).most_common(1)[0]
    return f"{number} columns are called {name!r}, expected names that differ" if number > 1 else ""


def _problem_of_lines(lines: Any, width: int) -> str:
    """What is wrong with the lines after the first; "" where nothing is."""
    first = next(filter(None, lines), None)
    if first is None:
        return "holds names of columns and no data, expected at least one row"

    for fields in chain([first], filter(None, lines)):
        if len(fields) != width:
            return (
                f"line {lines.line_num} has {len(fields)} values, the first line {width} names,"
                " expected as many in each"
            )
    return ""
