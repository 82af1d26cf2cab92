"""Draws with their weights in ArviZ's container."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import arviz
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae import MLP, Amortized, ExactGuide, LinearGaussian, Local, MeanField, Reference
from pyro_vae.evidence.weights import log_mean_exp_error, pareto_k
from pyro_vae.report.arviz_data import write_netcdf
from pyro_vae.report.export import draws_to_arviz, reference_to_arviz
from tests.report.draws import DRAWS, NUM, log_weights_of


def test_the_weights_average_to_log_px(made: tuple[LinearGaussian, torch.Tensor, Any]) -> None:
    model, x, data = made
    log_w, truth = log_weights_of(data), model.log_px(x)
    found, error = torch.tensor(data["weights"]["log_px"].values), log_mean_exp_error(log_w)
    assert ((found - truth).abs() < 5 * error).all() and (error < 0.1).all(), (
        found,
        truth,
        error,
        DRAWS,
    )
    torch.testing.assert_close(found, torch.logsumexp(log_w, 0) - np.log(DRAWS))
    torch.testing.assert_close(
        torch.tensor(data["weights"]["pareto_k"].values), pareto_k(log_w), rtol=0, atol=0
    )
    assert (data["weights"]["ess"] > 10).all() and (data["weights"]["ess"] < DRAWS).all()


def test_every_number_belongs_to_its_draw_and_datum(
    made: tuple[LinearGaussian, torch.Tensor, Any],
) -> None:
    model, x, data = made
    z = torch.tensor(data["guide"]["latent"].values)  # (1, S, N, 2)
    q = model.optimal_mean_field(x)
    likelihood = (
        dist.Normal(z @ model.loading.T + model.mean, model.log_sigma.exp()).log_prob(x).sum(-1)
    )
    guide = dist.Normal(q.mean, q.stddev).log_prob(z).sum(-1)
    prior = dist.Normal(0.0, 1.0).log_prob(z).sum(-1)
    expected = {
        "log_px_given_z": likelihood,
        "log_guide": guide,
        "log_weight": prior + likelihood - guide,
    }
    for name, values in expected.items():
        found = data["guide_stats"][name]
        assert found.dims == ("chain", "draw", "datum")
        np.testing.assert_allclose(found.values, values.detach(), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(data["observed_data"]["x"], x)
    assert data["observed_data"]["x"].dims == ("datum", "x_dim_0")
    weights = data["guide_stats"]["log_weight"]
    weights = np.exp(weights - weights.max("draw"))
    # of p(z | x), by the weights
    mean = data["guide"]["latent"].weighted(weights).mean(("chain", "draw"))
    exact, ess = model.posterior(x), torch.tensor(data["weights"]["ess"].values)
    error = exact.stddev / ess[:, None].sqrt()
    assert ((torch.tensor(mean.values) - exact.mean).abs() < 5 * error).all(), (
        mean,
        exact.mean,
        error,
    )


def test_the_posterior_is_resampled_by_the_weights(
    made: tuple[LinearGaussian, torch.Tensor, Any],
) -> None:
    # A mean-field guide is too narrow along the axes; what its weights choose has the mean and the
    # covariance of the posterior.
    model, x, data = made
    exact, draws = (
        model.posterior(x),
        {name: torch.tensor(data[name]["latent"].values)[0] for name in ("guide", "posterior")},
    )
    ess = torch.tensor(data["weights"]["ess"].values)[:, None]
    error = exact.stddev / ess.sqrt() * 2**0.5  # of resampling besides
    assert ((draws["posterior"].mean(0) - exact.mean).abs() < 5 * error).all(), (
        draws["posterior"].mean(0),
        exact.mean,
    )
    cov = {
        name: torch.stack([torch.cov(z[:, n].T)[0, 1] for n in range(NUM)]).mean()
        for name, z in draws.items()
    }
    truth = exact.covariance_matrix[0, 0, 1].detach()
    assert (
        (cov["posterior"] - truth).abs() < 0.3 * truth.abs() < 0.7 * (cov["guide"] - truth).abs()
    ), (cov, truth)
    for datum in range(NUM):
        assert set(draws["posterior"][:, datum, 0].tolist()) <= set(
            draws["guide"][:, datum, 0].tolist()
        )


def test_data_drawn_from_the_posterior_predictive(
    made: tuple[LinearGaussian, torch.Tensor, Any],
) -> None:
    model, _, data = made
    drawn = torch.tensor(data["posterior_predictive"]["x"].values)[0]  # (100, N, 5)
    z = torch.tensor(data["posterior"]["latent"].values)[0, :100]
    noise = (drawn - (z @ model.loading.T + model.mean)).detach() / model.log_sigma.exp().item()
    assert drawn.shape == (100, NUM, 5) and data["posterior_predictive"]["x"].dims == (
        "chain",
        "draw",
        "datum",
        "x_dim_0",
    )
    size = noise.numel()
    assert abs(noise.mean()) < 5 / size**0.5 and abs(noise.var() - 1) < 5 * (2 / size) ** 0.5, (
        noise.mean(),
        noise.var(),
    )


def test_netcdf_and_back(made: tuple[LinearGaussian, torch.Tensor, Any], tmp_path: Path) -> None:
    data = made[2]
    write_netcdf(data, tmp_path / "draws.nc")
    back = arviz.from_netcdf(tmp_path / "draws.nc")
    for group in (
        "guide",
        "guide_stats",
        "posterior",
        "weights",
        "posterior_predictive",
        "observed_data",
    ):
        assert list(back[group].data_vars)
        for name in back[group].data_vars:
            np.testing.assert_array_equal(back[group][name].values, data[group][name].values)
            assert back[group][name].dims == data[group][name].dims
        assert back[group].attrs["description"] == data[group].attrs["description"]
    assert "not of the posterior" in back["guide"].attrs["description"]


def test_data_are_scored_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = LinearGaussian((2, 3), 2).double(), []
    x = torch.randn(7, 2, 3).double()

    def watched(x: torch.Tensor, index: Any = None) -> None:
        model(x, index)
        rows.append(len(x))

    monkeypatch.setattr("pyro_vae.report.export._ROWS", 90)
    data = draws_to_arviz(watched, ExactGuide(model), x, num_draws=30)
    ran = [number for number in rows if number != 2]  # on two it is looked at, once
    assert ran[-6:] == [3, 3, 3, 3, 1, 1]  # scored, and drawn from
    assert rows[-5:] == ran[-5:]
    np.testing.assert_allclose(
        log_weights_of(data), model.log_px(x).detach().expand(30, 7), atol=1e-9
    )
    assert data["observed_data"]["x"].shape == (7, 2, 3)
    again, other = (
        draws_to_arviz(model, ExactGuide(model), x, num_draws=30, seed=seed) for seed in (0, 1)
    )
    assert (again["guide"]["latent"] == data["guide"]["latent"]).all()
    assert (other["guide"]["latent"] != data["guide"]["latent"]).all()


def test_rows_of_a_local_guide_name_their_data() -> None:
    model, guide, x = LinearGaussian(5, 2), Local(MeanField(2), 9), torch.randn(3, 5)
    with torch.no_grad():
        guide.table[:, :2] = 100.0 * torch.arange(9)[:, None]
    data = draws_to_arviz(model, guide, x, torch.tensor([7, 2, 4]), num_draws=30)
    means = data["guide"]["latent"].mean(("chain", "draw", "latent_dim_0"))
    assert means.sel(datum=7) == pytest.approx(700, abs=5)
    assert means.sel(datum=2) == pytest.approx(200, abs=5)


def plated_model(x: torch.Tensor, index: Any = None) -> None:
    """Sites in the data plate alone, in an inner plate too, and with dimensions of their own."""
    with pyro.plate("rows", len(x), dim=-1):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        b = pyro.sample("b", dist.Gamma(2.0, 1.0))
        with pyro.plate("columns", 3, dim=-2):
            c = pyro.sample("c", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("y", dist.Normal(a + c.sum(-1), b), obs=x.T)


def plated_guide(x: torch.Tensor, index: Any = None) -> None:
    with pyro.plate("rows", len(x), dim=-1):
        pyro.sample("a", dist.Normal(x.mean(-1), 0.5))
        pyro.sample("b", dist.LogNormal(0.0, 0.3))
        with pyro.plate("columns", 3, dim=-2):
            pyro.sample("c", dist.Normal(x.T[..., None] * torch.ones(2), 0.1).to_event(1))


@pytest.mark.parametrize("num_data", [1, 3, 4])
def test_several_sites_and_an_inner_plate(num_data: int) -> None:
    x = 10.0 * torch.randn(num_data, 3)
    data = draws_to_arviz(plated_model, plated_guide, x, num_draws=50)
    posterior = data["guide"]
    assert posterior["a"].dims == ("chain", "draw", "datum")
    assert posterior["a"].shape == (1, 50, num_data)
    assert posterior["c"].dims == ("chain", "draw", "datum", "c_dim_0", "c_dim_1")
    np.testing.assert_allclose(posterior["c"].mean(("chain", "draw", "c_dim_1")), x, atol=0.1)
    a, b, c = (torch.tensor(posterior[name].values) for name in "abc")
    expected = dist.Normal(a[..., None] + c.sum(-1), b[..., None]).log_prob(x).sum(-1)
    np.testing.assert_allclose(data["guide_stats"]["log_px_given_z"], expected, rtol=1e-4)
    chains = {"a": a, "c": c.movedim(2, 3)}  # as NUTS gives them
    there = reference_to_arviz(Reference(chains, {}, {}, 0, 0.0), x, axes={"c": 1})["posterior"]
    assert all(there[name].equals(posterior[name]) for name in chains)
    assert data["posterior"]["c"].dims == posterior["c"].dims
    assert data["posterior_predictive"]["x"].shape == (1, 50, *x.shape)


def test_one_datum_needs_no_plate() -> None:
    def bare(x: torch.Tensor, index: Any = None) -> None:
        pyro.sample("z", dist.Normal(x[0], 1.0).to_event(1))

    data = draws_to_arviz(bare, bare, torch.tensor([[1.0, 2.0]]), num_draws=30)
    assert data["posterior"]["z"].dims == ("chain", "draw", "datum", "z_dim_0")
    assert (data["guide_stats"]["log_weight"] == 0).all()
    assert (data["weights"]["pareto_k"] == 0).all()


def test_few_draws_have_no_khat() -> None:
    model = LinearGaussian(5, 2)
    data = draws_to_arviz(
        model, Amortized(MeanField(2), MLP(5, ())), torch.randn(3, 5), num_draws=1
    )
    assert (
        data["weights"]["pareto_k"].isnull().all() and np.isfinite(data["weights"]["log_px"]).all()
    )
