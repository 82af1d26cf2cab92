"""The local classifier test, held to posteriors that are known, and wrong at some data alone."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import pyro_vae as pv
from tests.scenarios import Distorted, linear_gaussian

MODEL, X = linear_gaussian(8)
NUMBERS: dict[str, Any] = {"num_simulations": 400, "num_null": 39}


def test_the_exact_posterior_is_not_told_from_itself() -> None:
    chances = []
    numbers = {"num_simulations": 150, "num_null": 19}
    for seed in range(4):
        found = pv.local_c2st(MODEL, pv.ExactGuide(MODEL), X, seed=seed, **numbers)  # type: ignore[arg-type]
        assert abs(found.accuracy - 0.5) < 5 * found.accuracy_error
        chances.append(found.adjusted.min().item())
    # the least of all data is uniform, too: four of them have a mean of 1/2 +- 0.15
    assert sum(chances) / 4 > 0.5 - 3 * 0.15, chances
    assert sum(chance <= 0.05 for chance in chances) < 3


class Missing(Distorted):
    runs_model = True


def test_data_with_missing_values() -> None:
    holed = X.clone()
    holed[::2, 0] = holed[1::2, 2] = torch.nan
    numbers = {"num_simulations": 200, "num_null": 19}
    found = pv.local_c2st(MODEL, pv.ExactGuide(MODEL), holed, **numbers)  # type: ignore[arg-type]
    assert abs(found.accuracy - 0.5) < 5 * found.accuracy_error
    wrong = pv.local_c2st(MODEL, Missing(MODEL, 0.5, 0.0), holed, **numbers)  # type: ignore[arg-type]
    assert wrong.accuracy > 0.5 + 3 * wrong.accuracy_error and wrong.p_values.isfinite().all()


@pytest.mark.parametrize(
    ("width", "shift", "hidden"),
    [(1.6, 0.0, ()), (0.6, 0.0, ()), (1.0, 0.7, ()), (0.5, 0.0, (6,))],
)
def test_a_wrong_posterior_is_told(width: float, shift: float, hidden: tuple[int, ...]) -> None:
    numbers = NUMBERS | ({"num_null": 19, "num_simulations": 1000} if hidden else {})
    found = pv.local_c2st(MODEL, Distorted(MODEL, width, shift), X, hidden=hidden, **numbers)
    assert found.accuracy > 0.5 + 3 * found.accuracy_error
    assert found.flagged.sum() >= 4, found
    assert "told from the posterior at" in found.verdict and "not told" not in found.verdict


class WrongOnOneSide(nn.Module):
    """The exact posterior where the first value of x is low, and shifted where it is high."""

    def forward(self, x: Tensor, index: Tensor | None = None) -> None:
        q = MODEL.posterior(x)
        far = (x[:, :1] > 0).double()
        with pyro.plate("data", len(x), dim=-1):
            shifted = dist.MultivariateNormal(
                q.mean + 1.5 * far * q.stddev, scale_tril=q.scale_tril
            )
            pyro.sample("latent", shifted)


def test_it_is_local() -> None:
    torch.manual_seed(0)
    x = MODEL.sample(40) + 0.7 * torch.randn(40, 5).double()
    x = x[x[:, 0].abs() > 1][:16]
    found = pv.local_c2st(MODEL, WrongOnOneSide(), x, num_simulations=1500, num_null=19)
    wrong = x[:, 0] > 0
    assert found.statistic[wrong].mean() > 2.5 * found.statistic[~wrong].mean()
    assert found.flagged[wrong].double().mean() > 0.7


def test_correlation_alone_is_told() -> None:
    model, x = linear_gaussian(6)
    with torch.no_grad():
        model.loading[:, 1] = model.loading[:, 0] + 0.5 * model.loading[:, 1]

    def guide(data: Tensor, index: Tensor | None = None) -> None:
        q = model.posterior(data)
        with pyro.plate("data", len(data), dim=-1):
            pyro.sample("latent", dist.Normal(q.mean, q.stddev).to_event(1))

    cov = model.posterior(x[:1]).covariance_matrix[0]
    assert (cov[0, 1] / (cov[0, 0] * cov[1, 1]).sqrt()).abs() > 0.5  # there is some
    found = pv.local_c2st(model, guide, x, num_simulations=1000, num_null=19)
    assert found.flagged.any(), found


def test_binary_data_with_pixels_that_never_change() -> None:
    torch.manual_seed(0)
    x = (torch.rand(6, 1, 4, 4) > 0.5).float()
    model, guide = pv.VAE((1, 4, 4), 3, (8,)), pv.EncoderGuide((1, 4, 4), 3, (8,))
    with torch.no_grad():
        model.decoder.bias[..., 0, :] = -50.0
    found = pv.local_c2st(model, guide, x, num_simulations=60, num_null=3)
    assert found.null.shape == (3, 6) and found.p_values.isfinite().all()
