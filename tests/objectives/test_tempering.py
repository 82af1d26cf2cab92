from __future__ import annotations

import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO

from pyro_vae import MLP, Amortized, LinearGaussian, MeanField, particles
from pyro_vae.objectives import tempered, warmup


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
