"""One column of a frame: what kind of values it holds, and the values as numbers.

The kind is inferred where nobody says it:

    True and False; 0 and 1               -> binary
    texts; categories of pandas           -> categories:K, numbered in alphabetical, or their, order
    other whole numbers from 0 on         -> counts
    numbers with a point, or below zero   -> real

A column that only looks like data is asked about: one that numbers the rows or names them, dates,
numbers with texts among them, one text alone. `kinds` answers: "real", "binary", "counts",
"categories", "categories:K" (whole numbers stay the codes 0..K-1 then), or "drop".
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from pyro_vae.data.codes import MOST, Array, Levels, as_codes, as_counts, known
from pyro_vae.data.kinds import PLAIN, num_levels
from pyro_vae.data.tables import is_number

ANSWERS = (*PLAIN, "categories", "drop")
FEW = 10  # rows in which anything may look like an index
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?([ T].*)?|\d\d?[/.]\d\d?[/.]\d{2,4}( .*)?")
_UNNAMED = re.compile(r"Unnamed: \d+|\s*")


class Column(NamedTuple):
    """A column as numbers: float64 `(N,)`, NaN where a value is missing."""

    name: str
    values: Array
    kind: str
    levels: Levels = None


def column_of(name: str, series: Any, asked: str | None, source: str) -> Column | None:
    """A column of a frame; None where it is left out.

    Args:
        name: of the column.
        series: of pandas.
        asked: the kind that somebody says it has, or "drop".
        source: what to call the origin in an error.

    Raises:
        ValueError: a column that is asked about, or whose values are not of the kind.
    """
    if asked == "drop":
        return None
    where = f"{source}: the column {name!r}"
    if series.isna().all():
        raise ValueError(f"{where} holds no values, {_answer(name, 'drop')}")

    texts = texts_of(series, where, name)
    if asked is None and _UNNAMED.fullmatch(name):
        _check_index(series, where)
        return None
    if texts is None:
        return _of_numbers(name, *numbers_of(series, where), asked, where)
    if asked in PLAIN:
        raise ValueError(f"{where} holds texts, expected numbers that are {asked}")
    return _of_texts(name, series, texts, asked, where)


def _answer(name: str, kind: str, *others: str) -> str:
    """How to say what a column is."""
    told = "".join(f", or {other!r}" for other in others)
    option = f" (--kinds.{name} {kind})" if name.isidentifier() else ""
    return f"say kinds={{{name!r}: {kind!r}}} to load or as_dataset{option}{told}"


def _check_index(series: Any, where: str) -> None:
    """Raise a ValueError unless the values of a column without a name all differ, as those of the
    index that pandas writes: that is left out.
    """
    if series.dtype.kind == "f" or series.isna().any() or not series.is_unique:
        raise ValueError(f"{where} has no name of its own, expected one, or that it is taken out")


def texts_of(series: Any, where: str, name: str) -> Array | None:
    """The values that are not missing of a column of texts or categories; None of one of
    numbers.
    """
    import pandas as pd

    if isinstance(series.dtype, pd.CategoricalDtype):
        return np.asarray(series.dropna().astype(str), dtype=object)
    if series.dtype.kind in "mM" or isinstance(series.dtype, pd.PeriodDtype):
        raise ValueError(
            f"{where} holds dates or times, expected numbers or texts; make numbers of them (days"
            f" since the first, say), or {_answer(name, 'drop')}"
        )
    if pd.api.types.is_numeric_dtype(series.dtype):
        return None

    found = series.dropna().to_numpy(dtype=object)
    kinds = {type(value) for value in found}
    if kinds == {str}:
        return found
    if all(issubclass(kind, bool | int | float | np.number | np.bool_) for kind in kinds):
        return None
    told = ", ".join(sorted(kind.__name__ for kind in kinds)[:3])
    raise ValueError(
        f"{where} holds values of the types {told}, expected numbers or texts; or"
        f" {_answer(name, 'drop')}"
    )


def numbers_of(series: Any, where: str) -> tuple[Array, bool]:
    """The values as float64, and whether they come as whole numbers."""
    import pandas as pd

    if series.dtype.kind == "c":
        raise ValueError(f"{where} holds complex numbers, expected real ones")
    whole = bool(pd.api.types.is_integer_dtype(series.dtype))
    if series.dtype == object:
        some = series.dropna()
        values = np.full(len(series), np.nan)
        values[series.notna().to_numpy()] = some.to_numpy(dtype="float64")
        return values, all(isinstance(value, int | np.integer) for value in some)
    return series.to_numpy(dtype="float64", na_value=np.nan), whole


def _of_numbers(name: str, values: Array, whole: bool, asked: str | None, where: str) -> Column:
    some = known(values)
    binary = bool(((some == 0) | (some == 1)).all())
    if asked is None:
        if whole and not binary:
            _ask_about_index(name, values, where)
        counts = whole and some.min() >= 0 and some.max() <= MOST
        asked = "binary" if binary else ("counts" if counts else "real")

    if asked == "binary" and not binary:
        raise ValueError(
            f"{where} holds values in [{some.min():g}, {some.max():g}], expected 0 and 1 alone"
        )
    if asked == "counts":
        as_counts(values, where)
    if not asked.startswith("categories"):
        return Column(name, values, asked)

    number = num_levels(asked)
    codes, levels = as_codes({"all": values}, where)
    if number is None:
        return Column(
            name, codes["all"].double().numpy(), f"categories:{len(levels[0] or ())}", levels[0]
        )
    if some.min() < 0 or some.max() >= number:
        raise ValueError(
            f"{where} holds codes in [{some.min():g}, {some.max():g}], expected 0 to {number - 1}"
        )
    return Column(name, values, asked, tuple(map(str, range(number))))


def _ask_about_index(name: str, values: Array, where: str) -> None:
    """Raise a ValueError where whole numbers are 0..N-1 or 1..N, in their order."""
    steps = values - np.arange(len(values))
    if len(values) >= FEW and steps[0] in (0, 1) and (steps == steps[0]).all():
        raise ValueError(
            f"{where} numbers the rows, as an index does: {_answer(name, 'drop', 'real', 'counts')}"
        )


def _of_texts(name: str, series: Any, texts: Array, asked: str | None, where: str) -> Column:
    import pandas as pd

    if isinstance(series.dtype, pd.CategoricalDtype):
        levels = tuple(str(level) for level in series.cat.categories)
        codes = series.cat.codes.to_numpy().astype(np.float64)
        codes[codes < 0] = np.nan
    else:
        if asked is None:
            _ask_about_texts(name, texts, where)
        levels = tuple(map(str, np.unique(texts.astype(str))))
        number_of = {level: float(place) for place, level in enumerate(levels)}
        codes = series.map(number_of).to_numpy(dtype="float64", na_value=np.nan)

    number = num_levels(asked or "")
    if number not in (None, len(levels)):
        raise ValueError(f"{where} holds {len(levels)} levels, expected {number} as {asked!r} says")
    if len(levels) == 1 and number is None:
        raise ValueError(f"{where} holds {levels[0]!r} alone: {_answer(name, 'drop')}")
    return Column(name, codes, f"categories:{len(levels)}", levels)


def _ask_about_texts(name: str, texts: Array, where: str) -> None:
    """Raise a ValueError where texts are dates, numbers with others among them, or names."""
    if all(_DATE.fullmatch(text.strip()) for text in texts):
        raise ValueError(
            f"{where} holds dates ({texts[0]!r}); make numbers of them (days since the first, say),"
            f" or {_answer(name, 'drop')}"
        )

    numbers = [is_number(text) for text in texts]
    if any(numbers) and not all(numbers) and sum(numbers) >= len(texts) / 2:
        other = texts[numbers.index(False)]
        raise ValueError(
            f"{where} holds numbers and {other!r}: leave the cell empty where a value is missing,"
            f" or {_answer(name, 'categories', 'drop')}"
        )

    distinct = len(set(texts))
    if len(texts) >= FEW and distinct > len(texts) / 2:
        raise ValueError(
            f"{where} holds {distinct} different texts in {len(texts)} rows, as names or an index"
            f" do: {_answer(name, 'drop', 'categories')}"
        )
