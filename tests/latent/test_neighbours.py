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


def test_what_is_missing_of_the_training_data_does_not_count() -> None:
    nan = torch.nan
    train = torch.tensor([[0.0, 0.0, 0.0, 0.3], [1.0, nan, nan, 1.2], [nan, nan, nan, nan]])
    found = pv.nearest(torch.tensor([[1.0, 5.0, 5.0, 1.0], [0.0, 0.0, 0.0, 0.0]]), train)
    assert found.index.tolist() == [1, 0]
    # two of four values are there
    assert found.distance.tolist() == pytest.approx([0.2 * 2**0.5, 0.3])
    ones = torch.tensor([[1.0, nan, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    found = pv.nearest(torch.ones(1, 4), ones)
    assert found.metric == "values that differ" and found.distance.tolist() == pytest.approx(
        [4 / 3]
    )
