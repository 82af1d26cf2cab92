"""The contract of every guide: add a row to GUIDES and all of this runs on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from torch import nn

from pyro_vae import (
    MLP,
    Amortized,
    AutoregressiveFlow,
    EncoderGuide,
    ExactGuide,
    Family,
    FullRank,
    GatedMLP,
    LinearGaussian,
    Local,
    LowRank,
    MeanField,
    SemiAmortized,
    SplineFlow,
    log_evidence,
    particles,
)
from pyro_vae.evidence import Importance
from tests.written import ROOT, block

SIZE, DIM, NUM = 6, 3, 7


def from_docs(model: LinearGaussian) -> nn.Module:
    """The guide that docs/extending.md adds, built as it says."""
    names: dict[str, Any] = {}
    exec(block(ROOT / "docs" / "extending.md", "HeavyTailedGuide"), names)
    guide: nn.Module = names["HeavyTailedGuide"]((SIZE,), DIM)
    return guide


GUIDES: dict[str, Callable[[LinearGaussian], nn.Module]] = {
    "amortized": lambda model: Amortized(MeanField(DIM), MLP(SIZE, (16,))),
    "encoder": lambda model: EncoderGuide((SIZE,), DIM, (16,), encoder=GatedMLP),
    "local": lambda model: Local(MeanField(DIM), NUM),
    "exact": ExactGuide,
    "amortized full-rank": lambda model: Amortized(FullRank(DIM), MLP(SIZE, (16,))),
    "local low-rank": lambda model: Local(LowRank(DIM, 2), NUM),
    "local flow": lambda model: Local(SplineFlow(DIM, 4), NUM),
    "amortized flow": lambda model: Amortized(SplineFlow(DIM), MLP(SIZE, (16,))),
    "autoregressive": lambda model: AutoregressiveFlow(DIM, MLP(SIZE, (16,)), hidden=(16,)),
    "from the docs": from_docs,
    "semi-amortized": lambda model: SemiAmortized(
        Amortized(MeanField(DIM), MLP(SIZE, (16,))), model, 3
    ),
    "semi-amortized, through": lambda model: SemiAmortized(
        Amortized(FullRank(DIM), MLP(SIZE, (16,))), model, 3, through=True
    ),
}
NOISY = {name for name in GUIDES if name.startswith("semi")}  # q itself is drawn anew at each run
FAMILIES: dict[str, Callable[[int], Family]] = {
    "mean-field": MeanField,
    "low-rank": lambda dim: LowRank(dim, 2),
    "full-rank": FullRank,
    "spline flow": SplineFlow,
}
CLOSE = {"low-rank"}  # to N(0, I) at the start, where it would be at a saddle


def make_pair(name: str) -> tuple[LinearGaussian, nn.Module, torch.Tensor]:
    model = LinearGaussian(SIZE, DIM)
    return model, GUIDES[name](model), torch.randn(NUM, SIZE)


@pytest.fixture(params=GUIDES)
def pair(request: pytest.FixtureRequest) -> tuple[LinearGaussian, nn.Module, torch.Tensor]:
    return make_pair(request.param)


def test_sites_and_shapes(pair: tuple[LinearGaussian, nn.Module, torch.Tensor]) -> None:
    _, guide, x = pair
    trace = poutine.trace(guide).get_trace(x, torch.arange(NUM))
    trace.compute_log_prob()
    assert trace.nodes["latent"]["value"].shape == (NUM, DIM)
    assert trace.nodes["latent"]["log_prob"].shape == (NUM,)
    assert trace.nodes["data"]["fn"].size == NUM


@pytest.mark.parametrize("name", sorted(GUIDES.keys() - NOISY))
def test_particles_are_those_of_the_datum(name: str) -> None:
    model, guide, x = make_pair(name)
    index = torch.tensor([5, 2])
    draws = particles(model, guide, x[index], index, 10_000)
    assert draws.log_weights.shape == (10_000, 2)
    alone = log_evidence(model, guide, x, Importance(num_particles=10_000, seed=1))
    for name, whole in (("elbo", alone.elbo), ("rate", alone.rate)):
        own = draws.log_weights if name == "elbo" else draws.log_guide - draws.log_prior
        error = (own.var(0) * 2 / len(own)).sqrt() + 1e-5
        assert ((own.double().mean(0) - whole[index]).abs() < 5 * error).all(), name


def test_stock_svi_moves_every_parameter(
    pair: tuple[LinearGaussian, nn.Module, torch.Tensor],
) -> None:
    model, guide, x = pair
    model.requires_grad_(not list(guide.parameters())).eval()
    params = [p for m in (model, guide) for p in m.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in params]
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    for _ in range(3):
        svi.step(x, torch.arange(NUM))
    assert all(not torch.equal(a, b) for a, b in zip(before, params, strict=True))


def test_float64_follows(pair: tuple[LinearGaussian, nn.Module, torch.Tensor]) -> None:
    model, guide, x = pair
    draws = particles(model.double(), guide.double(), x.double(), torch.arange(NUM), 2)
    assert draws.log_weights.dtype == torch.float64


def test_weights_average_to_the_evidence(
    pair: tuple[LinearGaussian, nn.Module, torch.Tensor],
) -> None:
    model, guide, x = pair
    with torch.no_grad():
        model.loading.mul_(0.3)  # healthy weights, so that the standard error can be believed
    est = log_evidence(model, guide, x, Importance(num_particles=10_000))
    # float32's rounding, where the guide is exact
    z = (est.log_px - model.log_px(x)).abs() / (est.log_px_error + 1e-5)
    assert z.max() < 5, (est.log_px, model.log_px(x), est.log_px_error)


@pytest.mark.parametrize("name", FAMILIES)
def test_family_starts_at_the_standard_normal_and_has_the_shapes(name: str) -> None:
    family = FAMILIES[name](DIM)
    q = family(family.standard())
    z = torch.randn(100, DIM)
    off = (q.log_prob(z) - torch.distributions.Normal(0, 1).log_prob(z).sum(-1)).abs().max()
    assert off < (0.1 if name in CLOSE else 1e-5), off
    q = family(0.3 * torch.randn(4, 5, family.num_params))
    assert q.batch_shape == (4, 5) and q.event_shape == (DIM,) and q.has_rsample


@pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES)
def test_family_s_density_at_its_own_draws_is_that_at_a_point(
    make: Callable[[int], Family],
) -> None:
    family = make(DIM)
    q = family(0.5 * torch.randn(4, family.num_params).double())
    z = q.rsample((5,))
    # what was cached, and what is inverted
    torch.testing.assert_close(q.log_prob(z), q.log_prob(z.detach().clone()))


@pytest.mark.parametrize("make", [make for name, make in FAMILIES.items() if name != "mean-field"])
def test_family_ties_the_units_together(make: Callable[[int], Family]) -> None:
    family = make(2)
    q = family(0.7 * torch.randn(family.num_params).double())
    grid = torch.linspace(-12, 12, 1001, dtype=torch.double)
    points = torch.stack(torch.meshgrid(grid, grid, indexing="ij"), -1)
    density = q.log_prob(points).exp()
    cell = (grid[1] - grid[0]) ** 2
    assert abs(density.sum() * cell - 1) < 1e-3
    mean = (density[..., None] * points).sum((0, 1)) * cell
    covariance = torch.einsum("xy,xyi,xyj->ij", density, points - mean, points - mean) * cell
    assert covariance[0, 1].abs() > 1e-2
    draws = q.sample((100_000,))
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - mean).abs() < 5 * error).all()


@pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES)
def test_family_s_density_integrates_to_one(make: Callable[[int], Family]) -> None:
    family = make(1)
    q = family(0.5 * torch.randn(family.num_params).double())
    grid = torch.linspace(-20, 20, 40_001, dtype=torch.double)
    total = torch.trapezoid(q.log_prob(grid[:, None]).exp(), grid).item()
    assert abs(total - 1) < 1e-6, total


def test_gaussian_kl_closed_form_library_and_monte_carlo_agree() -> None:
    q = MeanField(DIM)(0.5 * torch.randn(2 * DIM).double())
    p = torch.distributions.Independent(
        torch.distributions.Normal(torch.zeros(DIM).double(), 1.0), 1
    )
    mean, scale = q.base_dist.loc, q.base_dist.scale
    closed = 0.5 * (mean**2 + scale**2 - 1 - 2 * scale.log()).sum()
    torch.testing.assert_close(torch.distributions.kl_divergence(q, p), closed)
    z = q.sample((200_000,))
    terms = q.log_prob(z) - p.log_prob(z)
    error = (terms.std() / len(terms) ** 0.5).item()
    assert abs(terms.mean() - closed).item() < 5 * error, (terms.mean(), closed, error)


def test_local_guide_reads_its_rows() -> None:
    guide = Local(MeanField(2), 10)
    with torch.no_grad():
        guide.table.copy_(torch.arange(10.0)[:, None].expand(10, 4))
    assert guide.q(torch.tensor([7, 2])).mean[:, 0].tolist() == [7, 2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MeanField(0), "dim: got"),
        (lambda: Local(MeanField(2), 0), "num_data: got"),
        (lambda: Amortized(MeanField(2), nn.Sequential()), "without an integer `out_features`"),
        (lambda: Amortized((1, 8, 8), MLP(3)), "expected a Family"),  # type: ignore[arg-type]
        (lambda: Local(MeanField(2), 5)(torch.zeros(3, 4)), "index: got none for 3 data"),
        (lambda: Local(MeanField(2), 5)(torch.zeros(2, 4), torch.tensor([4, 5])), "has 5 rows"),
    ],
)
def test_bad_arguments(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_layer_that_says_its_out_features_is_an_encoder() -> None:
    assert Amortized(MeanField(2), nn.Linear(3, 4)).q(torch.zeros(5, 3)).batch_shape == (5,)
