from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pyro.infer.importance import psis_diagnostic

from pyro_vae.evidence.weights import (
    ess,
    log_mean_exp,
    log_mean_exp_error,
    pareto_k,
    pareto_threshold,
    resampled,
)

REFERENCE = [0.670657768, 0.290753024, -0.819211249]


def pareto_log_weights(shape: float, num: int, seed: int = 0) -> torch.Tensor:
    """Weights with a Pareto tail of the given shape: U^-k."""
    generator = torch.Generator().manual_seed(seed)
    return -shape * torch.rand(num, 3, generator=generator, dtype=torch.double).log()


def test_log_mean_exp_is_safe_at_any_size() -> None:
    for offset in (-1e4, 0.0, 1e4):
        log_w = torch.tensor([[0.0], [math.log(3.0)]]) + offset
        torch.testing.assert_close(
            log_mean_exp(log_w), torch.tensor([math.log(2.0)], dtype=torch.double) + offset
        )


def test_ess_between_one_and_all() -> None:
    torch.testing.assert_close(ess(torch.zeros(50, 2)), torch.full((2,), 50.0, dtype=torch.double))
    one = torch.full((50, 1), -1e3)
    one[3] = 0
    torch.testing.assert_close(ess(one), torch.ones(1, dtype=torch.double))


def test_standard_error_is_the_spread_over_repetitions() -> None:
    # Log-normal weights: log-mean-exp over 400 repetitions of 500 particles, against its error.
    log_w = 0.5 * torch.randn(500, 4000, dtype=torch.double)
    estimates, errors = log_mean_exp(log_w), log_mean_exp_error(log_w)
    spread, reported = estimates.std().item(), errors.square().mean().sqrt().item()
    relative = 1 / math.sqrt(2 * 4000)
    # the error is one of first order, right to a few times one over the 500 particles
    assert abs(spread / reported - 1) < 5 * relative + 0.01, (spread, reported)


def test_standard_error_of_one_particle_is_unknown() -> None:
    assert log_mean_exp_error(torch.zeros(1, 3)).isnan().all()


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9, 1.5])
def test_pareto_k_finds_the_shape_of_a_pareto_tail(shape: float) -> None:
    got = pareto_k(pareto_log_weights(shape, 50_000))
    tail = 3 * math.sqrt(50_000)
    error = (1 + shape) / math.sqrt(tail)  # asymptotic standard error of the fit
    assert ((got - shape).abs() < 5 * error).all(), (got, shape, error)


def test_reference_values() -> None:
    # k-hat of ArviZ 0.23.4 (1.3.0 has a weight less in the tail) on quantiles of Pareto, log-normal
    # and uniform weights
    u = (torch.arange(1000, dtype=torch.double) + 0.5) / 1000
    normal = torch.distributions.Normal(torch.tensor(0.0).double(), 1.0).icdf(u)
    log_w = torch.stack([-0.7 * (1 - u).log(), normal, u.log()], 1)
    torch.testing.assert_close(
        pareto_k(log_w), torch.tensor(REFERENCE, dtype=torch.double), atol=1e-6, rtol=0
    )


def test_pareto_k_is_pyro_s_psis_diagnostic_up_to_its_fit() -> None:
    # Pyro fits the same tail by its own estimator; log-normal weights of one datum, a tiny program.
    import pyro
    import pyro.distributions as dist

    def model() -> None:
        pyro.sample("z", dist.Normal(0.0, 1.0))

    def guide() -> None:
        pyro.sample("z", dist.Normal(0.0, 0.6))

    pyro.set_rng_seed(0)
    theirs = psis_diagnostic(model, guide, num_particles=20_000, max_simultaneous_particles=20_000)
    z = 0.6 * torch.randn(20_000, 1, dtype=torch.double)
    log_w = dist.Normal(0.0, 1.0).log_prob(z) - dist.Normal(0.0, 0.6).log_prob(z)
    ours = pareto_k(log_w).item()
    error = (1 + ours) / math.sqrt(3 * math.sqrt(20_000))
    assert abs(theirs - ours) < 5 * math.sqrt(2) * error, (theirs, ours, error)


def test_equal_weights_have_no_tail_and_few_say_nothing() -> None:
    log_w = torch.randn(100, 3)
    log_w[:, 1] = -5.0
    assert pareto_k(log_w)[1] == 0
    assert pareto_k(torch.randn(24, 2)).isnan().all()
    ties = torch.zeros(100, 1)
    ties[:2] = 3.0  # two weights above a flat body: fewer than five in the tail
    assert pareto_k(ties).item() == math.inf
    dwarfed = -1000 * torch.ones(100, 1) - torch.rand(100, 1)
    dwarfed[0] = 0.0
    assert pareto_k(dwarfed).item() == math.inf


def test_pareto_k_leaves_its_argument_alone_and_ignores_a_constant() -> None:
    log_w = torch.randn(200, 2, dtype=torch.double)
    kept = log_w.clone()
    torch.testing.assert_close(pareto_k(log_w), pareto_k(log_w - 1e3), atol=1e-6, rtol=0)
    assert torch.equal(log_w, kept)


def test_a_weight_of_zero_does_not_hide_a_heavy_tail() -> None:
    log_w = pareto_log_weights(1.5, 2000)
    before = pareto_k(log_w)
    log_w[log_w.argmin(0), torch.arange(3)] = -math.inf
    torch.testing.assert_close(pareto_k(log_w), before, atol=1e-9, rtol=0)
    assert (before > 1).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_broken_weights_are_not_called_healthy(bad: float) -> None:
    log_w = torch.randn(100, 2)
    log_w[3, 0] = bad
    assert pareto_k(log_w)[0].isnan() and pareto_k(log_w)[1].isfinite()


def test_threshold() -> None:
    assert pareto_threshold(100) == pytest.approx(0.5)
    assert pareto_threshold(2200) == pytest.approx(0.7, abs=1e-3)
    assert pareto_threshold(10**6) == 0.7
    assert np.isnan(pareto_threshold(10))


@pytest.mark.parametrize("bad", [torch.zeros(0, 3), torch.zeros(3)])
def test_wrong_shape(bad: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"log_w: got shape"):
        log_mean_exp(bad)


def test_resampling_takes_each_particle_by_its_weight() -> None:
    generator, log_w = torch.Generator().manual_seed(0), torch.randn(50, 3, dtype=torch.double)
    rows = resampled(log_w, generator)
    counts = torch.stack([torch.bincount(rows[:, b], minlength=50) for b in range(3)], 1)
    # systematic: never off by one or more
    assert ((counts - 50 * torch.softmax(log_w, 0)).abs() < 1).all()
    assert (rows.diff(dim=0) < 0).any()  # in no order
    alike = resampled(torch.zeros(50, 2), generator)
    assert torch.equal(alike.sort(0).values, torch.arange(50)[:, None].expand(50, 2))


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_resampling_leaves_particles_without_weights(value: float) -> None:
    rows = resampled(torch.full((30, 1), value), torch.Generator().manual_seed(0))
    assert torch.equal(rows.sort(0).values[:, 0], torch.arange(30))
