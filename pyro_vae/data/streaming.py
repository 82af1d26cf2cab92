"""From rows that stay where they are to a `Dataset`, cut as the same rows in memory are.

The rows that are held out are read into memory, and so there are at most as many of them as
`affordable` says, up to 10,000: on sets of up to 100,000 small rows the splits are those of the set
in memory. More validation rows, where they are asked for, are a `Stream` too.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from pyro_vae.arguments import is_integer
from pyro_vae.data.arrays import Values
from pyro_vae.data.binarise import Binarise, default_rule
from pyro_vae.data.datasets import Dataset
from pyro_vae.data.files import is_there
from pyro_vae.data.items import Items, Passes, is_iterable
from pyro_vae.data.mapped import Mapped, map_file
from pyro_vae.data.order import MIN_ROWS, permutation
from pyro_vae.data.pictures import Pictures
from pyro_vae.data.readers import Reader, Rows, affordable, reader_of, some_of
from pyro_vae.data.splits import Split
from pyro_vae.data.streams import Stream


def stream_path(
    path: Path, binarise: Binarise | None, values: Values | None, valid: int | None, seed: int
) -> Dataset:
    """A .npy file or a folder of images as a set whose training rows stay there, cut into train,
    valid and test as `load` cuts it.
    """
    if not is_there(path):
        raise FileNotFoundError(
            f"source: there is no file or folder {path}, looked for from {Path.cwd()}"
        )
    rows: Rows = Pictures(path) if path.is_dir() else map_file(path)
    if len(rows) < MIN_ROWS:
        raise ValueError(
            f"{path}: {len(rows)} rows, expected at least {MIN_ROWS} to cut train, valid and test"
            " from"
        )

    reader = reader_of(rows, str(path), values)
    name = path.resolve().name if path.is_dir() else path.stem
    total, most = len(rows), affordable(math.prod(reader.shape))
    held = min(max(1, total // 10), most)
    number = held if valid is None else valid
    if not 0 <= number < total - held:
        raise ValueError(
            f"valid={number}: expected 0 <= valid < {total - held}, the rows of {name} that are not"
            " test rows"
        )

    order = permutation(total)
    places = {"train": order[: total - held - number], "test": order[total - held :]}
    rule = binarise or rule_of(reader)
    train = Stream("train", reader, places["train"], rule, seed)
    held_out = order[total - held - number : total - held]
    valid_split = part_of("valid", train, held_out) if number else None
    test = Stream("test", reader, places["test"], rule, seed).take(held)
    return Dataset(name, train, valid_split, test)


def stream_rows(reader: Reader, name: str, valid: int | None, workers: int = 0) -> Dataset:
    """What a user hands to `fit`, as a set whose training rows stay where they are: a tenth is held
    out, and there are no test rows.
    """
    total, most = len(reader), affordable(math.prod(reader.shape))
    usual = min(total // 10, most) if total >= MIN_ROWS else 0
    number = usual if valid is None else valid
    if not is_integer(number) or not 0 <= number < total:
        raise ValueError(f"valid={valid!r}: expected 0 <= valid < {total}, the rows of data")

    rule = rule_of(reader)
    if number == 0:
        train = Stream("train", reader, torch.arange(total), rule, workers=workers)
        return Dataset(name, train, None, train.sample)

    if isinstance(reader.rows, Passes) and not reader.rows.is_repeatable():
        raise ValueError(
            f"valid={number}: the rows come in another order at each pass, so that none can be held"
            " out: say valid=0, or hand them over as a Dataset of your own"
        )
    order = permutation(total)
    kept, held = order[:-number].sort().values, order[-number:].sort().values
    train = Stream("train", reader, kept, rule, workers=workers)
    valid_split = part_of("valid", train, held)
    test = valid_split if isinstance(valid_split, Split) else valid_split.sample
    return Dataset(name, train, valid_split, test)


def is_streamed(data: Any) -> bool:
    """Whether data are left where they are: a memory map, any torch Dataset but one of tensors, and
    a loader.
    """
    if isinstance(data, np.memmap) or is_iterable(data):
        return True
    return isinstance(data, torch.utils.data.Dataset) and not isinstance(data, TensorDataset)


def rows_of_items(data: Any, values: Values | None) -> tuple[Rows, Values | None]:
    """The rows of what `is_streamed`, and what their numbers are, where that is told by their
    dtype: a tensor of floats is real.
    """
    if isinstance(data, np.memmap):
        return Mapped(data, "data"), values
    if not is_iterable(data) and not hasattr(data, "__len__"):
        raise ValueError(
            f"data: {type(data).__name__} has no __len__, expected the number of its items; or make"
            " it an IterableDataset"
        )
    rows = Passes(data) if is_iterable(data) else Items(data)
    if len(rows) == 0:
        raise ValueError(f"data: {type(data).__name__} has no items, expected at least one")
    rows.read(np.zeros(1, np.int64))
    return rows, "real" if values is None and rows.is_real else values


def rule_of(reader: Reader) -> Binarise:
    """The rule that the rows ask for, by some of them."""
    few = affordable(math.prod(reader.shape))
    return default_rule(reader.tensor(some_of(reader.rows, len(reader), few)))


def part_of(name: str, train: Stream, places: Tensor) -> Split | Stream:
    """Other rows of the source of a stream: in memory where they are few."""
    part = Stream(name, train.reader, places, train.binarise, train.seed)
    few = len(part) <= affordable(math.prod(part.shape))
    return part.take(len(part)) if few else part
