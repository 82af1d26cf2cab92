"""NUTS against the exact posterior of the linear-Gaussian model, and guides against NUTS."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae import LinearGaussian, Local, MeanField, Reference, agreement, reference_posterior


@pytest.fixture(scope="module")
def made() -> tuple[LinearGaussian, torch.Tensor, Reference]:
    torch.manual_seed(0)
    model = LinearGaussian(5, 2, sigma=0.7).double()
    with torch.no_grad():  # units that hang together in the posterior
        model.loading[:, 1] = 0.4 * model.loading[:, 0] + 0.6 * model.loading[:, 1]
    x = model.sample(2) + 0.7 * torch.randn(2, 5).double()
    state = torch.get_rng_state()
    found = reference_posterior(
        model, x, num_chains=2, num_samples=150, num_warmup=100, engine="pyro"
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert model.loading.requires_grad and model.loading.grad is None
    return model, x, found


def test_the_chains_find_the_posterior(
    made: tuple[LinearGaussian, torch.Tensor, Reference],
) -> None:
    model, x, found = made
    assert found.draws["latent"].shape == (2, 150, 2, 2) and found.num_chains == 2
    assert found.r_hat["latent"].shape == found.ess["latent"].shape == (2, 2)
    assert (
        found.r_hat["latent"].max() < 1.05
        and found.ess["latent"].min() > 60
        and not found.num_divergent
    )
    exact = model.posterior(x)
    mean, std = found.moments("latent")
    error = exact.stddev / found.ess["latent"].sqrt()
    assert ((mean - exact.mean).abs() < 5 * error).all(), (mean, exact.mean, error)
    assert ((std / exact.stddev - 1).abs() < 5 / (2 * found.ess["latent"]).sqrt()).all()


def test_a_guide_is_held_against_it(made: tuple[LinearGaussian, torch.Tensor, Reference]) -> None:
    model, x, found = made
    q, truth = model.optimal_mean_field(x), model.posterior(x).stddev
    guide = Local(MeanField(2), 2).double()
    with torch.no_grad():
        guide.table.copy_(torch.cat([q.mean, q.variance.log() / 2], -1))
    right = agreement(guide, found, x)
    assert (right.shift["latent"].abs() < 5 * right.shift_error["latent"]).all()
    expected = q.stddev / truth
    spread = 5 / (2 * found.ess["latent"]).sqrt()  # of a standard deviation by so many draws
    assert ((right.ratio["latent"] / expected - 1).abs() < spread).all() and (expected < 0.9).any()
    with torch.no_grad():
        guide.table[0, 0] += 1.0
    wrong = agreement(guide, found, x)
    assert wrong.shift["latent"][0, 0] - right.shift["latent"][0, 0] == pytest.approx(
        1 / found.moments("latent")[1][0, 0]
    )


def test_chains_that_disagree_are_not_believed(
    made: tuple[LinearGaussian, torch.Tensor, Reference],
) -> None:
    def split(x: torch.Tensor, index: object = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Normal(torch.zeros(1), 3.0).to_event(1))
            pyro.sample("obs", dist.Normal(z.abs(), 0.1).to_event(1), obs=x)

    found = reference_posterior(
        split, torch.full((1, 1), 3.0), num_chains=4, num_samples=20, num_warmup=30
    )
    assert found.r_hat["latent"].max() > 1.5 and not found.converged


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x, r: reference_posterior(m, x, num_chains=1), "num_chains: got 1"),
        (lambda m, x, r: reference_posterior(m, x[:, :4]), r"x: got shape \(2, 4\)"),
        (lambda m, x, r: agreement(Local(MeanField(2), 1).double(), r, x[:1]), "x: got 1 data"),
        (lambda m, x, r: agreement(pair, r, x), r"guide: got sites \['a', 'b'\]"),
    ],
)
def test_bad_input(
    call: Callable[..., object], message: str, made: tuple[LinearGaussian, torch.Tensor, Reference]
) -> None:
    with pytest.raises(ValueError, match=message):
        call(*made)


def pair(x: torch.Tensor, index: object = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        for name in "ab":
            pyro.sample(name, dist.Normal(torch.zeros(2), 1.0).to_event(1))


def test_scales_are_no_part_of_the_posterior() -> None:
    """z ~ N(0, 1), x ~ N(z, 1): z | x ~ N(x / 2, 1 / 2), whatever a minibatch counts."""

    def model(x: torch.Tensor, index: torch.Tensor) -> None:
        with pyro.plate("data", 50, subsample=index), pyro.poutine.scale(scale=0.5):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("obs", dist.Normal(z, 1.0), obs=x)

    x = torch.tensor([1.0, -1.0])
    found = reference_posterior(model, x, num_chains=2, num_samples=60, num_warmup=40)
    mean, std = found.moments("z")
    assert ((mean - x / 2).abs() < 5 * 0.5**0.5 / found.ess["z"].sqrt()).all()
    assert ((std / 0.5**0.5).log().abs() < 5 / (2 * found.ess["z"]).sqrt()).all(), std
