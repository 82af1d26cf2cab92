"""Guides of all continuous latents of a program, held to models whose log p(x) is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor

import pyro_vae as pv
from pyro_vae.objectives import FreeBits
from tests.scenarios import eager

Model = Callable[..., None]


def plate(x: Tensor) -> Any:
    return pyro.plate("data", len(x), dim=-1)


def two_levels(x: Tensor, index: Any = None) -> None:
    """A mean, and three group means in a plate of their own, of two observations each."""
    with plate(x):
        mu = pyro.sample("mu", dist.Normal(x.new_zeros(()), 1.0))
        with pyro.plate("groups", 3, dim=-2):
            z = pyro.sample("z", dist.Normal(mu, 0.5))
            noise = dist.Normal(z[..., None], 0.7).expand((*z.shape, 2)).to_event(1)
            pyro.sample("obs", noise, obs=x.reshape(-1, 3, 2).transpose(0, 1))


def two_levels_exact(x: Tensor) -> Tensor:
    within = torch.block_diag(*[torch.full((2, 2), 0.25)] * 3)
    covariance = (1 + within + 0.49 * torch.eye(6)).to(x)
    return dist.MultivariateNormal(x.new_zeros(6), covariance).log_prob(x)


def gamma_poisson(x: Tensor, index: Any = None) -> None:
    with plate(x):
        rate = pyro.sample("rate", dist.Gamma(x.new_tensor(2.0), 1.0))
        pyro.sample("obs", dist.Poisson(rate[..., None].expand(*rate.shape, 3)).to_event(1), obs=x)


def gamma_poisson_exact(x: Tensor) -> Tensor:
    total = x.sum(1)
    log_p = torch.lgamma(2 + total) - (2 + total) * math.log(1 + 3) - torch.lgamma(x + 1).sum(1)
    return log_p - math.lgamma(2)


def beta_bernoulli(x: Tensor, index: Any = None) -> None:
    with plate(x):
        p = pyro.sample("p", dist.Beta(x.new_tensor(2.0), 3.0))
        pyro.sample("obs", dist.Bernoulli(p[..., None].expand(*p.shape, 6)).to_event(1), obs=x)


def beta_bernoulli_exact(x: Tensor) -> Tensor:
    on, off = x.sum(1), 6 - x.sum(1)
    log_p = torch.lgamma(2 + on) + torch.lgamma(3 + off) - math.lgamma(5 + 6)
    return log_p - math.lgamma(2) - math.lgamma(3) + math.lgamma(5)


def dirichlet(x: Tensor, index: Any = None) -> None:
    with plate(x):
        p = pyro.sample("p", dist.Dirichlet(x.new_tensor([1.0, 2.0, 3.0])))
        pyro.sample("obs", dist.Categorical(p), obs=x[:, 0].long())


def dirichlet_exact(x: Tensor) -> Tensor:
    return (x.new_tensor([1.0, 2.0, 3.0]) / 6)[x[:, 0].long()].log()


def chain(x: Tensor, index: Any = None) -> None:
    """A random walk that is seen with noise."""
    with plate(x):
        walk = [x.new_zeros(())]
        for step in pyro.markov(range(4)):
            walk.append(pyro.sample(f"z_{step}", dist.Normal(walk[-1], 0.8)))
        pyro.sample("obs", dist.Normal(torch.stack(walk[1:], -1), 0.5).to_event(1), obs=x)


def chain_exact(x: Tensor) -> Tensor:
    times = torch.arange(1.0, 5.0)
    walk = 0.64 * torch.minimum(times, times[:, None]) + 0.25 * torch.eye(4)
    return dist.MultivariateNormal(x.new_zeros(4), walk.to(x)).log_prob(x)


def data() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "two levels": torch.randn(5, 6),
        "gamma-poisson": torch.poisson(torch.full((5, 3), 2.0)),
        "beta-bernoulli": torch.bernoulli(torch.full((5, 6), 0.4)),
        "dirichlet": torch.tensor([[0.0], [1.0], [2.0]]),
        "chain": torch.randn(5, 4),
    }


X = {name: x.double() for name, x in data().items()}
EXACT = {
    "two levels": (two_levels, two_levels_exact),
    "gamma-poisson": (gamma_poisson, gamma_poisson_exact),
    "beta-bernoulli": (beta_bernoulli, beta_bernoulli_exact),
    "dirichlet": (dirichlet, dirichlet_exact),
    "chain": (chain, chain_exact),
}
GAUSSIAN = ("two levels", "chain")  # whose posteriors a full-rank family holds


@pytest.fixture(autouse=True)
def _no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)


def local(name: str, family: Any = pv.FullRank) -> pv.Local:
    return pv.Local.of(EXACT[name][0], X[name], family).double()


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("family", [pv.MeanField, pv.FullRank, pv.SplineFlow])
def test_weights_have_the_mean_p_of_x(name: str, family: Any) -> None:
    model, exact = EXACT[name]
    guide = local(name, family)  # N(0, I), or near it, in the coordinates
    torch.manual_seed(1)
    weights = (pv.log_weights(model, guide, X[name], num_particles=20_000) - exact(X[name])).exp()
    error = weights.std(0) / 20_000**0.5
    assert ((weights.mean(0) - 1).abs() < 5 * error).all(), (weights.mean(0), error)
    assert (error < 0.2).all()


@pytest.mark.parametrize("name", EXACT)
def test_annealing_takes_bounded_latents(name: str) -> None:
    model, exact = EXACT[name]
    found = pv.log_evidence(model, local(name), X[name], pv.Annealed(30, num_chains=8))
    off = found.log_px - exact(X[name])
    assert (off.abs() < 5 * found.log_px_error).all() and off.abs().median() < 0.6
    assert (found.acceptance > 0.6).all()


@pytest.mark.parametrize("name", ["gamma-poisson", "beta-bernoulli", "dirichlet"])
def test_a_grid_covers_bounded_latents(name: str) -> None:
    model, exact = EXACT[name]
    found = pv.log_evidence(model, None, X[name], pv.Quadrature(101))
    assert (found.log_px - exact(X[name])).abs().max() < 1e-6


@pytest.mark.parametrize("name", GAUSSIAN)
def test_classical_inference_finds_the_posterior(name: str) -> None:
    model, exact = EXACT[name]
    start = pv.log_evidence(model, local(name), X[name], pv.Importance(200)).elbo
    optimum = pv.fit_local(model, local(name), X[name], num_steps=200)
    found = pv.log_evidence(model, optimum.guide, X[name], pv.Importance(500))
    # the noise of one draw a step is what is left
    assert ((exact(X[name]) - found.elbo) < 0.2).all() and (exact(X[name]) - start > 1).all()
    assert (found.log_px - exact(X[name])).abs().max() < 0.03


def test_the_density_is_that_of_the_bijection() -> None:
    guide = local("gamma-poisson", pv.MeanField)
    with torch.no_grad():
        guide.table.copy_(torch.randn_like(guide.table))
    trace = poutine.trace(guide).get_trace(X["gamma-poisson"])
    site = trace.nodes["rate"]
    mean, log_scale = guide.table.unbind(-1)
    expected = dist.LogNormal(mean, log_scale.exp()).log_prob(site["value"])
    torch.testing.assert_close(site["fn"].log_prob(site["value"]), expected)
    # of a value that it has not drawn, too
    again = site["value"].clone()
    torch.testing.assert_close(site["fn"].log_prob(again), expected)


def test_sites_have_their_own_plates_and_one_density() -> None:
    x, guide = X["two levels"], local("two levels")
    trace = poutine.trace(guide).get_trace(x)
    mu, z = trace.nodes["mu"], trace.nodes["z"]
    assert mu["value"].shape == (5,) and z["value"].shape == (3, 5)
    vector = torch.cat([mu["value"][:, None], z["value"].T], 1)
    total = trace.nodes["mu"]["fn"].log_prob(mu["value"]) + z["fn"].log_prob(z["value"]).sum(0)
    torch.testing.assert_close(total, guide.q(torch.arange(5)).log_prob(vector))


def test_losses_of_pyro_agree() -> None:
    x, guide = X["two levels"], local("two levels")
    losses = []
    for loss in (Trace_ELBO(max_plate_nesting=2), TraceMeanField_ELBO(max_plate_nesting=2)):
        torch.manual_seed(3)
        losses.append(loss.loss(two_levels, guide, x))
    assert losses[0] == pytest.approx(losses[1])


def test_an_encoder_is_trained_alike_by_both_engines() -> None:
    x = torch.randn(64, 6)
    found = []
    for engine in ("compiled", "pyro"):
        torch.manual_seed(0)
        guide = pv.Amortized.of(two_levels, x, pv.FullRank, pv.MLP(6, (8,)))
        options: dict[str, Any] = {"engine": engine, "batch_size": 32, "keep": "last"}
        pv.fit(two_levels, guide, x, valid=0, epochs=2, quiet=True, **options)
        found.append(torch.cat([p.detach().flatten() for p in guide.parameters()]))
    assert (found[0] - found[1]).abs().max() < 1e-4


def test_semi_amortized_ledger_and_calibration() -> None:
    x = X["chain"]
    torch.manual_seed(0)
    guide = pv.Amortized.of(chain, x, pv.FullRank, pv.MLP(4, (8,))).double()
    optimum = pv.fit_local(chain, local("chain"), x, num_steps=200)
    guides = {"encoder": guide, "steps": pv.SemiAmortized(guide, chain, 10), "local": optimum}
    ledger = pv.gap_ledger(chain, guides, x, method=pv.Importance(200))
    gaps = ledger.to_dataframe().groupby("guide")["elbo"].mean()
    assert gaps["encoder"] < gaps["steps"] < gaps["local"]

    # the exact posterior's calibration, of a program with four sites, and the sandwich
    found = pv.check_calibration(chain, guide, x, num_simulations=40, num_draws=9)
    assert "z_3" in " ".join(found.ranks) and len(found.ranks) == 7
    both = pv.sandwich(chain, None, x, num_data=3, method=pv.Annealed(20, start="prior"))
    exact = chain_exact(both.x.double())
    assert (both.forward.log_px - exact < 5 * both.forward.log_px_error).all()
    assert (both.reverse.log_px - exact > -5 * both.reverse.log_px_error).all()


def test_it_starts_from_another_family_of_the_same_latents() -> None:
    flat = local("two levels", pv.MeanField)
    with torch.no_grad():
        flat.table.copy_(torch.randn_like(flat.table))
    full = pv.Local.started_at(flat, X["two levels"], pv.FullRank(4))
    assert full.family.name == "FullRank(4) over mu, z"
    assert torch.equal(full.table[:, :8], flat.table) and not full.table[:, 8:].any()


def test_one_latent_vector_has_the_plain_family() -> None:
    model, x = pv.VAE((6,), 2, (8,)), torch.zeros(4, 6)
    assert pv.Local.of(model, x, pv.FullRank).family.name == pv.FullRank(2).name
    assert pv.Amortized.of(model, x, pv.MeanField, pv.MLP(6, (8,))).family.name == "MeanField(2)"


def moving(x: Tensor, index: Any = None) -> None:
    with plate(x):
        top = pyro.sample("top", dist.LogNormal(0.0, 1.0))
        low = pyro.sample("low", dist.Uniform(0.0, top))
        pyro.sample("obs", dist.Normal(low, 1.0), obs=x[:, 0])


def by_datum(x: Tensor, index: Any = None) -> None:
    with plate(x):
        z = pyro.sample("z", dist.Uniform(0.0, 1 + torch.arange(float(len(x)))))
        pyro.sample("obs", dist.Normal(z, 1.0), obs=x[:, 0])


def angle(x: Tensor, index: Any = None) -> None:
    with plate(x):
        z = pyro.sample("z", dist.VonMises(x.new_zeros(()), 1.0))
        pyro.sample("obs", dist.Normal(z, 1.0), obs=x[:, 0])


def count(x: Tensor, index: Any = None) -> None:
    with plate(x):
        z = pyro.sample("z", dist.Poisson(2.0))
        pyro.sample("obs", dist.Normal(z, 1.0), obs=x[:, 0])


def outside(x: Tensor, index: Any = None) -> None:
    z = pyro.sample("z", dist.Normal(0.0, 1.0))
    with plate(x):
        pyro.sample("obs", dist.Normal(z, 1.0), obs=x[:, 0])


def nothing(x: Tensor, index: Any = None) -> None:
    with plate(x):
        pyro.sample("obs", dist.Normal(0.0, 1.0), obs=x[:, 0])


@pytest.mark.parametrize(
    ("model", "num_data", "message"),
    [
        (moving, 1, "'low' depends on other latents"),
        (moving, 3, "differs between data"),
        (by_datum, 3, "differs between data"),
        (angle, 3, "'z' .* is an angle"),
        (count, 3, "'z' .* is discrete"),
        (outside, 3, "site 'z': not inside a plate of size 3"),
        (nothing, 3, "got no latent site"),
    ],
)
def test_what_no_vector_holds(model: Model, num_data: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pv.Local.of(model, torch.zeros(num_data, 1), pv.MeanField)


def test_a_site_without_a_rate_of_its_own_has_no_floor() -> None:
    with pytest.raises(ValueError, match="drawn together with others"):
        FreeBits(0.1).loss(two_levels, local("two levels"), X["two levels"])
    units = pv.latent_units(gamma_poisson, local("gamma-poisson"), X["gamma-poisson"])
    assert units is not None and units.rates.isnan().all()
    assert "rate unknown" in repr(units) and "nan" not in repr(units)
