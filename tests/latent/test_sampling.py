"""Samples against closed forms, at any temperature and of any program."""

from __future__ import annotations

import math

import pytest
import torch

import pyro_vae as pv
from pyro_vae.latent.sampling import Kind
from tests.latent.strangers import (
    DOWN,
    NARROW,
    UP,
    X,
    categories,
    doubled,
    layered,
    meanless,
    plated,
)
from tests.scenarios import linear_gaussian

NUM = 20_000


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 1.7])
@pytest.mark.parametrize("kind", ["mean", "draw"])
def test_a_linear_gaussian_has_its_moments(kind: Kind, temperature: float) -> None:
    model, x = linear_gaussian()
    with torch.no_grad():
        model.mean.copy_(torch.arange(5.0))
    found = pv.sample(model, x[:1], num_samples=NUM, kind=kind, temperature=temperature)
    noise = model.log_sigma.exp() ** 2 if kind == "draw" else 0.0
    with torch.no_grad():
        covariance = temperature**2 * model.loading @ model.loading.T + noise * torch.eye(5)
    assert found.x.shape == (NUM, 5) and found.kind == kind and found.temperature == temperature

    variance = covariance.diagonal()
    error = (found.x.mean(0) - model.mean).abs()
    assert (error <= 5 * (variance / NUM).sqrt() + 1e-9).all(), error
    # of a Gaussian's sample covariance: (c_ii c_jj + c_ij^2) / n
    spread = ((variance[:, None] * variance + covariance**2) / NUM).sqrt()
    off = (found.x.T.cov() - covariance).abs()
    print(f"covariance off by {(off / (spread + 1e-12)).max():.2f} standard errors, n = {NUM}")
    assert (off <= 5 * spread + 1e-9).all()


def test_a_temperature_reaches_each_layer() -> None:
    cold = pv.sample(layered, X, num_samples=50, temperature=0)
    assert torch.allclose(cold.latents["middle"], (UP @ torch.ones(2).double()).expand(50, 3))
    assert torch.allclose(cold.x, (DOWN @ UP @ torch.ones(2).double()).expand(50, 4))

    mild = pv.sample(layered, X, num_samples=NUM, temperature=0.5)
    top, middle = mild.latents["top"], mild.latents["middle"]
    for values, sd in ((top, 1.0), (middle - top @ UP.T, NARROW / 2)):
        error = (values.std(0) / sd - 1).abs()
        assert (error < 5 / math.sqrt(2 * NUM)).all(), error
    assert torch.allclose(mild.x, middle @ DOWN.T)  # the means at these latents


def test_draws_are_draws_and_means_are_means() -> None:
    model = pv.VAE((1, 4, 4), 2, (8,))
    means, draws = (pv.sample(model, torch.zeros(1, 1, 4, 4), kind=k).x for k in ("mean", "draw"))
    assert means.shape == draws.shape == (64, 1, 4, 4)
    assert set(draws.unique().tolist()) == {0.0, 1.0} and ((means > 0) & (means < 1)).all()


def test_samples_hang_on_the_seed_alone() -> None:
    model, x = linear_gaussian()
    before = torch.get_rng_state()
    one, same, other = (pv.sample(model, x, num_samples=3, seed=s).x for s in (4, 4, 5))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.allclose(pv.sample(model, x, num_samples=3, seed=4, temperature=0).x, model.mean)


def test_samples_take_turns_with_the_numbers_of_the_data() -> None:
    import pyro
    import pyro.distributions as dist

    def numbered(x: torch.Tensor, index: torch.Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(10.0 * index, 0.01))
            pyro.sample("x", dist.Normal(z[..., None], 1.0).to_event(1), obs=x)

    found = pv.sample(numbered, torch.zeros(2, 1), torch.tensor([3, 5]), num_samples=5)
    assert found.x[:, 0].round().tolist() == [30, 50, 30, 50, 30]


def test_programs_of_any_kind_are_sampled() -> None:
    assert pv.sample(plated, X, num_samples=7).latents["part"].shape == (2, 7)
    assert pv.sample(categories, X, num_samples=7).latents["kind"].dtype == torch.int64
    mixture = pv.sample(pv.GaussianMixture(2, 3), torch.zeros(1, 2), num_samples=30)
    assert mixture.latents["centres"].shape == (3, 2)
    centres = mixture.latents["centres"][mixture.latents["assignment"]]
    assert torch.equal(mixture.x, centres)
    hierarchical = pv.HierarchicalVAE((6,), 2, 3, (4,), (4,))
    assert pv.sample(hierarchical, torch.zeros(1, 6), temperature=0.3).x.shape == (64, 6)


def test_what_cannot_be_sampled_is_told() -> None:
    with pytest.raises(ValueError, match=r"temperature: got one other than 1 for .*'scale'"):
        pv.sample(plated, X, temperature=0.5)
    with pytest.raises(ValueError, match=r"temperature: got .*'kind' \(IntegerInterval"):
        pv.sample(categories, X, temperature=0.5)
    with pytest.raises(ValueError, match=r"model: got observed sites \{'one'"):
        pv.sample(doubled, X)
    with pytest.raises(ValueError, match=r"model: its observations 'seen' have no mean"):
        pv.sample(meanless, X)
    assert pv.sample(meanless, X, kind="draw").x.shape == (64, 4)
