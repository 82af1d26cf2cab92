"""Global latents: a conjugate regression, whose evidence is that of the set as one datum."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from torch import Tensor

import pyro_vae as pv
from pyro_vae.objectives import Bound
from tests.programs.mixed import MARK
from tests.scenarios import eager

NUM, DIM, NOISE = 40, 2, 0.5


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    pyro.clear_param_store()


def data(dtype: torch.dtype = torch.float64) -> Tensor:
    """Features and an answer."""
    torch.manual_seed(0)
    features = torch.randn(NUM, DIM, dtype=dtype)
    answers = features @ features.new_tensor([1.0, -0.5]) + NOISE * torch.randn(NUM)
    return torch.cat([features, answers[:, None]], 1)


def regression(x: Tensor, index: Tensor) -> None:
    """Weights of all data, and the answer of each, in a minibatch of NUM."""
    weights = pyro.sample("weights", dist.Normal(x.new_zeros(DIM), 1.0).to_event(1))
    with pyro.plate("data", NUM, subsample=index, dim=-1):
        mean = (x[:, :DIM] * weights).sum(-1)
        pyro.sample("answer", dist.Normal(mean, NOISE), obs=x[:, DIM])


def posterior(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and covariance of the weights given all data, and log p(x)."""
    features, answers = x[:, :DIM], x[:, DIM]
    precision = torch.eye(DIM, dtype=x.dtype) + features.T @ features / NOISE**2
    covariance = precision.inverse()
    covariance = (covariance + covariance.T) / 2
    prior = features @ features.T + NOISE**2 * torch.eye(len(x), dtype=x.dtype)
    log_px = dist.MultivariateNormal(x.new_zeros(len(x)), prior).log_prob(answers)
    return covariance @ features.T @ answers / NOISE**2, covariance, log_px


def test_the_set_has_an_evidence_by_each_method() -> None:
    x = data()
    mean, covariance, exact = posterior(x)

    def wide(x: Tensor, index: Any = None) -> None:
        pyro.sample("weights", dist.MultivariateNormal(mean, 1.7 * covariance))

    model, guide, one = pv.whole(regression), pv.whole(wide), x[None]
    for method in (pv.Importance(1000, num_scouts=0), pv.Annealed(20, num_chains=8)):
        estimate = pv.log_evidence(model, guide, one, method)
        assert abs(estimate.log_px.item() - exact) < 5 * estimate.log_px_error.item()
        assert estimate.log_px_error.item() < 0.3
    grid = pv.log_evidence(model, None, one, pv.Quadrature(51))
    assert abs(grid.log_px.item() - exact) < 1e-6


def test_a_local_guide_of_the_set_in_a_ledger() -> None:
    x = data()
    model, one = pv.whole(regression), x[None]
    guide = pv.Local.of(model, one, pv.FullRank).double()
    before = pv.log_evidence(model, guide, one, pv.Importance(100)).elbo.item()
    found = pv.fit_local(model, guide, one, num_steps=60, learning_rate=0.1, engine="pyro")
    ledger = pv.gap_ledger(model, {"local": found}, one, method=pv.Importance(150))
    assert before + 10 < ledger.entries["local"].evidence.elbo.item() < posterior(x)[2]


def test_an_autoguide_of_the_set() -> None:
    x = data(torch.float32)
    model, one = pv.whole(regression), x[None]
    guide = AutoMultivariateNormal(model)
    options = {"num_steps": 150, "learning_rate": 0.05, "engine": "pyro"}
    found = pv.fit_local(model, guide, one, **options)  # type: ignore[arg-type]
    estimate = pv.log_evidence(model, found.guide, one, pv.Importance(500))
    exact = posterior(x.double())[2]
    assert abs(estimate.log_px.item() - exact) < 5 * estimate.log_px_error.item() + 1e-4
    assert exact - estimate.elbo.item() < 0.3


def test_the_loss_of_minibatches_is_that_of_the_set() -> None:
    """At the exact posterior the ELBO is log p(x), whatever the minibatches' size."""
    x = data(torch.float32)
    mean, covariance, exact = posterior(x.double())
    scale_tril = torch.linalg.cholesky(covariance).float()

    def guide(x: Tensor, index: Any = None) -> None:
        loc = pyro.param("loc", mean.float())
        pyro.sample("weights", dist.MultivariateNormal(loc, scale_tril=scale_tril))

    losses = {}
    for size in (NUM, 10):
        pyro.clear_param_store()
        still = lambda p: torch.optim.SGD(p, lr=1e-12)  # noqa: E731
        options: dict[str, Any] = {"optimizer": still, "quiet": True, "epochs": 30}
        run = pv.fit(regression, guide, x, valid=0, batch_size=size, warmup_epochs=0, **options)
        per_datum = torch.tensor([row["train_loss"] for row in run.history], dtype=torch.double)
        losses[size] = per_datum.mean() * NUM, per_datum.std() * NUM / 30**0.5
    assert abs(losses[NUM][0] + exact) < 1e-3  # no noise in it: q is exact
    value, error = losses[10]
    assert abs(value + exact) < 5 * error and error < 2


@pytest.mark.parametrize("engine", ["pyro", "compiled"])
@pytest.mark.parametrize("auto", [False, True])
def test_it_trains_in_minibatches_to_the_posterior(engine: Any, auto: bool) -> None:
    x = data(torch.float32)
    mean, covariance, _ = posterior(x.double())

    def by_hand(x: Tensor, index: Any = None) -> None:
        loc = pyro.param("loc", torch.zeros(DIM))
        log_scale = pyro.param("log_scale", torch.full((DIM,), -2.0))
        pyro.sample("weights", dist.Normal(loc, log_scale.exp()).to_event(1))

    guide = AutoNormal(regression, init_scale=0.15) if auto else by_hand
    options: dict[str, Any] = {"engine": engine, "quiet": True, "warmup_epochs": 0}
    adam = lambda p: torch.optim.Adam(p, lr=0.05)  # noqa: E731
    pv.fit(regression, guide, x, valid=0, epochs=60, batch_size=10, optimizer=adam, **options)
    store = pyro.get_param_store()
    loc = guide.locs.weights if auto else store["loc"]
    scale = guide.scales.weights if auto else store["log_scale"].exp()
    assert ((loc - mean).abs() < 0.15).all()
    best = 1 / covariance.inverse().diagonal().sqrt()  # and the standard deviations of a set
    assert ((scale / best).log().abs() < 0.3).all()


def test_a_discrete_choice_of_all_data() -> None:
    """Which of two means all data have: summed out of the set."""
    x = torch.tensor([0.3, 0.9, 1.4], dtype=torch.float64)

    def model(x: Tensor, index: Any = None) -> None:
        k = pyro.sample("k", dist.Bernoulli(x.new_tensor(0.3)), infer=MARK)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("obs", dist.Normal(k, 1.0), obs=x)

    def nothing(x: Tensor, index: Any = None) -> None:
        pass

    found = pv.log_weights(pv.whole(model), nothing, x[None])
    each = [dist.Normal(float(k), 1.0).log_prob(x).sum() for k in (0, 1)]
    expected = torch.logaddexp(each[0] + math.log(0.7), each[1] + math.log(0.3))
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)


def by_hand(x: Tensor, index: Any = None) -> None:
    pyro.sample("weights", dist.Normal(x.new_zeros(DIM), 1.0).to_event(1))


@pytest.mark.parametrize(
    "asked",
    [
        lambda x: pv.log_weights(regression, by_hand, x),
        lambda x: pv.log_evidence(regression, by_hand, x),
        lambda x: pv.log_evidence(regression, by_hand, x, pv.Annealed()),
        lambda x: pv.gap_ledger(regression, {"by hand": by_hand}, x),
    ],
)
def test_no_datum_has_an_evidence_of_its_own(asked: Any) -> None:
    message = r"^site 'weights': not inside .* one draw for all data, .* pv\.whole\(model\)"
    with pytest.raises(ValueError, match=message):
        asked(data(torch.float32))


def own_plate(x: Tensor, index: Any = None) -> None:
    weights = pyro.sample("weights", dist.Normal(x.new_zeros(DIM), 1.0).to_event(1))
    with pyro.plate("data", len(x), dim=-1):
        mean = (x[:, :DIM] * weights).sum(-1)
        pyro.sample("answer", dist.Normal(mean, NOISE), obs=x[:, DIM])


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (regression, {"valid": 10}, r"^data: .*'weights'.* valid=0"),
        (own_plate, {"valid": 0, "batch_size": 8}, r"^site 'weights': .* subsample=index"),
        (regression, {"valid": 0, "loss": Bound(4), "batch_size": NUM}, "outside the plate"),
    ],
)
def test_what_training_asks_of_them(model: Any, options: dict[str, Any], message: str) -> None:
    def guide(x: Tensor, index: Any = None) -> None:
        loc = pyro.param("loc", torch.zeros(DIM))
        pyro.sample("weights", dist.Normal(loc, 1.0).to_event(1))

    with pytest.raises(ValueError, match=message):
        pv.fit(model, guide, data(torch.float32), quiet=True, epochs=1, **options)


def test_a_set_is_one_datum() -> None:
    with pytest.raises(ValueError, match=r"x\[None\]"):
        pv.log_weights(pv.whole(regression), pv.whole(by_hand), data())


def test_a_missing_value_of_an_event_of_a_whole_set() -> None:
    def shared(x: Tensor, index: Any = None) -> None:
        w = pyro.sample("w", dist.Normal(x.new_zeros(()), 1.0))
        twice = pyro.deterministic("twice", 2 * w)
        with pyro.plate("data", len(x), dim=-1):
            mean = twice[..., None].expand(*twice.shape, 2)
            pyro.sample("obs", dist.Normal(mean, 1.0).to_event(1), obs=x)

    x = torch.tensor([[0.3, torch.nan], [torch.nan, -1.0], [0.5, 2.0], [torch.nan, torch.nan]])
    known = x[~x.isnan()].double()
    cov = torch.eye(len(known)) + 4 * torch.ones(len(known), len(known))
    truth = dist.MultivariateNormal(torch.zeros(len(known)).double(), cov.double()).log_prob(known)
    found = pv.log_evidence(pv.whole(shared), None, x[None], pv.Quadrature())
    assert len(known) < x.numel()
    assert found.log_px.item() == pytest.approx(truth.item(), abs=1e-4)
