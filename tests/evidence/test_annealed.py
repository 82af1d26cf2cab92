"""Annealing against the linear-Gaussian model, in which log p(x), every tempered posterior and its
distortion are known.
"""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import nn

from pyro_vae import (
    MLP,
    VAE,
    Amortized,
    HierarchicalGuide,
    HierarchicalVAE,
    LinearGaussian,
    Local,
    MeanField,
    SemiAmortized,
)
from pyro_vae.evidence import (
    Annealed,
    Importance,
    Quadrature,
    likeness,
    log_evidence,
    rate_distortion_curve,
    sandwich,
)
from pyro_vae.evidence.chains import Plan, place, schedule
from pyro_vae.evidence.estimate import standard_error
from pyro_vae.evidence.hmc import adapted, transition
from pyro_vae.evidence.path import Path
from pyro_vae.programs.pair import opened
from pyro_vae.programs.simulation import simulate
from pyro_vae.programs.traces import log_joint, plate_depth, prior, sample_guide


def make(dim: int = 2, num: int = 20) -> tuple[LinearGaussian, torch.Tensor]:
    torch.manual_seed(0)
    model = LinearGaussian(dim + 3, dim, sigma=0.7).double()
    return model, model.sample(num) + 0.7 * torch.randn(num, dim + 3).double()


class Mean(nn.Module):
    """The best mean-field guide, for any x, its deviations times `width`."""

    def __init__(self, model: LinearGaussian, width: float = 1.0) -> None:
        super().__init__()
        self.best, self.width = model.optimal_mean_field, width

    def forward(self, x: torch.Tensor, index: Any = None) -> torch.Tensor:
        best = self.best(x)
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample(
                "latent", dist.Normal(best.mean, self.width * best.stddev).to_event(1)
            )


def test_the_schedule_is_even_at_neither_end_and_can_be_read_backwards() -> None:
    betas = schedule(100)
    steps = torch.tensor(betas).diff()
    assert (
        betas[0] == 0
        and betas[-1] == 1
        and (steps > 0).all()
        and steps[50] > 10 * max(steps[0], steps[-1])
    )
    assert [round(100 * place(beta), 6) for beta in betas] == list(range(101))


@pytest.mark.parametrize("start", ["prior", "guide"])
def test_within_its_errors_of_the_exact_value(start: str) -> None:
    model, x = make()
    est = log_evidence(model, Mean(model), x, Annealed(start=start, num_temperatures=150))
    z = (est.log_px + est.log_px_error**2 / 2 - model.log_px(x)) / est.log_px_error
    assert z.abs().max() < 5 and abs(z.mean()) < 5 / len(z) ** 0.5, z
    assert (est.log_px - model.log_px(x)).abs().max() < 0.5
    assert est.method == f"AIS(T=150, K=16, L=5) from the {start}"
    low, high = est.interval(0.999)
    assert ((low < model.log_px(x)) & (model.log_px(x) < high)).double().mean() > 0.9


def test_a_good_guide_saves_temperatures() -> None:
    model, x = make(4)
    errors = [
        log_evidence(model, Mean(model), x, Annealed(50, start)).log_px_error.mean()
        for start in ("prior", "guide")
    ]
    assert errors[1] < errors[0] / 2


def test_forward_is_below_and_reverse_above() -> None:
    model, _ = make(8)
    found = sandwich(
        model,
        None,
        torch.zeros(1, 11).double(),
        num_data=100,
        method=Annealed(num_temperatures=10, num_chains=4),
    )
    exact = model.log_px(found.x)
    for difference in (exact - found.forward.log_px, found.reverse.log_px - exact):
        # ten temperatures are far too few
        assert difference.mean() > 5 * standard_error(difference) > 0
    assert (
        found.gap == pytest.approx(found.gaps.mean().item())
        and found.reverse.upper
        and not found.forward.upper
    )
    more = sandwich(
        model,
        None,
        torch.zeros(1, 11).double(),
        num_data=100,
        method=Annealed(num_temperatures=100, num_chains=4),
    )
    assert abs(more.gap) < found.gap / 3


def test_a_reverse_run_has_an_upper_end_only_and_it_holds() -> None:
    model, _ = make(4)
    found = sandwich(
        model, None, torch.zeros(1, 7).double(), num_data=100, method=Annealed(num_temperatures=30)
    )
    lower, upper = found.reverse.interval(0.9)
    assert torch.isinf(lower).all() and (model.log_px(found.x) <= upper).double().mean() > 0.9
    torch.testing.assert_close(
        upper - found.reverse.log_px, torch.full((100,), math.log(10)).double()
    )
    assert found.reverse.mean_interval(0.9)[1] == pytest.approx(found.reverse.mean + math.log(10))


def test_few_chains_have_no_error_to_be_believed() -> None:
    model, x = make(8, 20)
    est = log_evidence(model, None, x, Annealed(start="prior", num_temperatures=3, num_chains=4))
    assert est.reliable.double().mean() < 0.5


def test_a_guide_whose_density_is_noise_cannot_be_a_start() -> None:
    model, x = make(2, 4)
    semi = SemiAmortized(Amortized(MeanField(2), MLP(5, ())).double(), model, num_steps=2)
    with pytest.raises(ValueError, match="differs from run to run"):
        log_evidence(model, semi, x, Annealed(num_temperatures=5))
    auto = AutoNormal(model)
    auto(x)
    with pytest.raises(ValueError, match="auxiliary sites"):
        log_evidence(model, auto, x, Annealed(num_temperatures=5))


def test_real_data_are_set_beside_the_simulated() -> None:
    model, x = make(2, 60)
    found = sandwich(model, None, x, num_data=60, method=Annealed(num_temperatures=10))
    own = log_evidence(model, None, x, Annealed(start="prior", num_temperatures=10))
    alike = likeness(model, Mean(model), x, found, own)
    assert alike.alike and alike.verdict.startswith("alike: real")
    assert alike.distances.keys() == {"elbo", "rate", "acceptance"}
    other = likeness(model, Mean(model), 5 * x, found)
    assert not other.alike and other.distances["elbo"] < -0.5


def test_a_transition_leaves_the_tempered_density_as_it_is() -> None:
    model, x = make(2, 3)
    beta = 0.3
    precision = torch.eye(2).double() + beta * model.loading.T @ model.loading / 0.49
    exact = dist.MultivariateNormal(
        torch.linalg.solve(precision, beta * (x - model.mean) @ model.loading / 0.49, left=False),
        precision_matrix=precision,
    )
    with opened(model, None, x, seed=1) as pair:
        path = Path(pair)
        point = path.at(exact.sample((4000,)).detach())
        scale, step = torch.ones(3, 2).double(), torch.full((3,), 0.5).double()
        for _ in range(3):
            point, chance = transition(path, point, beta, step, scale, 5)
    assert 0.5 < chance.mean() < 0.999
    error = exact.stddev / 4000**0.5
    assert ((point.z.mean(0) - exact.mean).abs() < 5 * error).all()
    assert ((point.z.var(0) / exact.variance - 1).abs() < 5 * (2 / 4000) ** 0.5).all()


def test_step_sizes_move_towards_the_target() -> None:
    low, high = torch.zeros(4, 2), torch.ones(4, 2)
    assert (adapted(torch.zeros(2), low, 0.1) < 0).all()
    assert (adapted(torch.zeros(2), high, 0.1) > 0).all()


def test_each_datum_has_a_step_size_of_its_own() -> None:
    class Uneven(LinearGaussian):
        def forward(self, x: torch.Tensor, index: Any = None) -> torch.Tensor:
            width = torch.where(x[:, :1] > 0, 0.02, 1.0)
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("latent", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("obs", dist.Normal(torch.zeros(2) + z, width).to_event(1), obs=x[:, 1:])
            return z

    x = torch.tensor([[1.0, 0.3, -0.2], [-1.0, 0.3, -0.2]])
    est = log_evidence(Uneven(3, 2), None, x, Annealed(start="prior", num_temperatures=200))
    variance = torch.tensor([[1 + 0.02**2], [2.0]])
    truth = dist.Normal(torch.zeros(2), variance.sqrt()).log_prob(x[:, 1:]).sum(1)
    assert (est.acceptance > 0.5).all()
    assert ((est.log_px - truth).abs() < 5 * est.log_px_error + 0.01).all(), (
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
    est = log_evidence(model, None, x, Annealed(start="prior", num_temperatures=100))
    assert ((est.log_px - truth).abs() < 5 * est.log_px_error).all(), (est.log_px, truth)
    found = sandwich(model, None, x, num_data=20, method=Annealed(num_temperatures=100))
    exact = dist.MultivariateNormal(torch.zeros(3), covariance).log_prob(found.x)
    z = (found.reverse.log_px - exact) / found.reverse.log_px_error
    assert z.abs().max() < 6 and abs(found.gap) < 0.2


def test_packing_follows_the_densities() -> None:
    def model(x: torch.Tensor, index: Any = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            a = pyro.sample("a", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            with pyro.plate("columns", 3, dim=-2):
                b = pyro.sample("b", dist.Normal(torch.zeros(4), 0.5).to_event(1))
                pyro.sample("y", dist.Normal(a.sum(-1) + b.sum(-1), 0.3), obs=x.T)

    x, index = torch.randn(5, 3), torch.arange(5)
    with opened(model, None, x) as pair:
        path = Path(pair)
    depth = plate_depth(model, prior(model), x)
    latents, _ = sample_guide(prior(model), x, index, 7, depth)
    z = path.layout.pack(latents)
    assert z.shape == (7, 5, 14) and path.size == 14
    torch.testing.assert_close(path.layout.unpack(z)["b"], latents["b"])
    joint = sum(log_joint(model, latents, x, index, depth))
    torch.testing.assert_close(path.densities(z)[1], joint)
    one, simulated = simulate(model, x)
    again = path.layout.unpack(path.layout.pack_one(one))
    assert (
        again["b"].shape == (1, 3, 5, 4)
        and torch.equal(again["b"][0], one["b"])
        and simulated.shape == x.shape
    )


def test_a_hierarchical_model_by_annealing_and_by_importance() -> None:
    torch.manual_seed(0)
    model = HierarchicalVAE((6,), 2, 3, (8,), (8,))
    guide = HierarchicalGuide((6,), 2, 3, (8,), (8,))
    x = torch.bernoulli(model.sample(6))
    chains = log_evidence(model, None, x, Annealed(start="prior", num_temperatures=100))
    weights = log_evidence(model, guide, x, Importance(num_particles=20_000))
    error = (chains.log_px_error**2 + weights.log_px_error**2).sqrt()
    assert ((chains.log_px - weights.log_px).abs() < 5 * error + 0.01).all(), (
        chains.log_px,
        weights.log_px,
    )


def test_both_engines_agree() -> None:
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
    model, x = make(2, 7)
    monkeypatch.setattr("pyro_vae.evidence.annealed._ROWS", 48)  # three data at once
    done: list[int] = []
    est = log_evidence(
        model, None, x, Annealed(start="prior", num_temperatures=100), progress=done.append
    )
    assert done == [3, 3, 1] and est.log_px.shape == (7,)
    z = (est.log_px - model.log_px(x)) / est.log_px_error
    assert z.abs().max() < 5


def test_seeded_and_the_caller_s_state_is_untouched() -> None:
    model, x = make(2, 3)
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
    model, x = make(2, 3)
    est = log_evidence(
        model, None, x, Annealed(start="prior", num_temperatures=100_000, budget=1.5)
    )
    assert 10 <= est.plan.num_temperatures < 100_000 and est.seconds < 15
    assert log_evidence(
        model, None, x, Annealed(start="prior", num_temperatures=20, budget=1e6)
    ).plan == Plan(20, 16, 5)


def test_the_rate_distortion_curve_in_closed_form() -> None:
    model, x = make(2, 10)
    curve = rate_distortion_curve(
        model, x, num_points=5, method=Annealed(start="prior", num_temperatures=400, num_chains=32)
    )
    assert curve.beta[-1] == 1 and curve.rate.shape == (5, 10)
    noise = 0.49
    for beta, rate, distortion in zip(curve.beta, curve.rate, curve.distortion, strict=True):
        precision = torch.eye(2).double() + beta * model.loading.T @ model.loading / noise
        mean = torch.linalg.solve(
            precision, beta * (x - model.mean) @ model.loading / noise, left=False
        )
        q = dist.MultivariateNormal(mean, precision_matrix=precision)
        truth = torch.distributions.kl_divergence(
            q, dist.MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
        )
        squared = ((x - model.mean - mean @ model.loading.T) ** 2).sum(1) + torch.trace(
            model.loading @ q.covariance_matrix[0] @ model.loading.T
        )
        cost = squared / (2 * noise) + 2.5 * torch.log(torch.tensor(2 * torch.pi * noise))
        assert abs((rate - truth).mean()) < 0.1 + 0.05 * truth.mean(), (beta, rate, truth)
        assert abs((distortion - cost).mean()) < 0.1 + 0.05 * cost.mean(), (beta, distortion, cost)
    method = Annealed(400, "prior", num_chains=32)
    log_px = log_evidence(model, None, x, method).log_px
    torch.testing.assert_close((curve.rate + curve.distortion)[-1], -log_px)


def positive(x: torch.Tensor, index: Any = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("latent", dist.Gamma(2.0, 1.0).expand([1]).to_event(1))
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
        ({"model": positive, "x": torch.ones(2, 1)}, "real-valued"),
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


def test_simulated_data_come_with_rows_in_every_run() -> None:
    offsets = torch.tensor([-3.0, 0.0, 3.0, 50.0])
    seen = []

    def model(x: torch.Tensor, index: torch.Tensor) -> None:
        seen.append(index.max().item())
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([1]).to_event(1))
            pyro.sample("obs", dist.Normal(z + offsets[index][:, None], 1.0).to_event(1), obs=x)

    method = Annealed(10, num_chains=4, engine="pyro")
    found = sandwich(model, None, torch.zeros(3, 1), num_data=7, method=method)  # type: ignore[arg-type]
    assert found.index.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert max(seen) == 2
    exact = dist.Normal(offsets[found.index], 2**0.5).log_prob(found.x[:, 0])
    assert (found.forward.log_px - exact).abs().max() < 3

    other = sandwich(
        model, None, torch.zeros(2, 1), torch.tensor([3, 0]), num_data=4, method=method
    )  # type: ignore[arg-type]
    assert other.index.tolist() == [3, 0, 3, 0]
    assert (other.x[[0, 2]] > 30).all() and (other.x[[1, 3]] < 10).all()
    with pytest.raises(
        ValueError, match=r"index: got torch.int64 \(3,\), expected integers of shape \(2,\)"
    ):
        sandwich(model, None, torch.zeros(2, 1), torch.arange(3), num_data=4, method=method)  # type: ignore[arg-type]


def test_a_table_cannot_answer_for_simulated_data() -> None:
    model, x = make(2, 3)
    with pytest.raises(ValueError, match="answers for any x"):
        sandwich(model, Local(MeanField(2), 3).double(), x)
    assert (log_evidence(model, None, x, Quadrature()).log_px - model.log_px(x)).abs().max() < 1e-10
