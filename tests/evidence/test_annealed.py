"""Annealing against the linear-Gaussian model, in which log p(x) and every tempered posterior are
known.
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal

from pyro_vae import (
    MLP,
    VAE,
    Amortized,
    HierarchicalVAE,
    LinearGaussian,
    Local,
    MeanField,
    SemiAmortized,
)
from pyro_vae.evidence import Annealed, Importance, log_evidence, sandwich
from pyro_vae.evidence.chains import Plan
from pyro_vae.programs.traces import prior
from tests.evidence.mean_guide import Mean
from tests.scenarios import eager, linear_gaussian


@pytest.mark.parametrize("start", ["prior", "guide"])
def test_within_its_errors_of_the_exact_value(start: str) -> None:
    model, x = linear_gaussian()
    est = log_evidence(model, Mean(model), x, Annealed(start=start, num_temperatures=80))
    z = (est.log_px + est.log_px_error**2 / 2 - model.log_px(x)) / est.log_px_error
    assert z.abs().max() < 5 and abs(z.mean()) < 5 / len(z) ** 0.5, z
    assert (est.log_px - model.log_px(x)).abs().max() < 0.5
    assert est.method == f"AIS(T=80, K=16, L=5) from the {start}"
    low, high = est.interval(0.999)
    assert ((low < model.log_px(x)) & (model.log_px(x) < high)).double().mean() > 0.9


def test_a_good_guide_saves_temperatures() -> None:
    model, x = linear_gaussian(dim=4)
    errors = [
        log_evidence(model, Mean(model), x, Annealed(50, start)).log_px_error.mean()
        for start in ("prior", "guide")
    ]
    assert errors[1] < errors[0] / 2


def test_few_chains_have_no_error_to_be_believed() -> None:
    model, x = linear_gaussian(20, 8)
    est = log_evidence(model, None, x, Annealed(start="prior", num_temperatures=3, num_chains=4))
    assert est.reliable.double().mean() < 0.5


def test_a_guide_whose_density_is_noise_cannot_be_a_start() -> None:
    model, x = linear_gaussian(4, 2)
    semi = SemiAmortized(Amortized(MeanField(2), MLP(5, ())).double(), model, num_steps=2)
    with pytest.raises(ValueError, match="differs from run to run"):
        log_evidence(model, semi, x, Annealed(num_temperatures=5))
    auto = AutoNormal(model)
    auto(x)
    with pytest.raises(ValueError, match="auxiliary sites"):
        log_evidence(model, auto, x, Annealed(num_temperatures=5))


def test_each_datum_has_a_step_size_of_its_own() -> None:
    class Uneven(LinearGaussian):
        def forward(self, x: torch.Tensor, index: Any = None) -> torch.Tensor:
            width = torch.where(x[:, :1] > 0, 0.02, 1.0)
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("latent", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("obs", dist.Normal(torch.zeros(2) + z, width).to_event(1), obs=x[:, 1:])
            return z

    x = torch.tensor([[1.0, 0.3, -0.2], [-1.0, 0.3, -0.2]])
    est = log_evidence(Uneven(3, 2), None, x, Annealed(start="prior", num_temperatures=100))
    variance = torch.tensor([[1 + 0.02**2], [2.0]])
    truth = dist.Normal(torch.zeros(2), variance.sqrt()).log_prob(x[:, 1:]).sum(1)
    assert (est.acceptance > 0.5).all()
    assert ((est.log_px - truth).abs() < 5 * est.log_px_error).all(), (
        est.log_px,
        truth,
        est.log_px_error,
    )


def test_several_sites_and_an_inner_plate() -> None:
    """Sums of independent Gaussians: a scalar per datum, and three within an inner plate."""

    def model(x: torch.Tensor, index: Any = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            with pyro.plate("columns", 3, dim=-2):
                b = pyro.sample("b", dist.Normal(0.0, 0.5))
                pyro.sample("y", dist.Normal(a + b, 0.3), obs=x.T)

    x = torch.tensor([[0.4, -0.3, 0.9], [1.5, 1.0, 2.0]])
    covariance = torch.ones(3, 3) + (0.25 + 0.09) * torch.eye(3)
    truth = dist.MultivariateNormal(torch.zeros(3), covariance).log_prob(x)
    est = log_evidence(model, None, x, Annealed(start="prior", num_temperatures=60))
    assert ((est.log_px - truth).abs() < 5 * est.log_px_error).all(), (est.log_px, truth)

    found = sandwich(model, None, x, num_data=20, method=Annealed(num_temperatures=60))
    exact = dist.MultivariateNormal(torch.zeros(3), covariance).log_prob(found.x)
    z = (found.reverse.log_px - exact) / found.reverse.log_px_error
    assert z.abs().max() < 6 and abs(found.gap) < 0.2


def test_a_hierarchical_model_by_annealing_and_by_importance() -> None:
    torch.manual_seed(0)
    model = HierarchicalVAE((6,), 2, 3, (8,), (8,))
    x = torch.bernoulli(model.sample(6))
    chains = log_evidence(model, None, x, Annealed(start="prior", num_temperatures=60))
    # weights of the prior's draws are bounded, so that their error can be believed
    weights = log_evidence(model, prior(model), x, Importance(num_particles=10_000))
    error = (chains.log_px_error**2 + weights.log_px_error**2).sqrt()
    assert ((chains.log_px - weights.log_px).abs() < 5 * error).all(), (
        chains.log_px,
        weights.log_px,
    )


def test_both_engines_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    torch.manual_seed(0)
    model = VAE((6,), 2, (8,))
    x = torch.bernoulli(model.sample(5))
    found = [
        log_evidence(
            model, None, x, Annealed(start="prior", num_temperatures=5, num_chains=3, engine=engine)
        )  # type: ignore[arg-type]
        for engine in ("pyro", "compiled")
    ]
    torch.testing.assert_close(found[0].log_px, found[1].log_px, atol=1e-3, rtol=0)


def test_blocks_do_not_change_what_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = linear_gaussian(7, 2)
    monkeypatch.setattr("pyro_vae.evidence.annealed._ROWS", 48)  # three data at once
    done: list[float] = []
    est = log_evidence(
        model, None, x, Annealed(start="prior", num_temperatures=40), progress=done.append
    )
    moves = 3 * (20 + 41 + 40)  # of the pilot run and of the run, in three blocks
    assert len(set(done)) == moves and est.log_px.shape == (7,)
    z = (est.log_px - model.log_px(x)) / est.log_px_error
    assert z.abs().max() < 5


def test_seeded_and_the_caller_s_state_is_untouched() -> None:
    model, x = linear_gaussian(3, 2)
    state = torch.get_rng_state()
    first = log_evidence(model, None, x, Annealed(start="prior", num_temperatures=5, seed=3))
    assert torch.equal(torch.get_rng_state(), state) and model.training
    assert torch.equal(
        log_evidence(model, None, x, Annealed(start="prior", num_temperatures=5, seed=3)).log_px,
        first.log_px,
    )
    assert not torch.equal(
        log_evidence(model, None, x, Annealed(start="prior", num_temperatures=5, seed=4)).log_px,
        first.log_px,
    )
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_a_budget_cuts_the_temperatures() -> None:
    model, x = linear_gaussian(3, 2)
    est = log_evidence(
        model, None, x, Annealed(start="prior", num_temperatures=100_000, budget=1.5)
    )
    assert 10 <= est.plan.num_temperatures < 100_000 and est.seconds < 15
    assert log_evidence(
        model, None, x, Annealed(start="prior", num_temperatures=20, budget=1e6)
    ).plan == Plan(20, 16, 5)


def counts(x: torch.Tensor, index: Any = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("latent", dist.Poisson(2.0).expand([1]).to_event(1))
        pyro.sample("obs", dist.Normal(z, 1.0).to_event(1), obs=x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_temperatures": 1}, "num_temperatures: got 1"),
        ({"num_chains": 1}, "num_chains: got 1"),
        ({"num_leapfrog": 0}, "num_leapfrog: got 0"),
        ({"seed": -1}, "seed: got -1"),
        ({"budget": 0.0}, "budget: got 0.0"),
        ({"engine": "fast"}, "engine: got 'fast'"),
        ({"x": torch.zeros(2, 4)}, r"x: got shape \(2, 4\)"),
        ({"model": counts, "x": torch.ones(2, 1)}, "is discrete, expected real numbers"),
        ({"guide": Local(MeanField(2), 9)}, "parameters for 9"),
    ],
)
def test_bad_input(change: dict[str, Any], message: str) -> None:
    given = {"model": LinearGaussian(5, 2), "x": torch.zeros(2, 5), "guide": None}
    options = {"num_temperatures": 5} | {k: v for k, v in change.items() if k not in given}
    options |= {} if "guide" in change else {"start": "prior"}
    with pytest.raises(ValueError, match=message):
        log_evidence(
            **given | {k: v for k, v in change.items() if k in given}, method=Annealed(**options)
        )
