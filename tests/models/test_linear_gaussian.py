"""The closed forms against scikit-learn, quadrature-free identities and Monte Carlo, in float64."""

from __future__ import annotations

import pytest
import torch
from sklearn.decomposition import PCA
from torch.distributions import kl_divergence

from pyro_vae import ExactGuide, LinearGaussian, log_evidence, log_weights
from pyro_vae.evidence import Importance


def make(size: int = 12, latent_dim: int = 3, num: int = 40) -> tuple[LinearGaussian, torch.Tensor]:
    model = LinearGaussian(size, latent_dim, sigma=0.7).double()
    with torch.no_grad():
        model.mean.normal_()
    x = model.sample(num) + 0.7 * torch.randn(num, size, dtype=torch.double)
    return model, x


@pytest.mark.parametrize("latent_dim", [2, 10, 50])
def test_exact_guide_gives_log_px_with_one_particle(latent_dim: int) -> None:
    model, x = make(60, latent_dim)
    error = (log_weights(model, ExactGuide(model), x)[0] - model.log_px(x)).abs().max().item()
    assert error <= 1e-10, error


def test_log_px_is_scikit_learn_s() -> None:
    _, x = make(12, 3, 200)
    pca = PCA(3, svd_solver="full").fit(x.numpy())
    theirs = torch.from_numpy(pca.score_samples(x.numpy()))
    # scikit-learn divides the covariance by N - 1: scale the data so that both are the same.
    centred = (x - x.mean(0)) * (len(x) / (len(x) - 1)) ** 0.5
    model = LinearGaussian.maximum_likelihood(centred + x.mean(0), 3)
    torch.testing.assert_close(model.log_px(x), theirs, atol=1e-9, rtol=0)


def test_maximum_likelihood_is_a_stationary_point() -> None:
    _, x = make(8, 2, 100)
    model = LinearGaussian.maximum_likelihood(x, 2)
    covariance = model.loading @ model.loading.T + (2 * model.log_sigma).exp() * torch.eye(
        8, dtype=torch.double
    )
    loss = torch.distributions.MultivariateNormal(model.mean, covariance).log_prob(x).mean()
    for gradient in torch.autograd.grad(loss, [model.loading, model.mean, model.log_sigma]):
        assert gradient.abs().max() < 1e-8


@pytest.mark.parametrize("latent_dim", [2, 10, 50])
def test_mean_field_gap_is_the_kl_of_its_optimum(latent_dim: int) -> None:
    model, x = make(60, latent_dim)
    q, p = model.optimal_mean_field(x), model.posterior(x)
    covariance = torch.diag_embed(q.variance)
    kl = kl_divergence(torch.distributions.MultivariateNormal(q.mean, covariance), p)
    torch.testing.assert_close(kl, model.mean_field_gap().expand_as(kl), atol=1e-10, rtol=1e-10)


def test_optimal_mean_field_is_a_maximum() -> None:
    model, x = make()
    q, p = model.optimal_mean_field(x), model.posterior(x)
    best = model.mean_field_gap()
    for change in (1.05, 0.95):
        worse = torch.distributions.MultivariateNormal(
            q.mean, torch.diag_embed(q.variance * change)
        )
        assert (kl_divergence(worse, p) > best).all()


def test_mean_field_elbo_by_importance_sampling_is_log_px_less_the_gap() -> None:
    import pyro

    model, x = make()

    def guide(x: torch.Tensor, index: torch.Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("latent", model.optimal_mean_field(x))

    est = log_evidence(model, guide, x, Importance(num_particles=4000))
    truth = model.log_px(x) - model.mean_field_gap()
    z = ((est.elbo - truth) / est.elbo_error).abs().max().item()
    assert z < 5, (est.elbo.mean(), truth.mean(), z)
    z = ((est.log_px - model.log_px(x)) / est.log_px_error).abs().max().item()
    assert z < 5, (est.mean, model.log_px(x).mean(), z)


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda: LinearGaussian(5, 0), "latent_dim"),
        (lambda: LinearGaussian(5, 2, sigma=0.0), "sigma: got 0"),
        (lambda: LinearGaussian.maximum_likelihood(torch.randn(10, 4), 4), "latent_dim: got 4"),
        (lambda: LinearGaussian(5, 2).check_data(torch.zeros(3, 4)), r"x: got shape \(3, 4\)"),
    ],
)
def test_bad_input(make_it: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_it()  # type: ignore[operator]
