"""Kinds of values: what they are said to be, checked, and kept by whatever is made of a set."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyro_vae.data import Dataset, Split, as_dataset, load
from pyro_vae.data.arrays import Values
from tests.data.arrays import GREY, REAL, npy, npz

COUNTS = np.random.RandomState(0).poisson(3.0, (50, 4))
CODES = np.random.RandomState(1).choice([1, 2, 5], (50, 4))
MIXED = torch.tensor([[0.5, 1.0, 7.0, 2.0], [-3.0, 0.0, 0.0, 0.0]])
KINDS = ("real", "binary", "counts", "categories:3")


@pytest.mark.parametrize(
    ("array", "values", "kinds"),
    [
        (REAL, None, ("real",) * 6),
        (COUNTS, "real", ("real",) * 4),
        (COUNTS, "counts", ("counts",) * 4),
        (COUNTS.astype(np.float64), "counts", ("counts",) * 4),
        (CODES, "categories", ("categories:3",) * 4),
        (COUNTS > 3, None, ("binary",) * 4),
        (COUNTS[:, 0], "counts", ("counts",)),
        (CODES[:, 0], "categories", ("categories:3",)),
        (REAL[:, 0], None, None),
        (GREY, None, None),
        (COUNTS, "pixels", None),
        (np.stack([COUNTS] * 3, 1), "counts", None),
    ],
)
def test_each_column_has_a_kind(array: Any, values: Any, kinds: Any, tmp_path: Path) -> None:
    data = load(npy(tmp_path, array), values=values)
    given = as_dataset(array, values=values)
    for found in (data, given):
        assert found.kinds == kinds and all(s.kinds == kinds for s in found.splits.values())
    if values in ("counts", "categories"):
        assert data.train.pixels.dtype == torch.float32 and data.binarise == "none"


def test_counts_stay_what_they_are() -> None:
    data = as_dataset(COUNTS, values="counts", dtype=torch.float64)
    assert torch.equal(data.train.x, torch.from_numpy(COUNTS)[data.train.numbers()].double())


def test_categories_are_numbered_through_all_parts(tmp_path: Path) -> None:
    arrays = {"train": CODES[:30], "test": np.where(CODES[:12] == 5, 9, CODES[:12])}
    data = load(npz(tmp_path, **arrays), values="categories")
    assert data.kinds == ("categories:4",) * 4 and data.levels == (("1", "2", "5", "9"),) * 4
    levels = torch.tensor([1, 2, 5, 9])
    for split, array in ((data.train, arrays["train"]), (data.test, arrays["test"])):
        places = split.numbers() - int(split.numbers().min())
        assert np.array_equal(levels[split.x.long()].numpy(), array[places.numpy()])
    assert "0 categories:4 (1, 2, 5, 9), 1 categories:4" in repr(data)
    assert "own: data of 4 columns (4 categories), binarise 'none'" in repr(data)

    wide = as_dataset(CODES, values="categories", dtype=torch.float64)
    assert wide.train.x.dtype == torch.float64 and wide.train.x.max() == 2
    codes = as_dataset(CODES // 2, values="categories")  # 0, 1, 2 stay as they are
    assert torch.equal(codes.train.x, torch.from_numpy(CODES // 2)[codes.train.numbers()].float())


@pytest.mark.parametrize(
    ("array", "values"), [(COUNTS, "counts"), (CODES // 2, "categories"), (COUNTS > 3, None)]
)
def test_missing_values_are_of_any_kind(array: Any, values: Any) -> None:
    there = np.random.RandomState(2).rand(*array.shape) > 0.2
    data = as_dataset(np.where(there, array.astype(float), np.nan), 0, values=values)
    assert data.kinds == as_dataset(array, 0, values=values).kinds
    assert np.array_equal(data.train.x.isnan().numpy(), ~there)
    assert np.array_equal(data.train.x.numpy()[there], array[there])


@pytest.mark.parametrize(
    ("array", "values", "message"),
    [
        (COUNTS - 1, "counts", r"in \[-1, \d+\], expected counts, whole numbers from 0"),
        (REAL, "counts", "expected counts, whole numbers from 0 to 16,777,216"),
        (COUNTS * 10**8, "counts", "expected counts"),
        (REAL, "categories", "column 0 holds values in .* expected categories"),
        (np.where(COUNTS > 5, np.inf, COUNTS), "counts", "expected counts"),
    ],
)
def test_what_is_not_what_it_is_said_to_be(array: Any, values: Values, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_dataset(array, values=values)


def test_the_question_names_the_answers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'counts' for how many .*, 'categories' for the codes"):
        load(npy(tmp_path, COUNTS))
    with pytest.raises(ValueError, match="None, 'pixels' or 'counts' or 'categories' or 'real'"):
        load(npy(tmp_path, COUNTS), values="count")  # type: ignore[arg-type]


def split(**changes: Any) -> Split:
    return replace(Split("train", MIXED, "none", kinds=KINDS), **changes)


def test_kinds_survive() -> None:
    data = Dataset("own", split(), None, split(), column_names=tuple("abcd"))
    others = data.to("cpu"), data.under("none"), pickle.loads(pickle.dumps(data))
    assert all(other.kinds == KINDS and other.column_names == tuple("abcd") for other in others)
    assert data.train.take(1).kinds == data.train.to("cpu").kinds == KINDS
    assert "1 real, 1 binary, 1 counts, 1 categories" in repr(data.train)
    assert data.summary()["kinds"] == list(KINDS)
    assert "columns  a real, b binary, c counts, d categories:3" in repr(data)


def test_a_rule_that_changes_the_values_leaves_no_kinds() -> None:
    black = Split("train", torch.tensor([[0, 255]], dtype=torch.uint8), "dynamic")
    black = replace(black, kinds=("binary", "binary"))
    assert black.under("threshold").kinds == ("binary", "binary")
    assert black.under("dequantise").kinds is None
    shares = Split("train", torch.rand(3, 2), "none", kinds=("real", "real"))
    assert shares.under("static").kinds is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kinds": KINDS[:3]}, "one for each column"),
        ({"kinds": list(KINDS)}, "a tuple of 'real', 'binary', 'counts' or 'categories:K'"),
        ({"kinds": ("real", "binary", "counts", "ordinal")}, "kinds: got 'ordinal'"),
        ({"kinds": ("real", "binary", "counts", "categories:0")}, "got 'categories:0'"),
        ({"kinds": ("counts", "real", "real", "real")}, "'counts' for column 0, .* \\[-3, 0.5\\]"),
        ({"kinds": ("real", "real", "binary", "real")}, "'binary' for column 2"),
        ({"kinds": ("real", "real", "real", "categories:2")}, "'categories:2' for column 3"),
        ({"pixels": torch.zeros(2, 4, dtype=torch.uint8)}, "None of grey levels, or 'binary'"),
        ({"pixels": torch.zeros(2, 1, 2, 2)}, "one for each column"),
        ({"pixels": torch.zeros(2, 4), "binarise": "static"}, "None, since binarise='static'"),
    ],
)
def test_kinds_that_do_not_fit(changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": split(kinds=None)}, "the columns of test are of the kinds None"),
        ({"column_names": tuple("abc")}, "column_names: got .* expected 4 names that differ"),
        ({"column_names": tuple("abcc")}, "4 names that differ"),
        ({"levels": (None, None, None)}, "levels: got .* expected a tuple of 4"),
    ],
)
def test_what_is_known_of_columns_fits_them(changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dataset(**{"name": "own", "train": split(), "valid": None, "test": split()} | changes)
