"""Probabilities of discrete latents given x, held to sums by hand."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_vae as pv
from tests.programs.mixed import (
    MOVES,
    PLACES,
    SHARES,
    alone,
    answer,
    chain,
    clusters,
    nothing,
    plate,
    rows,
)


def data(*shape: int) -> Tensor:
    torch.manual_seed(0)
    return 2 * torch.randn(*shape, dtype=torch.float64)


def by_hand(x: Tensor) -> Tensor:
    """p(k | x) of `clusters` and `alone`, `(N, 3)`."""
    each = dist.Normal(x.new_tensor(PLACES), 1.25**0.5).log_prob(x)
    return torch.softmax(x.new_tensor(SHARES).log() + each, -1)


def test_a_choice_alone_is_exact() -> None:
    x = data(6, 1)
    found = pv.discrete_posterior(alone, nothing, x, num_particles=3)
    assert (found.probabilities["k"] - by_hand(x)).abs().max() < 1e-12
    assert torch.equal(found.most_likely["k"], by_hand(x).argmax(-1))
    assert (found.ess - 3).abs().max() < 1e-9


def test_it_is_averaged_over_the_posterior_of_the_others() -> None:
    x = data(6, 1)
    found = pv.discrete_posterior(clusters, answer, x, num_particles=5000)
    error = 0.5 / found.ess.sqrt()[:, None]
    assert ((found.probabilities["k"] - by_hand(x)).abs() < 5 * error).all()
    assert found.ess.min() > 100 and found.to_dataframe().shape == (6, 4)
    assert "k=2" in found.to_dataframe() and "3 states" in repr(found)


def test_states_of_a_chain_have_forward_and_backward() -> None:
    """Smoothed marginals, against a sum over all paths."""
    x = data(2, 4)

    def still(x: Tensor, index: Any = None) -> None:
        with plate(x):
            pyro.sample("shift", dist.Normal(x.new_zeros(()), 1e-9))

    found = pv.discrete_posterior(chain, still, x, num_particles=1)
    paths = torch.cartesian_prod(*[torch.arange(3)] * 4)  # (81, 4)
    log_p = x.new_tensor(SHARES).log()[paths[:, 0]]
    for step in range(1, 4):
        log_p = log_p + x.new_tensor(MOVES).log()[paths[:, step - 1], paths[:, step]]
    seen = dist.Normal(x.new_tensor(PLACES)[paths], 0.3).log_prob(x[:, None]).sum(-1)
    share = torch.softmax(log_p + seen, -1)
    for step in range(4):
        expected = torch.stack([share[:, paths[:, step] == k].sum(-1) for k in range(3)], -1)
        assert (found.probabilities[f"state_{step}"] - expected).abs().max() < 1e-6


def test_rows_of_an_inner_plate() -> None:
    x = data(3, 4)
    found = pv.discrete_posterior(rows, answer, x, num_particles=50).probabilities
    assert {name: tuple(p.shape) for name, p in found.items()} == {
        "k": (3, 3),
        "up": (3, 2),
        "far": (3, 4, 2),
    }
    for values in found.values():
        assert (values.sum(-1) - 1).abs().max() < 1e-9


def test_nothing_to_tell() -> None:
    def drawn(x: Tensor, index: Any = None) -> None:
        with plate(x):
            pyro.sample("k", dist.Categorical(torch.ones(3)))

    with pytest.raises(ValueError, match="got no discrete latent that is summed out"):
        pv.discrete_posterior(alone, drawn, data(4, 1))
