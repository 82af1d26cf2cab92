"""Discrete latents that are marked are summed out, held to sums by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO, config_enumerate
from torch import Tensor

import pyro_vae as pv
from pyro_vae.programs.pair import opened
from pyro_vae.programs.traces import log_joint, prior, without_choices
from tests.programs.mixed import (
    MARK,
    alone,
    answer,
    chain,
    chain_exact,
    clusters,
    clusters_exact,
    nothing,
    plate,
    rows,
    rows_exact,
)
from tests.scenarios import eager


@pytest.fixture(autouse=True)
def _no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)


def numbers(*shape: int) -> Tensor:
    torch.manual_seed(0)
    return 2 * torch.randn(*shape, dtype=torch.float64)


X = numbers(5, 1)


def test_several_choices_and_rows_of_them() -> None:
    x, z = numbers(5, 4), numbers(7, 5).flip(0)
    log_prior, log_likelihood = log_joint(rows, {"z": z[:, None]}, x, None, 2)
    prior_by_hand, joint_by_hand = rows_exact(x, z)
    assert (log_prior - prior_by_hand).abs().max() < 1e-12
    assert (log_prior + log_likelihood - joint_by_hand).abs().max() < 1e-11


@pytest.mark.parametrize("num_data", [1, 5])
def test_a_chain_of_states_has_the_forward_algorithm(num_data: int) -> None:
    x, shift = 4 * numbers(num_data, 12), numbers(3, num_data)
    log_prior, log_likelihood = log_joint(chain, {"shift": shift}, x, None, 1)
    assert (log_prior - dist.Normal(0.0, 1.0).log_prob(shift)).abs().max() < 1e-12
    assert (log_likelihood / chain_exact(x, shift) - 1).abs().max() < 1e-12


def test_sums_do_not_underflow() -> None:
    """Two observations that agree on no state, far apart: the sum is of terms like exp(-400)."""

    def apart(x: Tensor, index: Any = None) -> None:
        with plate(x):
            k = pyro.sample("k", dist.Categorical(torch.ones(2)), infer=MARK)
            pyro.sample("one", dist.Normal(20.0 * k, 0.5), obs=x[:, 0])
            pyro.sample("two", dist.Normal(20.0 * k, 0.5), obs=x[:, 1])

    found = pv.log_weights(apart, nothing, torch.tensor([[0.0, 20.0]]))
    expected = -800 - 2 * math.log(0.5) - math.log(2 * math.pi)
    assert found.item() == pytest.approx(expected)


def test_evidence_by_each_method() -> None:
    exact = clusters_exact(X)
    found = pv.log_evidence(clusters, answer, X, pv.Importance(2000))
    assert ((found.log_px - exact).abs() < 5 * found.log_px_error).all()
    # the mean is that of q, and draws of the guide have no states
    assert (found.elbo < exact).all() and found.log_px_error.max() < 0.1

    for guide, start in ((answer, "guide"), (None, "prior")):
        method = pv.Annealed(20, start, num_chains=8)  # type: ignore[arg-type]
        annealed = pv.log_evidence(clusters, guide, X[:1], method)
        assert ((annealed.log_px - exact[:1]).abs() < 5 * annealed.log_px_error).all()
    grid = pv.log_evidence(clusters, None, X[:1], pv.Quadrature(51))
    assert (grid.log_px - exact[:1]).abs().max() < 1e-6


def test_the_prior_is_a_guide_without_the_choices() -> None:
    torch.manual_seed(0)
    log_w = pv.log_weights(clusters, prior(clusters), X, num_particles=4000)
    weights = (log_w - clusters_exact(X)).exp()
    error = weights.std(0) / 4000**0.5
    assert ((weights.mean(0) - 1).abs() < 5 * error).all() and (error < 0.2).all()
    both = pv.log_evidence(clusters, answer, X, pv.Importance(2000, defensive=0.3))
    assert ((both.log_px - clusters_exact(X)).abs() < 5 * both.log_px_error).all()


def test_a_model_of_choices_alone_is_exact() -> None:
    found = pv.log_evidence(alone, nothing, X, pv.Importance(100))
    assert (found.log_px - clusters_exact(X)).abs().max() < 1e-12 and not found.log_px_error.any()
    assert (found.elbo - clusters_exact(X)).abs().max() < 1e-12


def test_it_is_trace_enum_elbo_s_loss() -> None:
    x = numbers(5, 4)

    def guide(x: Tensor, index: Any = None) -> None:
        loc = pyro.param("loc", torch.zeros((), dtype=torch.float64))
        with plate(x):
            pyro.sample("z", dist.Normal(loc + x[:, 0], 0.8))

    losses, slopes = [], []
    summed = without_choices(rows, guide, x)
    for model, loss in ((rows, TraceEnum_ELBO), (summed, Trace_ELBO)):
        elbo = loss(max_plate_nesting=3, num_particles=3, vectorize_particles=True)
        torch.manual_seed(0)
        losses.append(elbo.loss_and_grads(model, guide, x))
        parameter = pyro.get_param_store()._params["loc"]
        slopes.append(parameter.grad.clone())
        parameter.grad = None
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    assert slopes[0].item() == pytest.approx(slopes[1].item(), rel=1e-9)


def test_a_choice_that_is_masked_out_was_not_made() -> None:
    """Labels of some data: log p(x, y) of those, log p(x) of the others."""
    labels = torch.tensor([0, 1, 2, 0, 1])
    seen = torch.tensor([True, False, True, False, False])

    def half(x: Tensor, index: Any = None) -> None:
        with plate(x):
            shares = dist.Categorical(x.new_tensor((0.2, 0.5, 0.3)))
            k = pyro.sample("k", shares, obs=labels[index], obs_mask=seen[index])
            pyro.sample("obs", dist.Normal(x.new_tensor((-2.0, 0.0, 3.0))[k], 1.0), obs=x[:, 0])

    found = pv.log_weights(config_enumerate(half), nothing, X)[0]
    each = torch.tensor((0.2, 0.5, 0.3), dtype=torch.float64).log()
    each = each + dist.Normal(X.new_tensor((-2.0, 0.0, 3.0)), 1.0).log_prob(X)
    expected = torch.where(seen, each[torch.arange(5), labels], torch.logsumexp(each, -1))
    assert (found - expected).abs().max() < 1e-12


def test_a_latent_outside_of_all_states_supports_weighs_nothing() -> None:
    def bounded(x: Tensor, index: Any = None) -> None:
        with plate(x):
            k = pyro.sample("k", dist.Categorical(torch.ones(2)), infer=MARK)
            z = pyro.sample("z", dist.Uniform(2.0 * k, 2.0 * k + 1))
            pyro.sample("obs", dist.Normal(z, 1.0), obs=x[:, 0])

    z = torch.tensor([[0.5, 1.5, 2.5, 3.5, 0.1]], dtype=torch.float64)
    log_prior, log_likelihood = log_joint(bounded, {"z": z}, X, None, 1)
    inside = torch.tensor([True, False, True, False, True])
    expected = torch.where(inside, math.log(0.5), -math.inf)
    assert torch.allclose(log_prior[0].float(), expected)
    assert torch.equal(log_likelihood[0].isfinite(), inside)


def test_a_choice_that_the_guide_draws_is_scored() -> None:
    def both(x: Tensor, index: Any = None) -> None:
        with plate(x):
            pyro.sample("k", dist.Categorical(torch.ones(3)), infer=MARK)
            pyro.sample("z", dist.Normal(0.8 * x[:, 0], 0.8))

    torch.manual_seed(0)
    weights = (pv.log_weights(clusters, both, X, num_particles=4000) - clusters_exact(X)).exp()
    error = weights.std(0) / 4000**0.5
    assert ((weights.mean(0) - 1).abs() < 5 * error).all()
    own = (pv.log_weights(clusters, answer, X, num_particles=4000) - clusters_exact(X)).exp()
    assert (weights.var(0) > 2 * own.var(0)).all()  # what the sum saves


@pytest.mark.parametrize(
    ("loss", "engine"),
    [
        (Trace_ELBO(), "pyro"),
        (Trace_ELBO(), "compiled"),
        (TraceEnum_ELBO(max_plate_nesting=1), "pyro"),
    ],
)
def test_fit_takes_the_steps_of_stock_svi_with_trace_enum_elbo(loss: Any, engine: Any) -> None:
    x = numbers(16, 1).float()

    def guide(x: Tensor, index: Any = None) -> None:
        at, scale = pyro.param("at", torch.zeros(2)), pyro.param("scale", torch.zeros(()))
        with plate(x):
            pyro.sample("z", dist.Normal(at[0] + at[1] * x[:, 0], scale.exp()))

    def stock() -> Tensor:
        pyro.clear_param_store()
        torch.manual_seed(0)
        adam = pyro.optim.Adam({"lr": 0.01})
        svi = SVI(clusters, guide, adam, TraceEnum_ELBO(max_plate_nesting=1))
        for _ in range(6):
            svi.step(x)
        return pyro.param("at").detach().clone()

    pyro.clear_param_store()
    run = pv.fit(
        clusters,
        guide,
        x,
        valid=0,
        epochs=6,
        batch_size=16,
        loss=loss,
        engine=engine,
        warmup_epochs=0,
        clip_norm=None,
        optimizer=lambda p: torch.optim.Adam(p, lr=0.01),
        quiet=True,
    )
    assert run.history[-1]["train_loss"] > 0
    at = pyro.param("at").detach().clone()
    # other noise, and as many steps: the same way within it
    assert (at - stock()).abs().max() < 0.02 and at.abs().min() > 0.02


def test_all_of_the_package_takes_it() -> None:
    x = X.float()
    torch.manual_seed(0)
    guide = pv.Amortized.of(clusters, x, pv.FullRank, pv.MLP(1, (4,)))
    assert guide.family.dim == 1
    found = pv.fit_local(clusters, pv.Local.of(clusters, x, pv.FullRank), x, num_steps=150)
    guides = {"encoder": guide, "steps": pv.SemiAmortized(guide, clusters, 3), "local": found}
    ledger = pv.gap_ledger(clusters, guides, x, method=pv.Importance(100))
    gaps = ledger.to_dataframe().groupby("guide")["elbo"].mean()
    assert gaps["encoder"] < gaps["steps"] < gaps["local"] < clusters_exact(x).mean() + 0.05

    calibrated = pv.check_calibration(clusters, guide, x, num_simulations=40, num_draws=9)
    assert "z[0]" in calibrated.ranks and "k[0]" not in calibrated.ranks
    both = pv.sandwich(clusters, None, x, num_data=3, method=pv.Annealed(10, "prior", 8))
    exact = clusters_exact(both.x)
    assert (both.forward.log_px - exact < 5 * both.forward.log_px_error + 1e-3).all()
    assert (both.reverse.log_px - exact > -5 * both.reverse.log_px_error - 1e-3).all()
    assert pv.latent_units(clusters, guide, x) is not None


def test_states_make_blocks_smaller() -> None:
    with opened(chain, None, numbers(3, 5)) as pair:
        assert pair.states == 9 and pair.take(torch.arange(1)).states == 9
    with opened(alone, nothing, X) as pair:
        assert pair.states == 3


def test_a_run_is_resumed_to_the_last_bit(tmp_path: Path) -> None:
    x = X.float().repeat(4, 1)
    ends = []
    for parts in ((4,), (2, 4)):
        pyro.clear_param_store()
        torch.manual_seed(0)
        folder = tmp_path / str(len(parts))
        for epochs in parts:
            torch.manual_seed(0)
            guide = pv.Amortized.of(clusters, x, pv.FullRank, pv.MLP(1, (4,)))
            options: dict[str, Any] = {"folder": folder, "resume": epochs == 4 and len(parts) == 2}
            pv.fit(
                clusters, guide, x, valid=0, epochs=epochs, warmup_epochs=0, quiet=True, **options
            )
        ends.append(torch.cat([p.detach().flatten() for p in guide.parameters()]))
    assert torch.equal(*ends)
