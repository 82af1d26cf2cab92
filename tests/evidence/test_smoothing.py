"""Pareto smoothing of all data at once, against ArviZ, which takes one at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from pyro_vae.evidence import weights
from pyro_vae.evidence.importance_estimate import statistics_of
from pyro_vae.evidence.smoothing import Smoothed, smoothed
from pyro_vae.evidence.weights import pareto_smoothed
from pyro_vae.programs.traces import Particles

TOLERANCE = 1e-9
# the tail of ArviZ 1.x has one weight less where a fifth of them is no whole number, or many; of 25
# particles it fits none
NUMBERS = [25, 60, 1000] if weights._arviz_s()[0] == 1 else [60, 200]


def columns(num_particles: int) -> Tensor:
    """Log-weights of tails from bounded to infinite, far from 0 some of them."""
    noise = torch.Generator().manual_seed(num_particles)
    plain = torch.randn(num_particles, 12, dtype=torch.double, generator=noise)
    uniform = torch.rand(num_particles, 12, dtype=torch.double, generator=noise)
    spread = torch.linspace(0.01, 6, 12, dtype=torch.double)
    pareto = -torch.linspace(0.05, 1.8, 12, dtype=torch.double) * uniform.log()
    return torch.cat([spread * plain - 90, uniform, pareto + 1e3], 1)


@contextmanager
def one_by_one() -> Iterator[None]:
    """All columns left to ArviZ, whatever they look like."""

    def none_plain(log_w: Tensor) -> Smoothed:
        return smoothed(log_w)._replace(plain=torch.zeros(log_w.shape[1], dtype=torch.bool))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "smoothed", none_plain)
        yield


@pytest.mark.parametrize("num_particles", NUMBERS)
def test_all_at_once_is_arviz_one_by_one(num_particles: int) -> None:
    log_w = columns(num_particles)
    with one_by_one():
        khat, log_mean = pareto_smoothed(log_w)
    found = smoothed(log_w)
    assert found.plain.all()
    torch.testing.assert_close(found.khat, khat, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(found.log_mean, log_mean, rtol=0, atol=TOLERANCE)


def odd(num_particles: int = 100) -> Tensor:
    """A plain column, and six that are none: equal weights, ties, one that dwarfs the rest, weights
    of zero, infinite ones, NaN.
    """
    plain = columns(num_particles)[:, 5]
    equal, dwarfed = torch.zeros_like(plain), plain.clone()
    ties = plain.round()
    dwarfed[3] += 2000
    zeros, infinite, broken = plain.clone(), plain.clone(), plain.clone()
    zeros[10:] = -math.inf
    infinite[7], broken[7] = math.inf, math.nan
    return torch.stack([plain, equal, ties, dwarfed, zeros, infinite, broken], 1)


def test_what_is_not_plain_is_left_to_arviz(monkeypatch: pytest.MonkeyPatch) -> None:
    log_w = odd()
    with one_by_one():
        expected = pareto_smoothed(log_w)
    taken: list[int] = []
    psis = weights._psis
    monkeypatch.setattr(weights, "_psis", lambda w: taken.append(1) or psis(w))
    for mine, theirs in zip(pareto_smoothed(log_w), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=TOLERANCE, equal_nan=True)
    assert 1 <= len(taken) <= 3  # ties, and what has too few weights left, but not the first


def test_statistics_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    log_w = columns(200).float()
    draws = Particles(log_w, torch.zeros_like(log_w), torch.zeros_like(log_w))
    with one_by_one():
        expected = statistics_of(draws)
    monkeypatch.setattr(weights, "_psis", lambda w: pytest.fail("one by one"))
    found = statistics_of(draws)
    for name, values in expected.items():
        torch.testing.assert_close(
            found[name], values, rtol=0, atol=TOLERANCE, equal_nan=True, msg=name
        )
