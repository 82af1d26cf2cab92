"""Objectives of the log-weights, held to closed forms, and their gradients to one another."""

from __future__ import annotations

from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

from pyro_vae import MLP, Amortized, ExactGuide, FullRank, LinearGaussian, Local, MeanField, fit
from pyro_vae.objectives import Bound, FreeBits, ScoreFunction, tempered
from tests.scenarios import eager

NUM = 20_000

BOUNDS = [
    Bound(k, alpha, path)
    for k in (1, 3)
    for alpha in (0.0, 0.5, 1.0, 2.0)
    for path in (False, True)
]

NAMES = [
    f"{b.num_particles} particles, alpha {b.alpha}{', path only' * b.path_only}" for b in BOUNDS
]


@pytest.mark.parametrize(
    "loss",
    [*BOUNDS, ScoreFunction(), ScoreFunction(3, baseline=True)],
    ids=[*NAMES, "score", "baseline"],
)
def test_every_bound_is_the_evidence_where_the_guide_is_exact(loss: Trace_ELBO) -> None:
    model = LinearGaussian(5, 2).double().requires_grad_(False).eval()
    x = torch.randn(4, 5).double()
    for got in (
        loss.loss(model, ExactGuide(model), x),
        loss.loss_and_grads(model, ExactGuide(model), x),
    ):
        assert got == pytest.approx(-model.log_px(x).sum().item(), rel=1e-10)


@pytest.mark.parametrize(
    "loss", [b for b in BOUNDS if b.path_only], ids=[n for n in NAMES if "path" in n]
)
def test_the_path_s_gradient_is_zero_where_the_guide_is_exact(loss: Bound) -> None:
    model = LinearGaussian(5, 2).double().requires_grad_(False).eval()
    x = torch.randn(4, 5).double()
    guide = Local(FullRank(2), 4).double()
    posterior = model.posterior(x)
    scale = posterior.scale_tril.diagonal(dim1=-2, dim2=-1)
    with torch.no_grad():
        below = posterior.scale_tril[:, 1, :1] / scale[:, 1:] * 2**0.5
        guide.table.copy_(torch.cat([posterior.mean, scale.log(), below], -1))
    loss.loss_and_grads(model, guide, x)
    assert guide.table.grad is not None and guide.table.grad.abs().max() < 1e-10


def gradients(loss: Trace_ELBO, seed: int) -> tuple[Tensor, Tensor]:
    """Gradients of the guide for each of many copies of one datum, and of the model for each of 50
    parts of them.
    """
    torch.manual_seed(seed)
    model = LinearGaussian(3, 2, sigma=0.8)
    x = torch.tensor([[0.5, -1.0, 1.5]]).expand(NUM, 3)
    guide = Local(MeanField(2), NUM)
    with torch.no_grad():
        guide.table.copy_(torch.tensor([0.3, -0.4, -0.7, 0.2]))
    theirs = []
    for rows in torch.arange(NUM).split(NUM // 50):
        model.zero_grad()
        loss.loss_and_grads(model, guide, x[rows], rows)
        assert model.loading.grad is not None
        theirs.append(model.loading.grad.flatten() / len(rows))
    assert guide.table.grad is not None
    return guide.table.grad, torch.stack(theirs)


@pytest.mark.parametrize(
    ("loss", "other"),
    [
        (Bound(k, alpha, True), Bound(k, alpha))
        for k, alpha in ((1, 1.0), (3, 0.0), (3, 0.5), (3, 1.0))
    ]
    + [
        (ScoreFunction(), Bound(1, 1.0)),
        (ScoreFunction(3, True), Bound(3, 1.0)),
        (Bound(3, 1.0), Trace_ELBO()),
    ],
)
def test_gradients_are_the_same_on_average(loss: Trace_ELBO, other: Trace_ELBO) -> None:
    for mine, theirs in zip(gradients(loss, 1), gradients(other, 2), strict=True):
        error = (mine.var(0) / len(mine) + theirs.var(0) / len(theirs)).sqrt()
        z = (mine.mean(0) - theirs.mean(0)).abs() / error
        assert z.max() < 5, (mine.mean(0), theirs.mean(0), error)


def test_variance_of_the_estimators() -> None:
    score, baseline = gradients(ScoreFunction(3), 1)[0], gradients(ScoreFunction(3, True), 1)[0]
    plain, path = gradients(Bound(3, 0.0), 1)[0], gradients(Bound(3, 0.0, True), 1)[0]
    assert (
        score.var(0).sum()
        > 2 * baseline.var(0).sum()
        > 4 * plain.var(0).sum()
        > 4 * path.var(0).sum()
    )


def test_more_particles_and_a_lower_order_bound_higher() -> None:
    model, x = LinearGaussian(3, 2, sigma=0.5), torch.randn(1, 3).expand(NUM, 3)
    guide = Local(MeanField(2), NUM)
    values = [
        -loss.loss(model, guide, x) / NUM
        for loss in (Bound(1, 1.0), Bound(5, 0.5), Bound(5), Bound(50))
    ]
    assert values == sorted(values) and values[-1] < model.log_px(x[:1]).item() + 0.05


@pytest.mark.parametrize("loss", [Bound(2), ScoreFunction(2, True)])
def test_scaled_weights_are_refused(loss: Trace_ELBO) -> None:
    beta = torch.tensor(0.5)
    model, guide = LinearGaussian(4, 2), Amortized(MeanField(2), MLP(4, ()))
    with pytest.raises(ValueError, match="is scaled"):
        loss.loss_and_grads(tempered(model, beta), tempered(guide, beta), torch.randn(3, 4))


class Shared(nn.Module):
    """A latent of all data, beside one of each, in a plate at this dimension."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> None:
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x), dim=self.dim):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("obs", dist.Normal(z + w, 1.0), obs=x.reshape(-1, *(1,) * (-1 - self.dim)))

    def guide(self, x: Tensor) -> None:
        w = pyro.sample("w", dist.Normal(pyro.param("a", torch.tensor(1.5)), 0.3))
        with pyro.plate("data", len(x), dim=self.dim):
            pyro.sample("z", dist.Normal((x.reshape(-1, *(1,) * (-1 - self.dim)) - w) / 2, 0.7))


@pytest.mark.parametrize(
    "loss", [Bound(4), Bound(4, 1.0), Bound(1, 1.0), ScoreFunction(4), ScoreFunction(1)]
)
def test_a_latent_of_all_data_is_refused_where_it_would_count_for_each(loss: Trace_ELBO) -> None:
    program, x = Shared(), torch.randn(10)
    with pytest.raises(
        ValueError, match=r"sites \['w'\] are outside the plate of the data .*use Trace_ELBO"
    ):
        loss.loss_and_grads(program, program.guide, x)
    loss.loss_and_grads(program, program.guide, x[:1])  # of one datum it is


def test_a_data_plate_elsewhere_and_two_plates_are_refused() -> None:
    program, x = Shared(-2), torch.randn(10)
    with pytest.raises(ValueError, match="outside the plate of the data at dim -1"):
        Bound(4).loss(program, program.guide, x)

    def two(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0), obs=None)
        with pyro.plate("other", 3, dim=-1):
            pyro.sample("u", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match=r"plates of sizes \{'z': 10, 'u': 3\}"):
        Bound(4).loss(two, two, x)


@pytest.mark.parametrize("engine", ["pyro", "compiled"])
@pytest.mark.parametrize(
    "loss", [Bound(3, 0.0, True), Bound(1, 1.0, True), ScoreFunction(2, True), FreeBits(0.2)]
)
def test_through_fit(loss: Trace_ELBO, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    x = torch.randn(64, 5)
    model, guide = LinearGaussian(5, 2), Amortized(MeanField(2), MLP(5, ()))
    adam = partial(torch.optim.Adam, lr=0.02)
    options = {
        "epochs": 8,
        "batch_size": 32,
        "optimizer": adam,
        "loss": loss,
        "engine": engine,
        "quiet": True,
    }
    run = fit(model, guide, x, **options)  # type: ignore[arg-type]
    assert run.history[-1]["train_loss"] < run.history[0]["train_loss"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Bound(0), "num_particles"),
        (lambda: Bound(3, -1.0), "alpha"),
        (lambda: ScoreFunction(1, baseline=True), "num_particles"),
        (lambda: FreeBits(-0.1), "nats"),
    ],
)
def test_bad_numbers(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
