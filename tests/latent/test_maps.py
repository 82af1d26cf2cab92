"""The manifold of models with two latent numbers."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_vae as pv
from tests.latent.strangers import X, categories, layered
from tests.scenarios import linear_gaussian


def test_each_place_is_the_mean_at_its_quantiles() -> None:
    model, x = linear_gaussian()
    found = pv.manifold(model, x, side=4)
    levels = torch.tensor([1, 3, 5, 7]).double() / 8
    z = torch.distributions.Normal(0.0, 1.0).icdf(levels)
    assert torch.allclose(found.levels, levels) and found.units == ("latent[0]", "latent[1]")
    for i, j in ((0, 0), (0, 3), (3, 0), (3, 3), (1, 2)):
        here = torch.stack([z[i], z[j]])
        assert torch.allclose(found.z[i, j], here)
        assert torch.allclose(found.x[i, j], model.decode(here))


def test_a_prior_that_is_correlated_has_the_quantiles_given_the_first() -> None:
    covariance = torch.tensor([[2.0, 1.2], [1.2, 1.0]]).double()

    def joint(x: Tensor, index: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            prior = dist.MultivariateNormal(torch.tensor([1.0, 2.0]).double(), covariance)
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Normal(z @ z.new_ones(2, 4), 1.0).to_event(1), obs=x)

    def chained(x: Tensor, index: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            a = pyro.sample("a", dist.Normal(x.new_ones(()), 2.0**0.5))
            mean, sd = 2 + 0.6 * (a - 1), (1 - 1.2**2 / 2) ** 0.5
            b = pyro.sample("b", dist.Normal(mean, sd))
            means = torch.stack([a, b], -1) @ x.new_ones(2, 4)
            pyro.sample("x", dist.Normal(means, 1.0).to_event(1), obs=x)

    one, other = (pv.manifold(model, X, side=5) for model in (joint, chained))
    assert torch.allclose(one.z, other.z) and torch.allclose(one.x, other.x)
    assert other.units == ("a", "b")
    assert (one.z[:, 0, 0] == one.z[:, 4, 0]).all() and not torch.allclose(one.z[0], one.z[4])


def test_positive_numbers_have_quantiles_too() -> None:
    def positive(x: Tensor, index: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.LogNormal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ x.new_ones(2, 4), 1.0).to_event(1), obs=x)

    assert (pv.manifold(positive, X, side=3).z > 0).all()


def test_other_numbers_than_two_are_told() -> None:
    with pytest.raises(ValueError, match="manifold: the model has 3 latent numbers, expected 2"):
        pv.manifold(pv.VAE((6,), 3, (4,)), torch.zeros(1, 6))
    with pytest.raises(ValueError, match="the model has 5 latent numbers"):
        pv.manifold(layered, X)
    with pytest.raises(ValueError, match="2 latent numbers, kind discrete"):
        pv.manifold(categories, X)

    def gamma(x: Tensor, index: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Gamma(x.new_ones(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ x.new_ones(2, 4), 1.0).to_event(1), obs=x)

    with pytest.raises(ValueError, match="model: the prior of 'z', a Gamma, does not know its"):
        pv.manifold(gamma, X)
