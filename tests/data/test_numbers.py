"""Each datum has a number in its data set, whatever the splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pyro_vae import load
from pyro_vae.data import Dataset, Split
from tests.programs.covariates import SIZE, data_set


def test_splits_are_numbered_in_turn_without_overlap() -> None:
    data = data_set()
    numbers = [
        split.numbers().tolist()
        for split in (data.train, data.valid, data.test)
        if split is not None
    ]
    assert numbers == [list(range(40)), list(range(40, 48)), list(range(48, 60))]
    assert data.num_rows == 60
    assert data.test.take(3).numbers().tolist() == [48, 49, 50]
    assert data.to("cpu").test.numbers().tolist() == numbers[2]
    none = Dataset("made", data.train, None, Split("test", torch.zeros(2, SIZE), "none"))
    assert none.test.numbers().tolist() == [40, 41]


def test_a_split_in_the_place_of_another_is_the_same_data() -> None:
    train, valid = (Split(name, torch.zeros(5, SIZE), "none") for name in ("train", "valid"))
    data = Dataset("made", train, valid, valid).under("dynamic").to("cpu")
    assert data.test is data.valid
    assert data.valid is not None and data.valid.numbers().tolist() == [5, 6, 7, 8, 9]
    alone = Dataset("made", train, None, train)
    assert alone.test.numbers().tolist() == [0, 1, 2, 3, 4]


def test_numbers_follow_on_the_largest_that_is_taken() -> None:
    origin = torch.tensor([7, 3, 9])
    train = Split("train", torch.zeros(3, SIZE), "none", origin=origin)
    data = Dataset("made", train, None, Split("test", torch.zeros(2, SIZE), "none"))
    assert data.test.numbers().tolist() == [10, 11]


def test_rows_of_a_file_keep_their_place_in_it(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(50, SIZE)).astype(np.float32)
    np.save(tmp_path / "one.npy", x)
    data = load(tmp_path / "one.npy")
    found = []
    for split in (data.train, data.valid, data.test):
        assert split is not None
        assert torch.equal(split.x, torch.from_numpy(x)[split.numbers()])
        found += split.numbers().tolist()
    assert sorted(found) == list(range(50)) and data.num_rows == 50

    np.savez(tmp_path / "parts.npz", train=x[:30], valid=x[30:38], test=x[38:])
    data = load(tmp_path / "parts.npz")
    for split in (data.train, data.valid, data.test):
        assert split is not None
        assert torch.equal(split.x, torch.from_numpy(x)[split.numbers()])


@pytest.mark.parametrize(
    ("origin", "match"),
    [
        (torch.tensor([0.0, 1.0]), "origin: got torch.float32"),
        (
            torch.tensor([0, 1, 2]),
            r"origin: got torch.int64 \(3,\), expected integers of shape \(2,\)",
        ),
        (torch.tensor([0, -1]), "origin: got rows -1 to 0"),
    ],
)
def test_bad_numbers(origin: Tensor, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Split("train", torch.zeros(2, SIZE), "none", origin=origin)
