"""What a user hands to `fit`: every kind of array, held-out rows that keep their numbers, questions
instead of guesses.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas
import pytest
import torch
from torch.utils.data import TensorDataset

from pyro_vae.data import Dataset, as_dataset, load
from pyro_vae.data.binarise import check_rule, default_rule, rule_for

REAL = np.random.RandomState(0).randn(50, 6)
GREY = np.random.RandomState(1).randint(0, 250, (50, 4, 5)).astype(np.uint8)
FRAME = pandas.DataFrame(REAL, columns=list("abcdef"))


@pytest.mark.parametrize(
    "given",
    [
        torch.from_numpy(REAL).float(),
        torch.from_numpy(REAL),
        REAL,
        REAL.astype(np.float32),
        FRAME,
        TensorDataset(torch.from_numpy(REAL).float(), torch.arange(50)),
    ],
    ids=["float32", "float64", "numpy float64", "numpy float32", "frame", "TensorDataset"],
)
def test_real_values_in_any_wrapping_are_the_same_set(given: Any) -> None:
    data = as_dataset(given)
    assert data.valid is not None and (len(data.train), len(data.valid)) == (45, 5)
    assert data.train.pixels.dtype == torch.float32 and data.binarise == "none"
    whole = torch.from_numpy(REAL).float()
    for split in (data.train, data.valid):
        assert torch.equal(split.x, whole[split.numbers()])  # each row knows where it came from
    numbers = torch.cat([data.train.numbers(), data.valid.numbers()])
    assert torch.equal(numbers.sort().values, torch.arange(50))


def test_float64_stays_where_the_model_is_of_it() -> None:
    assert torch.equal(as_dataset(REAL, 0, dtype=torch.float64).train.x, torch.from_numpy(REAL))


def test_pixels_are_known_and_channels_moved() -> None:
    rgb = np.stack([GREY, GREY // 2, GREY // 3], 3)
    data = as_dataset(rgb)
    assert data.shape == (3, 4, 5) and data.binarise == "dequantise"
    assert np.array_equal(data.train.pixels.numpy(), np.moveaxis(rgb, 3, 1)[data.train.numbers()])
    assert as_dataset(torch.from_numpy(GREY)).train.pixels.dtype == torch.uint8


def test_rows_are_held_out_unless_told_not_to() -> None:
    assert as_dataset(REAL, 0).valid is None
    assert len(as_dataset(REAL, 7).valid or ()) == 7
    assert as_dataset(REAL[:9]).valid is None  # too few to spare one
    data = as_dataset(REAL, 7)
    taken = data.train.take(3).to("cpu")
    assert torch.equal(taken.numbers(), data.train.numbers()[:3])


def test_a_set_is_left_as_it_is() -> None:
    data = load("digits")
    assert as_dataset(data) is data
    with pytest.raises(ValueError, match="has its splits already; load it with valid=5"):
        as_dataset(data, 5)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([1.0, 2.0], ValueError, "data: got list, expected a Dataset"),
        (
            np.random.RandomState(0).poisson(3.0, (50, 6)),
            ValueError,
            "pixels, counts, categories or grades",
        ),
        (
            np.random.RandomState(0).poisson(3.0, (50, 6)).astype(float),
            ValueError,
            "pixels, counts",
        ),
        # a table of integers is no image
        (GREY.reshape(50, 20).astype(int), ValueError, "pixels, counts"),
        (GREY // 16, ValueError, "pixels, counts"),  # an image of 16 grades is not one of 256
        (
            np.where(REAL > 2, np.inf, REAL),
            ValueError,
            "holds inf .* or put NaN where a value is missing",
        ),
        (torch.zeros(()), ValueError, r"data: got shape \(\)"),
        (FRAME.assign(town="here"), ValueError, "the column 'town' holds 'here' alone"),
    ],
)
def test_what_cannot_be_a_set_is_refused(given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_dataset(given)


@pytest.mark.parametrize("valid", [-1, 50, 1.5])
def test_bad_numbers_of_held_out_rows(valid: Any) -> None:
    with pytest.raises(ValueError, match="expected 0 <= valid < 50"):
        as_dataset(REAL, valid)


def test_counts_are_fitted_once_the_question_is_answered(tmp_path: Any) -> None:
    counts = np.random.RandomState(0).poisson(3.0, (50, 6))
    np.save(tmp_path / "counts.npy", counts)
    assert load(tmp_path / "counts.npy", values="real").train.pixels.dtype == torch.float32
    assert load(tmp_path / "counts.npy", values="pixels").train.pixels.dtype == torch.uint8
    with pytest.raises(ValueError, match="values='count'"):
        load(tmp_path / "counts.npy", values="count")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="digits is a set of pixels"):
        load("digits", values="real")
    np.save(tmp_path / "real.npy", REAL)
    with pytest.raises(ValueError, match=r"expected pixels, whole numbers in 0\.\.255"):
        load(tmp_path / "real.npy", values="pixels")


def test_the_rule_follows_the_pixels_and_the_likelihood() -> None:
    strokes = torch.where(torch.rand(50, 8, 8) < 0.7, 0, 200).to(torch.uint8)
    photograph, real = torch.from_numpy(GREY), torch.rand(5, 4)
    rules = [default_rule(x) for x in (strokes, photograph, real)]
    assert rules == ["dynamic", "dequantise", "none"]
    assert rule_for(("dequantise", "none"), strokes) == "dequantise"
    assert rule_for(("dynamic", "none"), photograph) == "dynamic"
    assert rule_for((), photograph) == "dequantise" and rule_for(("dynamic",), real) == "none"
    check_rule((), "dynamic", "home-made")
    with pytest.raises(
        ValueError, match="binarise='dynamic' makes no data for a Gaussian likelihood"
    ):
        check_rule(("dequantise", "none"), "dynamic", "Gaussian")


def test_another_rule_has_another_draw() -> None:
    data = as_dataset(GREY)
    binary = data.under("dynamic")
    assert isinstance(binary, Dataset) and binary.is_binary and not data.is_binary
    assert torch.equal(binary.train.numbers(), data.train.numbers())
