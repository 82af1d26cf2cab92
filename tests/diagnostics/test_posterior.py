"""The posterior of one datum: grids are held to the linear-Gaussian closed form, draws to their
moments.
"""

from __future__ import annotations

import pytest
import torch
from torch.distributions import MultivariateNormal

import pyro_vae as pv
from pyro_vae.diagnostics import posterior_grid, posterior_pairs
from tests.scenarios import linear_gaussian

Made = tuple[pv.LinearGaussian, torch.Tensor, pv.Local]


@pytest.fixture(scope="module")
def made() -> Made:
    """A model whose posteriors are correlated, data, and the best mean-field guide."""
    model, x = linear_gaussian(4)
    with torch.no_grad():
        model.loading[:, 1] += model.loading[:, 0]
    return model, x, pv.coordinate_ascent(model, x).guide


def test_a_grid_is_the_closed_form(made: Made) -> None:
    model, x, best = made
    guides = {"exact": pv.ExactGuide(model), "best": best}
    found = posterior_grid(model, guides, x[2:3], torch.tensor([2]))

    points = torch.cartesian_prod(*found.axes)
    q = model.posterior(x[2:3])
    exact = MultivariateNormal(q.mean[0], q.covariance_matrix[0]).log_prob(points)
    near = exact > exact.max() - 20
    torch.testing.assert_close(found.exact.flatten()[near], exact[near], atol=1e-4, rtol=0)
    torch.testing.assert_close(found.guides["exact"][near.reshape(201, 201)], exact[near])
    assert found.names == ("latent[0]", "latent[1]")
    assert found.log_px == pytest.approx(model.log_px(x[2:3]).item(), abs=1e-6)

    assert found.kl["exact"] == pytest.approx(0, abs=1e-6)
    gap = model.mean_field_gap().item()
    assert gap > 0.01 and found.kl["best"] == pytest.approx(gap, abs=1e-4)
    assert list(found.masses) == ["posterior", "exact", "best"]
    assert all(mass == pytest.approx(1, abs=1e-6) for mass in found.masses.values())
    assert "holds all of each density" in found.verdict


def test_a_guide_far_off_is_on_the_grid(made: Made) -> None:
    model, x, best = made
    away = pv.Local(pv.MeanField(2), 4).double()
    with torch.no_grad():
        away.table.copy_(best.table)
        away.table[:, 0] += 3.0
    found = posterior_grid(model, {"away": away}, x[:1], torch.tensor([0]))
    q = model.posterior(x[:1])
    shift = torch.tensor([3.0, 0.0]).double()
    more = (shift @ q.precision_matrix[0] @ shift).item() / 2
    assert found.kl["away"] == pytest.approx(model.mean_field_gap().item() + more, abs=1e-4)


def test_a_grid_that_is_too_coarse_says_so(made: Made) -> None:
    model, x, best = made
    narrow = pv.Local(pv.MeanField(2), 4).double()
    with torch.no_grad():
        narrow.table.copy_(best.table)
        narrow.table[:, 2:] = -8.0
    found = posterior_grid(model, {"narrow": narrow}, x[:1], torch.tensor([0]), side=51)
    assert found.verdict == "NOT to be believed: the grid is too coarse for narrow"


def test_a_local_guide_of_one_datum_and_what_fit_local_found_need_no_number(made: Made) -> None:
    model, x, _ = made
    found = pv.coordinate_ascent(model, x[:1])
    fitted = pv.fit_local(model, pv.Local(pv.MeanField(2), 1).double(), x[:1], num_steps=3)
    kl = posterior_grid(model, {"best": found.guide, "fitted": fitted}, x[:1]).kl
    assert kl["best"] == pytest.approx(model.mean_field_gap().item(), abs=1e-4) and kl["fitted"] > 0


def test_no_guide_is_the_posterior_alone(made: Made) -> None:
    model, x, _ = made
    assert posterior_grid(model, {}, x[:1], side=51).kl == {}


def test_what_has_no_grid_is_refused(made: Made) -> None:
    model, x, best = made
    with pytest.raises(ValueError, match=r"^model: got 3 latent values per datum, expected two"):
        posterior_grid(pv.LinearGaussian(5, 3).double(), {}, x[:1])
    with pytest.raises(ValueError, match=r"^x: got 4 data, expected one"):
        posterior_grid(model, {"best": best}, x)
    amortized = pv.Amortized(pv.MeanField(2), pv.MLP(5, (3,)))
    semi = pv.SemiAmortized(amortized, model, num_steps=2).double()
    with pytest.raises(ValueError, match="its density at a given latent differs from run to run"):
        posterior_grid(model, {"semi": semi}, x[:1])


def reference_of(model: pv.LinearGaussian, x: torch.Tensor, chains: int = 2) -> pv.Reference:
    """Exact draws in the place of chains."""
    draws = model.posterior(x).sample(torch.Size((chains, 2000)))
    healthy = torch.ones(len(x), draws.shape[-1])
    return pv.Reference({"latent": draws}, {"latent": healthy}, {"latent": 4000 * healthy}, 0, 0.0)


def test_pairs_hold_the_draws_of_one_datum() -> None:
    model = pv.LinearGaussian(6, 4, sigma=0.5).double()
    x = model.sample(3)
    reference = reference_of(model, x)
    guides = {"exact": pv.ExactGuide(model), "best": pv.coordinate_ascent(model, x).guide}
    found = posterior_pairs(guides, reference, x, datum=2, num_units=3, num_draws=4000)

    std = reference.moments("latent")[1][2]
    narrowest = std.argsort()[:3]
    assert found.names == tuple(f"latent[{unit}]" for unit in narrowest.tolist())
    drawn = reference.draws["latent"][:, :, 2, narrowest].flatten(0, 1)
    torch.testing.assert_close(found.reference, drawn)
    # 4000 draws of each: errors of a shift sqrt(2 / 4000), of a ratio sqrt(1 / 4000)
    assert found.shifts["exact"].abs().max() < 5 * (2 / 4000) ** 0.5
    assert (found.ratios["exact"] - 1).abs().max() < 5 * (1 / 4000) ** 0.5

    posterior = model.posterior(x[2:])
    expected = (
        posterior.precision_matrix[0].diagonal() * posterior.covariance_matrix[0].diagonal()
    ).rsqrt()[narrowest]
    assert expected.min() < 0.95
    assert (found.ratios["best"] / expected - 1).abs().max() < 5 * (1 / 4000) ** 0.5
    assert found.state == reference.verdict


def test_pairs_of_other_data_or_sites_are_refused() -> None:
    model = pv.LinearGaussian(6, 2).double()
    x = model.sample(3)
    reference = reference_of(model, x)
    guides = {"exact": pv.ExactGuide(model)}
    with pytest.raises(ValueError, match=r"^x: got 2 data, expected those of the reference"):
        posterior_pairs(guides, reference, x[:2])
    other = pv.Reference({"z": reference.draws["latent"]}, {}, {}, 0, 0.0)
    with pytest.raises(ValueError, match=r"^guides: got sites \['latent'\], expected the ref"):
        posterior_pairs(guides, other, x)
    with pytest.raises(ValueError, match=r"^guides: got none"):
        posterior_pairs({}, reference, x)
