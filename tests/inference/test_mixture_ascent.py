"""Coordinate ascent for the conjugate mixture against exact sums over all assignments, and against
Pyro's own ELBO.
"""

from __future__ import annotations

import pytest
import torch
from pyro.infer import Trace_ELBO

from pyro_vae import GaussianMixture, LinearGaussian, log_weights, mixture_ascent

SPREAD, SIGMA = 3.0, 0.8


def make(num_data: int, num_components: int, dim: int = 2) -> tuple[GaussianMixture, torch.Tensor]:
    model = GaussianMixture(dim, num_components, SPREAD, SIGMA)
    return model, model.sample(num_data).double()


def ascend(x: torch.Tensor, num_components: int, seed: int = 0) -> tuple[object, torch.Tensor]:
    model = GaussianMixture(x.shape[1], num_components, SPREAD, SIGMA)
    found = mixture_ascent(model, x, seed=seed)
    return found.guide, found.elbos


@pytest.mark.parametrize("seed", range(5))
def test_the_elbo_rises_at_every_sweep(seed: int) -> None:
    _, x = make(300, 5)
    guide, elbos = ascend(x, 5, seed)
    rises = elbos.diff()
    assert len(rises) > 3 and rises[:-1].min() > 0 and rises[-1] <= 1e-10, rises
    torch.testing.assert_close(guide.responsibilities.sum(1), torch.ones(300).double())  # type: ignore[attr-defined]


def test_one_component_is_the_posterior_and_the_evidence() -> None:
    model, x = make(10, 1, dim=3)
    guide, elbos = ascend(x, 1)
    precision = 1 / SPREAD**2 + 10 / SIGMA**2
    assert guide.variance.item() == pytest.approx(1 / precision, abs=1e-12)  # type: ignore[attr-defined]
    torch.testing.assert_close(guide.mean[0], x.sum(0) / SIGMA**2 / precision)  # type: ignore[attr-defined]
    covariance = SIGMA**2 * torch.eye(10).double() + SPREAD**2
    marginal = torch.distributions.MultivariateNormal(torch.zeros(10).double(), covariance)
    truth = marginal.log_prob(x.T).sum()
    assert abs(elbos[-1] - truth) < 1e-10 and abs(model.log_evidence(x) - truth) < 1e-10


def test_the_elbo_is_below_the_exact_evidence_by_little() -> None:
    model, x = make(10, 2)
    exact = model.log_evidence(x).item()
    best = max(ascend(x, 2, seed)[1][-1].item() for seed in range(10))
    assert exact - best > -1e-10
    assert exact - best < 1.0, (exact, best)  # log 2 of it for the two orders of the components


def test_the_exact_evidence_is_the_mean_of_the_likelihood_under_the_prior() -> None:
    model = GaussianMixture(2, 2, 1.0, 1.0)
    x = torch.tensor([[0.3, -0.2], [1.0, 0.4], [-0.5, 0.8]]).double()
    centres = torch.randn(200_000, 1, 2, 2).double()
    log_px = (
        torch.distributions.Normal(centres, 1.0).log_prob(x[:, None]).sum(-1).logsumexp(-1)
        - torch.tensor(2.0).log()
    )
    weights = log_px.sum(1).exp()
    error = weights.std() / len(weights) ** 0.5
    assert abs(weights.mean() - model.log_evidence(x).exp()) < 5 * error


def test_the_closed_form_is_pyro_s_elbo() -> None:
    model, x = make(30, 3)
    x = 0.3 * x  # components that overlap
    guide, elbos = ascend(x, 3)
    loss = Trace_ELBO(num_particles=200, vectorize_particles=True, max_plate_nesting=1)
    draws = -torch.tensor([loss.loss(model, guide, x) for _ in range(50)]).double()
    error = draws.std() / len(draws) ** 0.5
    assert error > 1e-3 and abs(draws.mean() - elbos[-1]) < 5 * error, (
        draws.mean(),
        elbos[-1],
        error,
    )


def test_shared_latents_have_no_weight_per_datum() -> None:
    model, x = make(30, 3)
    with pytest.raises(ValueError, match="site 'centres': not inside a plate of size 30"):
        log_weights(model, ascend(x, 3)[0], x)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(2, 2)}, "x: got 2 data for 3 components"),
        ({"x": torch.zeros(5, 3)}, r"x: got shape \(5, 3\)"),
        ({"x": torch.full((5, 2), torch.nan)}, "finite data"),
        ({"model": LinearGaussian(2, 2)}, "model: got LinearGaussian.*expected a GaussianMixture"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    arguments = {"model": GaussianMixture(2, 3), "x": torch.zeros(5, 2)} | change
    with pytest.raises(ValueError, match=message):
        mixture_ascent(**arguments)  # type: ignore[arg-type]


def test_bad_models() -> None:
    with pytest.raises(ValueError, match="spread: got"):
        GaussianMixture(2, 3, spread=-1.0)
    with pytest.raises(ValueError, match=r"3\^N at most"):
        GaussianMixture(2, 3).log_evidence(torch.zeros(30, 2))
