"""Discrete latents that cannot be summed out, and what cannot be had of those that are."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_vae as pv
from pyro_vae.programs.simulation import predict
from pyro_vae.programs.traces import log_joint
from tests.programs.mixed import MARK, Model, answer, clusters, plate, rows


def numbers(*shape: int) -> Tensor:
    torch.manual_seed(0)
    return 2 * torch.randn(*shape, dtype=torch.float64)


X = numbers(5, 1)


def unmarked(x: Tensor, index: Any = None) -> None:
    with plate(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        k = pyro.sample("k", dist.Bernoulli(0.5))
        pyro.sample("obs", dist.Normal(z + k, 0.5), obs=x[:, 0])


def many(x: Tensor, index: Any = None) -> None:
    with plate(x):
        total = pyro.sample("z", dist.Normal(0.0, 1.0))
        for number in range(30):
            total = total + pyro.sample(f"b_{number}", dist.Bernoulli(0.5), infer=MARK)
        pyro.sample("obs", dist.Normal(total, 0.5), obs=x[:, 0])


def for_all(x: Tensor, index: Any = None) -> None:
    k = pyro.sample("k", dist.Bernoulli(0.5), infer=MARK)
    with plate(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("obs", dist.Normal(z + k, 0.5), obs=x[:, 0])


def endless(x: Tensor, index: Any = None) -> None:
    with plate(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        k = pyro.sample("k", dist.Poisson(1.0), infer=MARK)
        pyro.sample("obs", dist.Normal(z + k, 0.5), obs=x[:, 0])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (unmarked, r"^guide: got no latent sites \['k'\], which are discrete .* mark them infer="),
        (many, r"^site 'b_16': 131,072 joint states .* at most 65,536"),
        (for_all, r"^site 'k': a discrete choice for all [25] data together"),
        (endless, r"^site 'k': marked to be enumerated, but a Poisson has no finite"),
    ],
)
def test_what_cannot_be_summed_out(model: Model, message: str) -> None:
    for refused in (
        lambda: pv.log_weights(model, answer, X),
        lambda: pv.log_evidence(model, answer, X, pv.Importance(10)),
        lambda: pv.fit(model, answer, X, quiet=True),
    ):
        with pytest.raises(ValueError, match=message):
            refused()


def test_too_many_terms_at_once() -> None:
    message = "150,000,000 terms, of 3 joint states .* at most 134,217,728"
    with pytest.raises(ValueError, match=message):
        log_joint(clusters, {"z": X.T.repeat(1, 10).expand(10**6, 50)}, X.repeat(10, 1), None, 1)


def test_data_at_latents_that_hang_on_a_choice() -> None:
    x = X.float()
    # given z the data of `clusters` know nothing of k, those of `rows` do
    with pv.opened(clusters, answer, x) as pair:
        assert predict(pair, {"z": torch.zeros(2, 5)}).shape == (2, 5, 1)  # type: ignore[union-attr]
    with (
        pv.opened(rows, answer, numbers(5, 4).float()) as pair,
        pytest.raises(ValueError, match=r"its latents \['z'\] depend on discrete ones"),
    ):
        predict(pair, {"z": torch.zeros(2, 1, 5)})
