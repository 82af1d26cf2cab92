"""Programs that cannot be calibrated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae import ExactGuide, LinearGaussian, Local, MeanField
from pyro_vae.diagnostics.calibration import check_calibration
from tests.diagnostics.calibrated import LIKE, prior, two_site_guide


def auxiliary(x: torch.Tensor, index: Any = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample(
            "u", dist.Normal(torch.zeros(2), 1.0).to_event(1), infer={"is_auxiliary": True}
        )
        pyro.sample("latent", dist.Delta(z, event_dim=1))


def positive_model(x: torch.Tensor, index: Any = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample(
            "latent", dist.Gamma(torch.full((2,), 2.0), 1.0, validate_args=False).to_event(1)
        )
        pyro.sample("obs", dist.Normal(z, 1.0).to_event(1), obs=x)


def of_other_size(x: torch.Tensor, index: Any = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("latent", dist.Normal(torch.zeros(1), 1.0).to_event(1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m, g: check_calibration(m, g, LIKE, num_simulations=19),
            "num_simulations: got 19, expected an integer >= 20",
        ),
        (
            lambda m, g: check_calibration(m, g, LIKE, num_draws=4),
            "num_draws: got 4, expected an integer >= 5",
        ),
        (lambda m, g: check_calibration(m, g, LIKE, seed=-1), "seed: got -1"),
        (lambda m, g: check_calibration(m, g, LIKE, alpha=1.0), "alpha: got 1.0"),
        (
            lambda m, g: check_calibration(m, g, LIKE[0]),
            r"like: got shape \(5,\), expected \(N, 5\)",
        ),
        (
            lambda m, g: check_calibration(m, Local(MeanField(2), 3), LIKE),
            "guide: got a table with a row for each of 3",
        ),
        (
            lambda m, g: check_calibration(m, g, torch.zeros(1, 4)),
            r"like: got shape \(1, 4\), expected \(N, 5\)",
        ),
        (
            lambda m, g: check_calibration(m, Local(MeanField(2), 3), LIKE),
            "guide: got a table with a row for each of 3 data",
        ),
        (lambda m, g: check_calibration(m, auxiliary, LIKE), r"guide: got auxiliary sites \['u'\]"),
        (
            lambda m, g: check_calibration(m, two_site_guide(1.0), torch.zeros(1, 5)),
            "model, guide: running them",
        ),
        (
            lambda m, g: check_calibration(positive_model, prior, LIKE[:, :2]),
            "log_joint: got .* values that are not finite",
        ),
        (
            lambda m, g: check_calibration(positive_model, of_other_size, LIKE[:, :2]),
            "site 'latent': the guide's value has shape",
        ),
    ],
)
def test_bad_input(call: Callable[..., object], message: str) -> None:
    model = LinearGaussian(5, 2, sigma=0.7)
    with pytest.raises(ValueError, match=message):
        call(model, ExactGuide(model))
