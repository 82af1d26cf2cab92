"""From what a user hands to `fit` to a `Dataset`: a tensor, a numpy array, a pandas frame or a
TensorDataset, in memory; and a memory map, any other torch Dataset or a DataLoader as a `Stream`.

A tenth of the rows, by the fixed permutation of `load`, is held out for validation, so that a run
can say what it is worth on data that it has not seen. Each row keeps the number that it has in the
user's array, which programs get as `index`. There are no test rows: the user keeps those.
NaN is a missing value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from pyro_vae.arguments import (
    check_dense,
    check_integer,
    check_no_infinity,
    check_rows,
    is_integer,
    refuse,
)
from pyro_vae.data.arrays import (
    Judged,
    Values,
    channels_first,
    check_precision,
    check_values,
    is_binary,
    judged,
)
from pyro_vae.data.binarise import default_rule
from pyro_vae.data.context import as_context
from pyro_vae.data.datasets import Dataset, known_columns
from pyro_vae.data.frames import (
    ColumnKinds,
    check_column_kinds,
    column_names,
    from_frame,
    is_frame,
)
from pyro_vae.data.kinds import Columns, kept_under
from pyro_vae.data.labels import Names
from pyro_vae.data.order import MIN_ROWS, permutation
from pyro_vae.data.readers import reader_of
from pyro_vae.data.splits import Split
from pyro_vae.data.streaming import is_streamed, rows_of_items, stream_rows

EXPECTED = (
    "a Dataset (pyro_vae.load), a tensor or a numpy array (N, *shape), a pandas frame,"
    " a torch Dataset or a DataLoader"
)


# what a set has already, by the argument that would give it
WORDS = {"valid": "splits", "kinds": "kinds", "context": "context"}


def as_dataset(
    data: Any,
    valid: int | None = None,
    *,
    values: Values | None = None,
    dtype: torch.dtype = torch.float32,
    shape: Sequence[int] | None = None,
    kinds: ColumnKinds = None,
    context: Any = None,
    workers: int = 0,
) -> Dataset:
    """Make a set of what was given; a `Dataset` is returned as it is.

    Args:
        data: see the module's docstring; of a TensorDataset only the first tensor is used, since
            labels are not modelled.
        valid: number of validation rows; None means a tenth, and none where there are fewer than
            ten rows.
        values: what whole numbers are, "pixels", "counts", "categories" or "real"; None goes by
            their look (`pyro_vae.data.arrays`), and a tensor of floats is real.
        dtype: of real values.
        shape: of a datum as the model has it; images that come in it stay in it, others become
            (C, H, W).
        kinds: what columns of a frame hold, by their names, where it is not to be inferred: "real",
            "binary", "counts", "categories" or "drop" (`pyro_vae.data.columns`).
        context: what programs are given of each datum besides: floats `(N, C)` or integers `(N,)`;
            of a frame the names of columns, which are no data then (`pyro_vae.data.context`).
        workers: processes that read a map-style Dataset ahead; 0 for a thread.

    Raises:
        ValueError: another kind of thing, columns that are no numbers, no rows, infinite values,
            whole numbers that may be counts, or as many validation rows as there are data.
    """
    check_values(values)
    check_column_kinds(kinds)
    check_integer("workers", workers, 0)
    if isinstance(data, Dataset):
        for argument, value in (("valid", valid), ("kinds", kinds), ("context", context)):
            if value is not None:
                raise ValueError(
                    f"{argument}={value!r}: {data.name} has its {WORDS[argument]} already; load it"
                    f" with {argument}={value!r} instead"
                )
        return data

    if is_streamed(data):
        for argument, value in (("kinds", kinds), ("context", context)):
            if value is not None:
                refuse(argument, value, "None, where rows stay where they are")
        return _streamed(data, values, dtype, shape, valid, workers)

    if is_frame(data):
        columns = () if context is None else column_names("context", context)
        framed = from_frame(data, "data", values, kinds, columns, dtype)
        made, given, names = framed
    else:
        if kinds is not None:
            refuse("kinds", kinds, f"None, since {type(data).__name__} has no columns with names")
        made = rows_of(data, values, dtype, None if shape is None else tuple(shape))
        given, names = None, None
        if context is not None:
            given = as_context(context, len(made.parts["all"]), "context")
    return _held_out(type(data).__name__, made, given, names, valid)


def _streamed(
    data: Any,
    values: Values | None,
    dtype: torch.dtype,
    shape: Sequence[int] | None,
    valid: int | None,
    workers: int,
) -> Dataset:
    """A set whose rows stay where they are."""
    with torch.random.fork_rng([]):  # items may be drawn
        rows, values = rows_of_items(data, values)
        given_shape = None if shape is None else tuple(shape)
        reader = reader_of(rows, "data", values, dtype=dtype, shape=given_shape)
        return stream_rows(reader, type(data).__name__, valid, workers)


def _held_out(
    name: str, made: Judged, context: Tensor | None, names: Names, valid: int | None
) -> Dataset:
    """A set of what was given, some of its rows held out."""
    rows, columns = made.parts["all"], made.columns
    total = len(rows)
    number = (total // 10 if total >= MIN_ROWS else 0) if valid is None else valid
    if not is_integer(number) or not 0 <= number < total:
        raise ValueError(f"valid={valid!r}: expected 0 <= valid < {total}, the rows of data")

    rule = default_rule(rows)
    kinds = kept_under(columns.kinds, rows, rule)
    given = None if context is None else context.to(rows.device)
    known = known_columns(columns) | {"context_names": names}
    if number == 0:
        train = Split("train", rows, rule, kinds=kinds, context=given)
        return Dataset(name, train, None, train, **known)

    order = permutation(total).to(rows.device)
    splits = {}
    for part, place in (("train", order[:-number]), ("valid", order[-number:])):
        taken = place.sort().values
        some = None if given is None else given[taken]
        splits[part] = Split(part, rows[taken], rule, origin=taken, kinds=kinds, context=some)
    return Dataset(name, splits["train"], splits["valid"], splits["valid"], **known)


def rows_of(
    data: Any, values: Values | None, dtype: torch.dtype, shape: tuple[int, ...] | None
) -> Judged:
    """The rows of what was given, as the part "all": uint8 pixels or real values of the dtype,
    (N, *shape); and what is known of its columns.
    """
    if isinstance(data, TensorDataset):
        data = data.tensors[0]
    if isinstance(data, Tensor):
        check_dense("data", data, EXPECTED)

    if isinstance(data, Tensor) and data.is_floating_point() and values is None:
        check_rows("data", data)
        check_no_infinity("data", data)
        if dtype == torch.float32 and data.dtype == torch.float64:
            check_precision(data.detach().cpu().numpy(), "data")
        binary = bool(((data == 0) | (data == 1) | data.isnan()).all())
        kind = "binary" if binary else "real"
        kinds = (kind,) * data.shape[1] if data.ndim == 2 else None
        return Judged({"all": data.detach().to(dtype)}, Columns(kinds))

    device = data.device if isinstance(data, Tensor) else "cpu"
    array = data.detach().cpu().numpy() if isinstance(data, Tensor) else data
    if not isinstance(array, np.ndarray):
        raise ValueError(f"data: got {type(data).__name__}, expected {EXPECTED}")

    parts, columns = judged({"all": array}, "data", values)
    found = parts["all"]
    if dtype == torch.float64:
        if found.dtype == torch.uint8 and default_rule(found) == "dynamic" and is_binary(array):
            found = found / 255  # draws are float32
        if values in ("counts", "categories"):
            found = found.double()
        elif found.is_floating_point():  # at full precision
            wide = np.array(channels_first(array, "data"), dtype=np.float64, order="C")
            found = torch.from_numpy(wide)

    if shape == array.shape[1:] != tuple(found.shape[1:]):
        found = found[:, 0] if array.ndim == 3 else found.movedim(1, 3)
    return Judged({"all": found.to(device)}, columns)
