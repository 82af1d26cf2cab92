"""Data in the plane: the posterior means, their components, the prior beside them."""

from __future__ import annotations

import pytest
import torch

import pyro_vae as pv
from tests.latent.strangers import (
    UP,
    X,
    categories,
    categories_guide,
    layered,
    layered_guide,
    plated,
    plated_guide,
)
from tests.scenarios import linear_gaussian


def test_two_numbers_are_the_posterior_means() -> None:
    model, x = linear_gaussian(num_data=50)
    found = pv.embed(model, pv.ExactGuide(model), x, labels=torch.arange(50) % 3)
    assert torch.allclose(found.points, model.posterior(x).mean)
    assert torch.equal(found.points, found.means) and found.explained is None
    assert found.labels is not None and "3 classes" in repr(found)

    prior, n = found.prior, len(found.prior)
    assert n == 2000
    assert (prior.mean(0).abs() < 5 / n**0.5).all()
    assert ((prior.T.cov() - torch.eye(2)).abs() < 5 * (2 / n) ** 0.5).all()


def test_more_are_shown_by_their_principal_components() -> None:
    model, x = linear_gaussian(num_data=80, dim=4)
    found = pv.embed(model, pv.ExactGuide(model), x)
    means = model.posterior(x).mean
    assert torch.allclose(found.means, means)

    values, vectors = torch.linalg.eigh(means.T.cov())
    axes = vectors[:, [3, 2]]
    for axis in range(2):
        mine, theirs = found.points[:, axis], (means - means.mean(0)) @ axes[:, axis]
        assert torch.allclose(mine, theirs) or torch.allclose(mine, -theirs)
    assert found.explained == pytest.approx((values.flip(0)[:2] / values.sum()).tolist())
    # the prior goes through the same projection: a rotation of N(0, I) about the data's middle
    expected = -(means.mean(0) @ axes).abs()
    error = (found.prior.mean(0).abs() - expected.abs()).abs()
    assert (error < 5 / 2000**0.5).all() and (found.prior.std(0) - 1).abs().max() < 0.1


def test_one_number_has_a_second_axis_of_zeros() -> None:
    model, x = linear_gaussian(dim=1)
    found = pv.embed(model, pv.ExactGuide(model), x)
    assert torch.allclose(found.points[:, :1], model.posterior(x).mean)
    assert not found.points[:, 1].any() and not found.prior[:, 1].any()


def test_sites_lie_side_by_side_in_the_order_of_the_model() -> None:
    found = pv.embed(layered, layered_guide, X)
    assert found.units == ("top[0]", "top[1]", "middle[0]", "middle[1]", "middle[2]")
    assert torch.allclose(found.means[:, :2], found.means[:, 2:] @ UP)
    found = pv.embed(plated, plated_guide, X, num_prior=333)
    assert found.units == ("scale", "part[0]", "part[1]") and found.prior.shape == (333, 2)
    assert torch.allclose(found.means[:, 1:], X[:, :2])
    found = pv.embed(categories, categories_guide, X)
    assert found.units == ("place",) and found.at == "draw"


@pytest.mark.filterwarnings("error")
def test_means_that_are_all_the_same() -> None:
    model, x = linear_gaussian(dim=3)
    with torch.no_grad():
        model.loading.zero_()
    found = pv.embed(model, pv.ExactGuide(model), x)
    assert found.explained == (0.0, 0.0) and not found.points.any()


def test_labels_come_with_their_names() -> None:
    model, x = linear_gaussian()
    guide, labels = pv.ExactGuide(model), torch.arange(20) % 2
    found = pv.embed(model, guide, x, labels=labels, label_names=["a", "b"])
    assert found.label_names == ("a", "b")
    assert found.to_dataframe()["label"].tolist() == labels.tolist()
    with pytest.raises(ValueError, match="label_names: got 1 names for labels 0 to 1"):
        pv.embed(model, guide, x, labels=labels, label_names=["a"])
