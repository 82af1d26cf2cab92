"""Kinds of values, one text for each column of a table, so that each can have its likelihood:

    real            any number
    binary          0 or 1
    counts          whole numbers from 0 on
    categories:K    codes 0..K-1 of K classes

Images have no kinds, and neither has what is unknown.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_vae.arguments import refuse
from pyro_vae.data.codes import Levels

Kinds = tuple[str, ...] | None
PLAIN = ("real", "binary", "counts")
EXPECTED = "'real', 'binary', 'counts' or 'categories:K'"
_CODES = re.compile(r"categories:([1-9]\d{0,6})")


class Columns(NamedTuple):
    """What is known of the columns of a table, in their order.

    Attributes:
        kinds: of their values.
        levels: what the codes 0, 1, ... of those that hold categories stand for.
        names: what they are called.
        left_out: the names of those that were left out of the data.
    """

    kinds: Kinds = None
    levels: tuple[Levels, ...] | None = None
    names: tuple[str, ...] | None = None
    left_out: tuple[str, ...] = ()


def num_levels(kind: str) -> int | None:
    """K of "categories:K"; None of any other kind.

    Example:
        >>> num_levels("categories:5"), num_levels("counts")
        (5, None)
    """
    found = _CODES.fullmatch(kind)
    return int(found[1]) if found else None


def check_kinds(kinds: object, pixels: Tensor, binarise: str) -> None:
    """Raise a ValueError unless kinds are None, or one for each column, which its values fit.

    Args:
        kinds: what was given.
        pixels: `(N, D)` or, with one kind, `(N,)`.
        binarise: the rule that makes data of them; one that changes the values leaves no kinds.
    """
    if kinds is None:
        return
    if not isinstance(kinds, tuple) or not all(isinstance(kind, str) for kind in kinds):
        refuse("kinds", kinds, f"a tuple of {EXPECTED}, one for each column, or None")

    for kind in kinds:
        if kind not in PLAIN and num_levels(kind) is None:
            refuse("kinds", kind, EXPECTED)
    if pixels.ndim > 2 or len(kinds) != pixels[0].numel():
        refuse("kinds", kinds, f"one for each column of data {tuple(pixels.shape)}, or None")
    if kept_under(kinds, pixels, binarise) is None:
        refuse("kinds", kinds, f"None, since binarise={binarise!r} changes the values")
    _check_values(kinds, pixels.reshape(len(pixels), -1))


def _check_values(kinds: Sequence[str], values: Tensor) -> None:
    """Raise a ValueError where the values `(N, D)` of a column are not of its kind."""
    if values.dtype == torch.uint8:
        if set(kinds) != {"binary"} or not bool(((values == 0) | (values == 255)).all()):
            refuse("kinds", tuple(kinds), "None of grey levels, or 'binary' of black and white")
        return

    whole = [place for place, kind in enumerate(kinds) if kind != "real"]
    if not whole:
        return

    some = values[:, whole]
    limits = torch.tensor([_largest(kinds[place]) for place in whole])
    # comparisons with NaN are false: a missing value is of any kind
    wrong = (some < 0) | (some > limits.to(some)) | ((some - some.round()).abs() > 0)
    columns = wrong.any(0).nonzero().flatten().tolist()
    if columns:
        place = whole[columns[0]]
        low, high = some[:, columns[0]].nan_to_num().aminmax()
        raise ValueError(
            f"kinds: got {kinds[place]!r} for column {place}, whose values lie in"
            f" [{low:g}, {high:g}], expected values of that kind"
        )


def _largest(kind: str) -> float:
    return {"binary": 1.0, "counts": math.inf}.get(kind) or (num_levels(kind) or 0) - 1.0


def kept_under(kinds: Kinds, pixels: Tensor, binarise: str) -> Kinds:
    """The kinds of the data that a rule makes of pixels; None where it makes other values."""
    keeps = binarise == "none" if pixels.is_floating_point() else binarise != "dequantise"
    return kinds if keeps else None


def told_kinds(kinds: Sequence[str]) -> str:
    """How many columns are of which kind.

    Example:
        >>> told_kinds(("real", "counts", "categories:3", "real", "categories:7"))
        '2 real, 1 counts, 2 categories'
    """
    numbers = Counter(kind.partition(":")[0] for kind in kinds)
    order = [kind for kind in (*PLAIN, "categories") if kind in numbers]
    return ", ".join(f"{numbers[kind]} {kind}" for kind in order)


def check_columns(columns: Columns, size: int) -> None:
    """Raise a ValueError unless names and levels are None, or one for each of `size` columns."""
    names, levels = columns.names, columns.levels
    if not _are_texts(columns.left_out):
        refuse("left_out", columns.left_out, "a tuple of texts")
    if names is not None and not _are_texts(names):
        refuse("column_names", names, "a tuple of texts, or None")
    if names is not None and (len(names) != size or len(set(names)) != size):
        refuse("column_names", names, f"{size} names that differ, one for each column, or None")
    if levels is not None:
        fits = isinstance(levels, tuple) and len(levels) == size
        if not fits or not all(each is None or _are_texts(each) for each in levels):
            refuse("levels", levels, f"a tuple of {size}, texts or None for each column, or None")


def _are_texts(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(text, str) for text in value)


MOST_TOLD = 12  # columns, and levels of one


def told_columns(columns: Columns) -> str:
    """Each column with its name, its kind and its levels.

    Example:
        >>> levels = None, ("Bern", "Rome")
        >>> told_columns(Columns(("real", "categories:2"), levels, ("age", "city")))
        'age real, city categories:2 (Bern, Rome)'
    """
    kinds = columns.kinds or ()
    names = columns.names or tuple(map(str, range(len(kinds))))
    levels = columns.levels or (None,) * len(kinds)

    told = []
    for name, kind, some in zip(names, kinds, levels, strict=True):
        told.append(f"{name} {kind}" + (f" ({listed(some)})" if some else ""))
    return listed(told)


def listed(texts: Sequence[str]) -> str:
    """The first dozen of some texts, and how many more there are."""
    more = len(texts) - MOST_TOLD
    return ", ".join(texts[:MOST_TOLD]) + (f" and {more} more" if more > 0 else "")
