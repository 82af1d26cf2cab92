"""Gaussians that are fitted to posteriors, against the Gaussians that they are."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_vae as pv
from pyro_vae.evidence import refining
from pyro_vae.evidence.gaussians import Around, Gaussians, standard_normal
from pyro_vae.evidence.path import Path
from pyro_vae.evidence.refining import fitted, starts
from pyro_vae.programs.pair import opened
from pyro_vae.programs.traces import prior
from tests.evidence.test_methods import Hidden
from tests.scenarios import Distorted, eager, linear_gaussian


def fit(guide: Any, x: Tensor, model: Any, num_steps: int = 300, num_draws: int = 8) -> Gaussians:
    with opened(model, guide, x, seed=0) as pair:
        start, numbers = starts(pair, 0), {"num_steps": num_steps, "num_draws": num_draws}
        return fitted(pair, start, 0, "pyro", **numbers)


def test_the_fit_ends_at_the_posterior() -> None:
    model, x = linear_gaussian(5, 3)
    found, exact = fit(Distorted(model, 0.4, 1.5), x, model), model.posterior(x)
    away = (found.mean - exact.mean) / exact.stddev
    assert found.is_full and away.abs().max() < 0.05
    whitened = torch.linalg.solve_triangular(
        exact.scale_tril.expand_as(found.root), found.root, upper=False
    )
    torch.testing.assert_close(
        whitened, torch.eye(3).double().expand_as(whitened), atol=0.03, rtol=0
    )


def test_many_latents_get_a_diagonal_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best factorised q has the diagonal of the precision."""
    monkeypatch.setattr(refining, "_LARGEST", 2)
    model, x = linear_gaussian(5, 3)
    found, exact = fit(Distorted(model, 0.4, 1.5), x, model), model.posterior(x)
    deviations = exact.precision_matrix.diagonal(dim1=-2, dim2=-1).rsqrt()
    torch.testing.assert_close(
        found.root, deviations.expand_as(found.root).to(found.root), atol=0, rtol=0.05
    )
    assert (((found.mean - exact.mean) / exact.stddev).abs().max()) < 0.05


@pytest.mark.parametrize("full", [True, False])
def test_the_path_of_a_gaussian_is_the_path_seen_from_it(full: bool) -> None:
    model, x = linear_gaussian(4, 3)
    torch.manual_seed(0)
    root = torch.rand(4, 3, 3).double().tril() + torch.eye(3) if full else torch.rand(4, 3) + 0.5
    shape = Gaussians(torch.randn(4, 3).double(), root.double())
    with opened(model, None, x) as pair:
        path, around = Path(pair), Around(pair, shape)
        u = around.draw(6)
        z = shape.at(u)
        q = (
            dist.MultivariateNormal(shape.mean, scale_tril=shape.root)
            if full
            else dist.Normal(*shape).to_event(1)
        )
        start, joint = around.densities(u)
        torch.testing.assert_close(start - shape.log_volume, q.log_prob(z))
        torch.testing.assert_close(joint - shape.log_volume, path.densities(z)[1])
        torch.testing.assert_close(around.place(z), u)

        some = around.take(torch.tensor([2, 0]))
        torch.testing.assert_close(some.densities(u[:, [2, 0]])[1], joint[:, [2, 0]])
        point = around.at(u)
        torch.testing.assert_close(point.log_joint, joint)
        moved = around.densities(u + 1e-6)[1] - around.densities(u - 1e-6)[1]
        torch.testing.assert_close(point.grad_joint.sum(-1), moved / 2e-6, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(point.grad_start, -u)
    torch.testing.assert_close(standard_normal(2 * u, 2.0), start - 3 * math.log(2))


def test_a_gaussian_within_another_is_the_one_that_both_make() -> None:
    torch.manual_seed(0)
    u, lower = torch.randn(7, 2, 3), torch.rand(2, 3, 3).tril() + torch.eye(3)
    outer = Gaussians(torch.randn(2, 3), torch.rand(2, 3) + 0.5)
    full = Gaussians(outer.mean, lower)
    for inner in (
        Gaussians(torch.randn(2, 3), torch.rand(2, 3)),
        Gaussians(torch.randn(2, 3), lower),
    ):
        for one in (outer, full):
            torch.testing.assert_close(inner.within(one).at(u), one.at(inner.at(u)))


@pytest.mark.parametrize("engine", ["pyro", "compiled"])
def test_log_px_is_that_of_the_closed_form(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a guide whose own weights are 7 nats low; through graphs, which no compiler sees, too."""
    eager(monkeypatch)
    model, x = linear_gaussian(20, 3)
    method = pv.Refined(2000, num_steps=120, engine=engine)
    found = pv.log_evidence(Hidden(model), Distorted(model, 0.4, 1.5), x, method)
    off = (found.log_px - model.log_px(x)) / found.log_px_error
    assert found.reliable.all() and off.abs().max() < 4 and found.log_px_error.max() < 0.06
    assert found.method == "refined(S=2000)"
    again = pv.log_evidence(Hidden(model), Distorted(model, 0.4, 1.5), x, method)
    assert torch.equal(again.log_px, found.log_px)


def test_intervals_of_refined_weights_cover() -> None:
    model, x = linear_gaussian(1, 2)
    x, exact = x.expand(300, -1).contiguous(), model.log_px(x)
    found = pv.log_evidence(
        model, Distorted(model, 1.3, 1.0), x, pv.Refined(400, num_steps=30, num_draws=2)
    )
    lower, upper = found.interval(0.95)
    held = ((lower <= exact) & (exact <= upper))[found.reliable].double()
    assert found.reliable.double().mean() > 0.9
    assert held.mean() > 0.95 - 5 * math.sqrt(0.95 * 0.05 / len(held))


def test_chains_from_a_refined_gaussian_need_few_temperatures() -> None:
    model, x = linear_gaussian(10, 3)
    guide, exact = Distorted(model, 0.4, 1.5), model.log_px(x)
    spreads = {}
    for start in ("guide", "refined"):
        method = pv.Annealed(10, start)  # type: ignore[arg-type]
        found = pv.log_evidence(model, guide, x, method)
        assert ((found.log_px - exact).abs() < 5 * found.log_px_error).all()
        spreads[start] = found.log_weights.std(0).median().item()
    assert spreads["refined"] < 0.3 * spreads["guide"]
    assert found.method == "AIS(T=10, K=16, L=5) from refined Gaussians"

    both = pv.sandwich(model, guide, x, num_data=20, method=pv.Annealed(10, "refined"))
    assert abs(both.gap) < 5 * both.gap_error + 0.02
    with pytest.raises(ValueError, match="expected start='prior'"):
        pv.rate_distortion_curve(model, x, method=pv.Annealed(10, "refined"))


def test_latents_in_bounds_and_in_several_sites() -> None:
    """x = s z + noise, s positive: against quadrature over both."""

    def model(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            s = pyro.sample("s", dist.LogNormal(0.0, 0.3))
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("obs", dist.Normal((s * z)[..., None], 0.3).to_event(1), obs=x)

    def guide(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("s", dist.LogNormal(0.0, 0.3))
            pyro.sample("z", dist.Normal(x[:, 0], 0.3))

    x = torch.tensor([[0.3], [-1.0], [1.5]])
    exact = pv.log_evidence(model, None, x, pv.Quadrature())
    found = pv.log_evidence(model, guide, x, pv.Refined(2000, num_steps=100))
    assert ((found.log_px - exact.log_px).abs() < 5 * found.log_px_error).all()
    assert found.log_px_error.max() < 0.05


def test_a_gaussian_that_misses_a_mode_vouches_for_nothing() -> None:
    def model(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 3.0).to_event(1))
            pyro.sample("obs", dist.Normal(z.abs(), 0.3).to_event(1), obs=x)

    def guide(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x, 0.3).to_event(1))

    x = 2.0 + 0.3 * torch.randn(5, 2)
    found = pv.log_evidence(model, guide, x, pv.Refined(400, num_steps=30))
    assert found.blind.all() and not found.reliable.any()


def test_discrete_latents_are_refused() -> None:
    def model(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Poisson(2.0))
            pyro.sample("obs", dist.Normal(z[..., None], 1.0).to_event(1), obs=x)

    with pytest.raises(ValueError, match="is discrete, expected real numbers"):
        pv.log_evidence(model, prior(model), torch.zeros(3, 1), pv.Refined(10))
