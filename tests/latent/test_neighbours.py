"""Nearest training data against brute force."""

from __future__ import annotations

import pytest
import torch

import pyro_vae as pv


@pytest.fixture(params=[3, 2048])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyro_vae.latent.neighbours._ROWS", request.param)


@pytest.mark.usefixtures("_blocks")
def test_binary_data_are_compared_value_by_value() -> None:
    x, train = (torch.rand(2, 50, 1, 3, 4) > 0.5).float()
    found = pv.nearest(x[:11], train)
    differ = (x[:11, None] != train[None]).flatten(2).sum(2)
    assert torch.equal(found.distance, differ.min(1).values.double())
    assert torch.equal(found.index, differ.argmin(1))  # the first of several
    assert torch.equal(found.found, train[found.index]) and found.metric == "values that differ"


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_real_data_are_compared_by_euclid(offset: float) -> None:
    x, train = torch.randn(11, 4) + offset, torch.randn(50, 4) + offset
    found = pv.nearest(x, train)
    distance = (x.double()[:, None] - train.double()[None]).norm(dim=2)
    assert torch.allclose(found.distance, distance.min(1).values) and found.metric[:4] == "Eucl"
    assert torch.equal(found.index, distance.argmin(1)) or offset


def test_a_grey_mean_is_compared_by_euclid_and_a_copy_is_told() -> None:
    train = torch.eye(3)
    found = pv.nearest(torch.tensor([[0.9, 0.1, 0.0], [0.0, 1.0, 0.0]]), train)
    assert found.metric == "Euclidean distance" and found.index.tolist() == [0, 1]
    assert found.distance.tolist() == pytest.approx([0.02**0.5, 0.0])
    assert found.summary()["num_copies"] == 1 and "1 of 2 are copies" in repr(found)


def test_single_values_and_whole_numbers_will_do() -> None:
    found = pv.nearest(torch.tensor([3, 9]), torch.tensor([8, 2, 30]))
    assert found.index.tolist() == [1, 0] and found.distance.tolist() == [1.0, 1.0]


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("binary", [True, False])
def test_what_is_missing_of_the_training_data_counts_by_its_expectation(binary: bool) -> None:
    train, x = torch.randn(9, 4) + 5, torch.randn(6, 4) + 5
    if binary:
        train, x = (train > 5).float(), (x > 5).float()
    train[torch.rand(train.shape) < 0.4] = torch.nan
    train[:2, :] = torch.tensor([[1.0], [0.0]])  # each value is known of some

    square = (x.double()[:, None] - train.double()[None]).square()  # (6, 9, 4)
    square = torch.where(square.isnan(), square.nanmean(1, keepdim=True), square).sum(2)
    found = pv.nearest(x, train)
    least = square.min(1).values
    assert torch.allclose(found.distance, least if binary else least.sqrt())
    assert torch.allclose(square[torch.arange(6), found.index], least)


def test_a_datum_of_which_little_is_known_is_no_copy() -> None:
    nan = torch.nan
    train = torch.tensor([[nan, 1.0], [3.0, 1.1], [9.0, 4.0]])
    found = pv.nearest(torch.tensor([[3.0, 1.0]]), train)
    assert found.index.tolist() == [1] and found.summary()["num_copies"] == 0
    unknown = torch.tensor([[nan, 1.0], [nan, 1.0]])  # its first value could be anything
    assert pv.nearest(torch.ones(1, 2), unknown).distance.isinf().all()
