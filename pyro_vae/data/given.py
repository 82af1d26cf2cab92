"""From what a user hands to `fit` to a `Dataset`: a tensor, a numpy array, a pandas frame or a
TensorDataset, in memory; and a memory map, any other torch Dataset or a DataLoader as a `Stream`.

A tenth of the rows, by the fixed permutation of `load`, is held out for validation, so that a run
can say what it is worth on data that it has not seen. Each row keeps the number that it has in the
user's array, which programs get as `index`. There are no test rows: the user keeps those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from pyro_vae.arguments import check_dense, check_finite, check_integer, check_rows, is_integer
from pyro_vae.data.arrays import (
    Values,
    as_tensors,
    channels_first,
    check_precision,
    check_values,
    is_binary,
)
from pyro_vae.data.binarise import default_rule
from pyro_vae.data.datasets import Dataset
from pyro_vae.data.order import MIN_ROWS, permutation
from pyro_vae.data.readers import reader_of
from pyro_vae.data.splits import Split
from pyro_vae.data.streaming import is_streamed, rows_of_items, stream_rows

EXPECTED = (
    "a Dataset (pyro_vae.load), a tensor or a numpy array (N, *shape), a pandas frame of"
    " numbers, a torch Dataset or a DataLoader"
)


def as_dataset(
    data: Any,
    valid: int | None = None,
    *,
    values: Values | None = None,
    dtype: torch.dtype = torch.float32,
    shape: Sequence[int] | None = None,
    workers: int = 0,
) -> Dataset:
    """Make a set of what was given; a `Dataset` is returned as it is.

    Args:
        data: see the module's docstring; of a TensorDataset only the first tensor is used, since
            labels are not modelled.
        valid: number of validation rows; None means a tenth, and none where there are fewer than
            ten rows.
        values: what whole numbers are, "pixels" or "real"; None goes by their look
            (`pyro_vae.data.arrays`), and a tensor of floats is real.
        dtype: of real values.
        shape: of a datum as the model has it; images that come in it stay in it, others become
            (C, H, W).
        workers: processes that read a map-style Dataset ahead; 0 for a thread.

    Raises:
        ValueError: another kind of thing, columns that are no numbers, no rows, NaN, whole numbers
            that may be counts, or as many validation rows as there are data.
    """
    check_values(values)
    check_integer("workers", workers, 0)
    if isinstance(data, Dataset):
        if valid is not None:
            raise ValueError(
                f"valid={valid}: {data.name} has its splits already; load it"
                f" with valid={valid} instead"
            )
        return data

    name = type(data).__name__
    given_shape = None if shape is None else tuple(shape)
    if is_streamed(data):
        with torch.random.fork_rng([]):  # items may be drawn
            rows, values = rows_of_items(data, values)
            reader = reader_of(rows, "data", values, dtype=dtype, shape=given_shape)
            return stream_rows(reader, name, valid, workers)

    pixels = rows_of(data, values, dtype, given_shape)
    total = len(pixels)
    number = (total // 10 if total >= MIN_ROWS else 0) if valid is None else valid
    if not is_integer(number) or not 0 <= number < total:
        raise ValueError(f"valid={valid!r}: expected 0 <= valid < {total}, the rows of data")

    rule = default_rule(pixels)
    if number == 0:
        train = Split("train", pixels, rule)
        return Dataset(name, train, None, train)

    order = permutation(total).to(pixels.device)
    kept, held = order[:-number].sort().values, order[-number:].sort().values
    train = Split("train", pixels[kept], rule, origin=kept)
    valid_split = Split("valid", pixels[held], rule, origin=held)
    return Dataset(name, train, valid_split, valid_split)


def rows_of(
    data: Any, values: Values | None, dtype: torch.dtype, shape: tuple[int, ...] | None
) -> Tensor:
    """The rows of what was given, uint8 pixels or real values of the dtype, (N, *shape)."""
    if isinstance(data, TensorDataset):
        data = data.tensors[0]
    # a pandas frame, without asking for pandas
    if hasattr(data, "columns") and hasattr(data, "select_dtypes"):
        data = frame_values(data)
    if isinstance(data, Tensor):
        check_dense("data", data, EXPECTED)

    if isinstance(data, Tensor) and data.is_floating_point() and values is None:
        check_rows("data", data)
        check_finite("data", data)
        if dtype == torch.float32 and data.dtype == torch.float64:
            check_precision(data.detach().cpu().numpy(), "data")
        return data.detach().to(dtype)

    device = data.device if isinstance(data, Tensor) else "cpu"
    array = data.detach().cpu().numpy() if isinstance(data, Tensor) else data
    if not isinstance(array, np.ndarray):
        raise ValueError(f"data: got {type(data).__name__}, expected {EXPECTED}")

    found = as_tensors({"all": array}, "data", values)["all"]
    if dtype == torch.float64:
        if found.dtype == torch.uint8 and default_rule(found) == "dynamic" and is_binary(array):
            found = found / 255  # draws are float32
        if found.is_floating_point():  # at full precision
            wide = np.array(channels_first(array, "data"), dtype=np.float64, order="C")
            found = torch.from_numpy(wide)

    if shape == array.shape[1:] != tuple(found.shape[1:]):
        found = found[:, 0] if array.ndim == 3 else found.movedim(1, 3)
    return found.to(device)


def frame_values(frame: Any) -> Any:
    """The numbers of a pandas frame (N, D); a ValueError where a column holds something else."""
    numbers = frame.select_dtypes(include=["number", "bool"])
    others = [str(name) for name in frame.columns if name not in set(numbers.columns)]
    if others:
        raise ValueError(
            f"data: the columns {', '.join(others[:5])} hold no numbers; drop them, or"
            " make numbers of them first"
        )

    kinds = set(numbers.dtypes)
    # mixed, or pandas' own kinds of numbers
    if len(kinds) > 1 or not isinstance(next(iter(kinds), None), np.dtype):
        return numbers.to_numpy(dtype="float64", na_value=np.nan)
    return numbers.to_numpy()
