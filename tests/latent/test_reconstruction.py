"""Reconstructions of guides with means, without, and of several layers."""

from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal

import pyro_vae as pv
from tests.latent.strangers import (
    DOWN,
    STRANGERS,
    UP,
    X,
    categories,
    categories_guide,
    doubled,
    doubled_guide,
    layered,
    layered_guide,
    plated,
    plated_guide,
)
from tests.scenarios import linear_gaussian


def test_the_exact_guide_gives_the_mean_at_the_posterior_mean() -> None:
    model, x = linear_gaussian(num_data=3000)  # more than a block
    found = pv.reconstruct(model, pv.ExactGuide(model), x)
    z = model.posterior(x).mean
    means = model.decode(z)
    assert torch.allclose(found.means, means) and found.at == "mean"
    likelihood = dist.Normal(means, model.log_sigma.exp()).to_event(1)
    assert torch.allclose(found.log_likelihood, likelihood.log_prob(x).detach())
    assert found.summary()["log_likelihood"] == pytest.approx(found.log_likelihood.mean().item())


def test_layers_take_their_means_one_after_the_other() -> None:
    found = pv.reconstruct(layered, layered_guide, X)
    assert torch.allclose(found.latents["middle"][0], X @ DOWN)
    assert torch.allclose(found.latents["top"][0], X @ DOWN @ UP)
    assert torch.allclose(found.means, X @ DOWN @ DOWN.T)


def test_plates_and_constrained_latents() -> None:
    found = pv.reconstruct(plated, plated_guide, X)
    scale = (X[:, 3] + 0.1**2 / 2).exp()  # the mean of a log-normal
    assert torch.allclose(found.means[:, 3], scale)
    assert torch.allclose(found.means[:, :2], X[:, :2])


def test_a_guide_without_means_is_drawn_and_says_so() -> None:
    model = pv.VAE((6,), 2, (8,))
    flow = pv.Amortized(pv.SplineFlow(2), pv.MLP(6, (4,)))
    x = (torch.rand(5, 6) > 0.5).float()
    one, same, other = (pv.reconstruct(model, flow, x, seed=seed) for seed in (0, 0, 1))
    assert one.at == "draw" and "a draw of the guide" in repr(one)
    assert torch.equal(one.means, same.means) and not torch.equal(one.means, other.means)
    mixed = pv.reconstruct(categories, categories_guide, X)
    assert mixed.at == "draw" and set(mixed.latents["kind"][0].tolist()) <= {0, 1, 2}
    assert torch.allclose(mixed.latents["place"][0], X.mean(1))


def test_guides_that_answer_only_for_all_data() -> None:
    model, x = linear_gaussian()
    auto = AutoNormal(model)
    auto(x, torch.arange(len(x)))
    loc = torch.randn(20, 2).double()
    auto.locs.latent.data = loc
    found = pv.reconstruct(model, auto, x)
    assert torch.allclose(found.means, model.decode(loc)) and found.at == "mean"
    table = pv.Local(pv.MeanField(2), 20).double()
    assert pv.reconstruct(model, table, x[3:5], torch.tensor([3, 4])).means.shape == (2, 5)


@pytest.mark.parametrize("name", STRANGERS)
def test_nets_and_noise_are_left_as_they_were(name: str) -> None:
    before = torch.get_rng_state()
    pv.reconstruct(*STRANGERS[name], X)
    assert torch.equal(torch.get_rng_state(), before)


def test_several_observed_sites_are_told() -> None:
    with pytest.raises(ValueError, match="model: got observed sites"):
        pv.reconstruct(doubled, doubled_guide, X)
