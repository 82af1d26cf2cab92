from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO

from pyro_vae import MLP, Amortized, LinearGaussian, MeanField, particles
from pyro_vae.objectives import tempered, warmup, without_rate


@pytest.mark.parametrize("loss", [Trace_ELBO(), TraceMeanField_ELBO()])
@pytest.mark.parametrize("value", [0.0, 0.5, 2.0])
def test_tempered_loss_is_distortion_plus_beta_rate(loss: Trace_ELBO, value: float) -> None:
    model, guide, x = LinearGaussian(4, 2), Amortized(MeanField(2), MLP(4, ())), torch.randn(5, 4)
    beta = torch.tensor(1.0)
    programs = tempered(model, beta), tempered(guide, beta)
    beta.fill_(value)  # in place: the programs follow
    torch.manual_seed(2)
    got = loss.loss(*programs, x)
    torch.manual_seed(2)
    draws = particles(model, guide, x)
    rate = (draws.log_guide - draws.log_prior).sum()
    if isinstance(loss, TraceMeanField_ELBO):
        rate = torch.distributions.kl_divergence(guide.q(x), torch.distributions.Independent(
            torch.distributions.Normal(torch.zeros(5, 2), 1.0), 1)).sum()  # fmt: skip
    assert got == pytest.approx((value * rate - draws.log_likelihood.sum()).item(), rel=1e-5)


def test_warmup_is_linear_then_flat() -> None:
    assert [warmup(2.0, t, 4.0) for t in (0, 1, 4, 9)] == [0, 0.5, 2, 2]
    assert warmup(3.0, 0.0, 0.0) == 3.0


@pytest.mark.filterwarnings("ignore:Encountered NaN")  # by Pyro, of what is scaled by 0
@pytest.mark.parametrize("loss", [Trace_ELBO(), TraceMeanField_ELBO()])
def test_without_the_rate_the_loss_is_the_distortion_however_small_the_scale(
    loss: Trace_ELBO,
) -> None:
    model, guide, x = LinearGaussian(4, 2), Amortized(MeanField(2), MLP(4, ())), torch.randn(5, 4)

    def gradients(log_scale: float, change: object) -> tuple[float, torch.Tensor]:
        with torch.no_grad():
            guide.head.bias[2:] = log_scale
        guide.zero_grad()
        torch.manual_seed(2)
        with pyro.validation_enabled(False):
            found = loss.differentiable_loss(change(model), change(guide), x)  # type: ignore[operator]
        found.backward()
        assert guide.head.weight.grad is not None
        return found.item(), guide.head.weight.grad.clone()

    nothing = torch.tensor(0.0)
    scaled = gradients(0.0, lambda program: tempered(program, nothing))
    found = gradients(0.0, without_rate)
    assert found[0] == pytest.approx(scaled[0], rel=1e-6)
    torch.testing.assert_close(found[1], scaled[1])

    value, gradient = gradients(-60.0, without_rate)  # its square is 0 in float32
    assert torch.isfinite(gradient).all() and 0 < value < float("inf")
    assert not torch.isfinite(gradients(-60.0, lambda program: tempered(program, nothing))[1]).all()


def test_without_the_rate_a_discrete_latent_is_still_taught() -> None:
    logits = torch.zeros(3, requires_grad=True)
    values = torch.tensor([-2.0, 0.0, 2.0])

    def model(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Categorical(torch.ones(3)))
            pyro.sample("obs", dist.Normal(values[z], 1.0), obs=x)

    def guide(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("latent", dist.Categorical(logits=logits))

    torch.manual_seed(0)
    x = torch.full((2000,), 2.0)
    programs = without_rate(model), without_rate(guide)
    (Trace_ELBO().differentiable_loss(*programs, x) / len(x)).backward()
    distortion = (values - 2.0).square() / 2
    exact = (distortion - distortion.mean()) / 3
    torch.testing.assert_close(logits.grad, exact, atol=0.3, rtol=0)
