"""Free nats, held to the ELBO with the analytic KL."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor

from pyro_vae import MLP, Amortized, FullRank, LinearGaussian, Local, MeanField, fit, particles
from pyro_vae.objectives import FreeBits, tempered
from tests.scenarios import eager


def test_free_nats() -> None:
    model, x = LinearGaussian(4, 2), torch.randn(6, 4)
    guide = Amortized(MeanField(2), MLP(4, ()))
    torch.manual_seed(0)
    plain = TraceMeanField_ELBO().loss(model, guide, x)
    torch.manual_seed(0)
    assert FreeBits(0.0).loss(model, guide, x) == pytest.approx(plain, rel=1e-5)
    rate = torch.distributions.kl_divergence(
        guide.q(x).base_dist, torch.distributions.Normal(torch.zeros(6, 2), 1.0)
    )
    nats = rate.mean(0).mean().item()  # one unit above, one below
    torch.manual_seed(0)
    raised = 6 * (rate.mean(0).clamp(min=nats) - rate.mean(0)).sum()
    assert raised > 0
    assert FreeBits(nats).loss(model, guide, x) == pytest.approx(plain + raised.item(), rel=1e-5)


# analytic KL, and log q - log p at the draw
@pytest.mark.parametrize("family", [MeanField, FullRank])
@pytest.mark.parametrize("value", [0.0, 0.25, 4.0])
def test_free_nats_are_weighed_by_beta(family: type[MeanField], value: float) -> None:
    model, x = LinearGaussian(4, 2), torch.randn(6, 4)
    guide = Amortized(family(2), MLP(4, ()))
    beta = torch.tensor(value)
    programs = tempered(model, beta), tempered(guide, beta)

    for nats in (0.0, 0.3, 5.0):
        loss, figures = FreeBits(nats), []
        for pair in ((model, guide), programs):
            torch.manual_seed(0)
            figures.append(loss.loss(*pair, x))
        torch.manual_seed(0)
        distortion = -particles(model, guide, x).log_likelihood.sum().item()
        plain, weighed = figures
        assert weighed == pytest.approx(distortion + value * (plain - distortion), rel=1e-5)


@pytest.mark.parametrize("engine", ["pyro", "compiled"])
def test_beta_and_warm_up_reach_free_nats_in_fit(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager(monkeypatch)
    x = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    options = {
        "epochs": 2,
        "batch_size": 32,
        "valid": 0,
        "engine": engine,
        "quiet": True,
        "device": "cpu",
    }
    options["warmup_epochs"] = 0
    for changes in ({"beta": 4.0}, {"warmup_epochs": 2.0}):
        told = {}
        for loss in (FreeBits(0.0), TraceMeanField_ELBO()):  # the same without free nats
            torch.manual_seed(0)
            model, guide = LinearGaussian(5, 2), Amortized(MeanField(2), MLP(5, ()))
            run = fit(model, guide, x, loss=loss, **options | changes)  # type: ignore[arg-type]
            told[type(loss).__name__] = [row["train_loss"] for row in run.history]
        assert told["FreeBits"] == pytest.approx(told["TraceMeanField_ELBO"], rel=1e-5), changes


def test_a_masked_datum_has_no_rate() -> None:
    mask = torch.tensor([True, False, True])

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1), poutine.mask(mask=mask):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("obs", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1), poutine.mask(mask=mask):
            pyro.sample("z", dist.Normal(x, 0.5).to_event(1))

    x, losses = torch.randn(3, 2), []
    for loss in (FreeBits(0.0), TraceMeanField_ELBO()):
        torch.manual_seed(0)
        losses.append(loss.loss(model, guide, x))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_unit_below_is_not_pressed() -> None:
    model, x = LinearGaussian(4, 2), torch.randn(6, 4)
    with torch.no_grad():
        model.loading.zero_()  # nothing to be said of x
    guide = Local(MeanField(2), 6)
    with torch.no_grad():
        guide.table.fill_(0.1)
    FreeBits(10.0).loss_and_grads(model, guide, x)
    assert guide.table.grad is not None and not guide.table.grad.any()
