from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO

from pyro_vae import (
    MLP,
    VAE,
    Amortized,
    ExactGuide,
    Family,
    FullRank,
    LinearGaussian,
    Local,
    LowRank,
    MeanField,
    NonFiniteLoss,
    SplineFlow,
    fit_local,
    log_evidence,
)
from pyro_vae.evidence import Importance
from pyro_vae.inference import converge
from tests.scenarios import eager, linear_gaussian


def make() -> tuple[LinearGaussian, torch.Tensor]:
    return linear_gaussian(20, 3, dtype=torch.float32)


@pytest.mark.parametrize("loss", [None, TraceMeanField_ELBO()])
def test_finds_the_optimal_mean_field_of_each_datum(loss: object) -> None:
    model, x = make()
    guide = fit_local(model, Local(MeanField(3), 20), x, num_steps=1000, loss=loss).guide  # type: ignore[arg-type]
    q = guide.q(torch.arange(20))
    full = torch.distributions.MultivariateNormal(q.mean, torch.diag_embed(q.variance))
    excess = torch.distributions.kl_divergence(full, model.posterior(x)) - model.mean_field_gap()
    assert excess.min() > -1e-4 and excess.mean() < 2e-2 and excess.max() < 0.1, excess


def test_the_model_is_frozen_and_left_as_it_was() -> None:
    model, x = make()
    model.mean.requires_grad_(False)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    state = torch.get_rng_state()
    fit_local(model, Local(MeanField(3), 20), x, num_steps=3)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert model.training and model.loading.requires_grad and not model.mean.requires_grad
    assert torch.equal(torch.get_rng_state(), state)


def test_parameters_outside_of_modules_are_frozen_too() -> None:
    net = torch.nn.Linear(3, 6)

    def model(x: torch.Tensor, index: object = None) -> None:
        pyro.module("net", net)
        sigma = pyro.param("sigma", torch.tensor(1.0), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("obs", dist.Normal(net(z), sigma).to_event(1), obs=x)

    before = net.weight.detach().clone()
    fit_local(model, Local(MeanField(3), 4), torch.randn(4, 6), num_steps=20)
    assert torch.equal(net.weight, before) and pyro.param("sigma").item() == 1
    assert net.weight.requires_grad and net.weight.grad is None
    assert pyro.param("sigma").unconstrained().requires_grad


def test_a_guide_without_parameters() -> None:
    model, x = make()
    with pytest.raises(ValueError, match="ExactGuide has no parameter to optimise"):
        fit_local(model, ExactGuide(model), x, num_steps=2)


def test_dropout_is_off_in_the_frozen_model() -> None:
    model = VAE((6,), 2, (8,))
    modes: list[bool] = []
    model.decoder.register_forward_hook(lambda module, inputs, out: modes.append(module.training))
    fit_local(model, Local(MeanField(2), 4), torch.zeros(4, 6), num_steps=2)
    assert not any(modes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_steps": 0}, "num_steps"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"x": torch.zeros(21, 6)}, "20 rows of parameters"),
        ({"x": torch.zeros(20, 7)}, r"x: got shape \(20, 7\)"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    model, x = make()
    arguments = {"x": x} | change
    with pytest.raises(ValueError, match=message):
        fit_local(model, Local(MeanField(3), 20), **arguments)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:Encountered NaN")
def test_what_explodes_is_an_error() -> None:
    model = LinearGaussian(5, 2)
    with pytest.raises(NonFiniteLoss, match="lower the learning rate"):
        fit_local(model, Local(MeanField(2), 4), torch.randn(4, 5), num_steps=50, learning_rate=1e4)


def shortfall(model: LinearGaussian, x: torch.Tensor, guide: Local) -> torch.Tensor:
    """log p(x) - L[q] of a Gaussian guide in closed form, `(N,)`."""
    q = guide.q(torch.arange(len(x)))
    if isinstance(q, torch.distributions.Independent):
        q = torch.distributions.MultivariateNormal(q.mean, torch.diag_embed(q.variance))
    full = torch.distributions.MultivariateNormal(q.mean, q.covariance_matrix)
    return torch.distributions.kl_divergence(full, model.posterior(x)).detach()


def make_double(dim: int, num_data: int = 10) -> tuple[LinearGaussian, torch.Tensor]:
    return linear_gaussian(num_data, dim, dim + 4)


@pytest.mark.parametrize(("dim", "num_particles"), [(2, 10), (10, 100), (20, 200)])
def test_converges_to_the_optimal_mean_field(dim: int, num_particles: int) -> None:
    model, x = make_double(dim, 4)
    found = fit_local(model, Local(MeanField(dim), 4).double(), x, num_particles=num_particles)
    guide, converged = found.guide, found.converged
    assert converged is not None and converged.all() and found.num_steps.max() < 5000
    short = shortfall(model, x, guide) - model.mean_field_gap()
    assert short.min() > -1e-9 and short.max() < 1e-3, short
    ratio = guide.q(torch.arange(4)).variance.detach() * model.precision().diagonal()
    assert (ratio - 1).abs().max() < 0.01, ratio


@pytest.mark.parametrize(
    ("family", "dim", "within"),
    [
        (FullRank, 2, 1e-6),
        (FullRank, 10, 1e-6),
        (lambda dim: LowRank(dim, dim), 3, 1e-6),
        (SplineFlow, 2, 0.02),  # draws seldom reach the splines' ends, the slower for it
    ],
)
def test_a_family_that_holds_the_posterior_finds_it(
    family: Callable[[int], Family], dim: int, within: float
) -> None:
    model, x = make_double(dim)
    found = fit_local(model, Local(family(dim), 10).double(), x, num_particles=10)
    guide, converged = found.guide, found.converged
    assert converged is not None and converged.all()
    est = log_evidence(model, guide, x, Importance(num_particles=1000))
    short = model.log_px(x) - est.elbo  # without noise of its own where q is exact
    assert short.abs().max() < within and est.elbo_error.max() < within**0.5, (
        short,
        est.elbo_error,
    )


@pytest.mark.usefixtures("quick_convergence")
def test_each_datum_stops_by_itself() -> None:
    model, x = make_double(3, 200)
    x[:100] = x[0]
    started = Local(MeanField(3), 200).double()
    with torch.no_grad():
        q = model.optimal_mean_field(x)
        started.table[:100] = torch.cat([q.mean, q.variance.log() / 2], -1)[:100]
    steps = fit_local(model, started, x).num_steps.double()
    assert len(steps.unique()) > 5
    assert steps[:100].mean() < steps[100:].mean()  # the first hundred had nothing to do


@pytest.mark.usefixtures("quick_convergence")
def test_warm_start_is_what_the_encoder_says() -> None:
    model, x = make()
    amortized = Amortized(FullRank(3), MLP(6, (8,)))
    local = Local.started_at(amortized, x)
    torch.testing.assert_close(local.q(torch.arange(20)).mean, amortized.q(x).mean)
    flow = Local.started_at(amortized, x, SplineFlow(3))
    torch.testing.assert_close(flow.table[:, :6], amortized.params(x)[:, :6])
    with pytest.raises(ValueError, match="family: got 2 units"):
        Local.started_at(amortized, x, MeanField(2))
    before = shortfall(model, x, local)
    assert (shortfall(model, x, fit_local(model, local, x).guide) < before).all()


def test_an_optimum_is_a_start_that_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = make_double(3, 6)
    first = fit_local(model, Local(FullRank(3), 6).double(), x)  # the posterior: nothing is better
    full = first.guide
    flow = Local.started_at(full, x, SplineFlow(3))
    shared = FullRank(3).num_params
    assert torch.equal(flow.table[:, :shared], full.table) and not flow.table[:, shared:].any()
    start = flow.table.detach().clone()
    monkeypatch.setattr(converge, "PATIENCE", (1, 1, 1, 1, 1))  # there is nothing to find
    both = fit_local(model, flow, x, earlier=first)
    kept = (flow.table == start).all(1)
    est = log_evidence(model, flow, x, Importance(num_particles=1000))
    short = model.log_px(x) - est.elbo
    assert (
        kept.any()
        and (short[kept].abs() < 1e-6).all()
        and (short[~kept] < 5 * est.elbo_error[~kept]).all()
    )
    assert (both.num_steps > first.num_steps).all() and both.seconds > first.seconds
    with pytest.raises(ValueError, match="got one of 6 rows for 2 data"):
        Local.started_at(full, x[:2])
    with pytest.raises(ValueError, match="earlier: got an optimum of 6 data"):
        fit_local(model, Local(FullRank(3), 2).double(), x[:2], earlier=first)
    with pytest.raises(ValueError, match="earlier: it belongs to a run to convergence"):
        fit_local(model, flow, x, earlier=first, num_steps=5)
    with pytest.raises(ValueError, match="earlier: got Local"):
        fit_local(model, flow, x, earlier=full)  # type: ignore[arg-type]


def test_a_fixed_number_of_steps_is_counted_and_vouches_for_nothing() -> None:
    model, x = make()
    loss = Trace_ELBO(num_particles=3)
    found = fit_local(model, Local(MeanField(3), 20), x, num_steps=7, loss=loss)
    assert (found.num_steps == 7).all() and (found.num_evaluations == 21).all()
    assert found.converged is None and found.summary()["share_converged"] is None
    assert "not known whether it converged" in repr(found)


@pytest.mark.usefixtures("quick_convergence")
def test_what_convergence_took_is_counted() -> None:
    model, x = make()
    once, twice = (fit_local(model, Local(MeanField(3), 20), x, num_particles=k) for k in (1, 2))
    assert torch.equal(once.num_evaluations, once.num_steps)
    assert torch.equal(twice.num_evaluations, 2 * twice.num_steps)


def folded(x: torch.Tensor, index: object = None) -> None:
    """x depends on |z|: two modes of the posterior, of which one is deeper."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("latent", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        pyro.sample("obs", dist.Normal(z.abs() + 0.2 * z, 0.1).to_event(1), obs=x)


@pytest.mark.usefixtures("quick_convergence")
def test_restarts_find_the_deeper_mode() -> None:
    x = torch.full((16, 1), 1.2)  # z = 1 or z = -1.5
    start = Local(MeanField(1), 16)
    with torch.no_grad():
        start.table.copy_(torch.tensor([-0.8, -1.0]))
    once = fit_local(folded, deepcopy(start), x).guide.q(torch.arange(16)).mean
    often = fit_local(folded, deepcopy(start), x, restarts=5).guide.q(torch.arange(16)).mean
    assert (once < 0).all() and (often > 0).double().mean() > 0.4


@pytest.mark.usefixtures("quick_convergence")
def test_both_engines_take_the_same_way_to_convergence(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    monkeypatch.setattr(converge, "_SMALLEST", 1)  # one size, one graph
    model, x = make()
    tables = [
        fit_local(model, Local(MeanField(3), 20), x, engine=e).guide.table  # type: ignore[arg-type]
        for e in ("pyro", "compiled")
    ]
    torch.testing.assert_close(*tables, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "change", [{"restarts": 1, "num_steps": 5}, {"num_particles": 2, "loss": TraceMeanField_ELBO()}]
)
def test_what_belongs_to_convergence(change: dict[str, object]) -> None:
    model, x = make()
    with pytest.raises(ValueError, match="run to convergence"):
        fit_local(model, Local(MeanField(3), 20), x, **change)  # type: ignore[arg-type]
