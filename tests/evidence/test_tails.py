"""The tail of a set of weights, against generalised Pareto distributions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pyro_vae.evidence.tails import FEWEST, tail
from pyro_vae.evidence.weights import log_mean_exp


def pareto(shape: float, num_particles: int, repetitions: int) -> Tensor:
    """Log-weights `(S, R)` of generalised Pareto weights, `shape` k > 0, of mean 1 / (1 - k)."""
    uniform = torch.rand(num_particles, repetitions, dtype=torch.double)
    return torch.log((uniform**-shape - 1) / shape)


@pytest.mark.parametrize("shape", [0.3, 0.5, 0.7, 1.0])
def test_the_limit_is_above_the_shape(shape: float) -> None:
    found = tail(pareto(shape, 1000, 400)).limit
    # 1.5 standard errors: 93%, less what the prior of k takes
    assert (found > shape).double().mean() > 0.85
    assert shape > 0.7 or found.median() < shape + 0.4


@pytest.mark.parametrize("shape", [0.3, 0.5, 0.7])
def test_what_is_unseen_is_bounded(shape: float) -> None:
    log_w = pareto(shape, 500, 1000)
    mean, unseen, truth = log_mean_exp(log_w), tail(log_w).unseen, -math.log(1 - shape)
    assert (mean < truth).double().mean() > 0.4
    assert ((mean + unseen) > truth).double().mean() > 0.95
    assert shape > 0.3 or unseen.median() < 0.4


def test_a_tail_is_the_same_in_any_unit_and_none_of_few_or_of_equal_weights() -> None:
    log_w = pareto(0.4, 500, 5)
    for one, other in zip(tail(log_w), tail(log_w - 5000.0), strict=True):
        torch.testing.assert_close(one, other)
    assert all(part.isposinf().all() for part in tail(log_w[: FEWEST - 1]))
    equal = tail(torch.full((500, 2), -3.0).double())
    assert equal.limit.isneginf().all() and (equal.unseen == 0).all()
    assert all(part.isposinf().all() for part in tail(torch.full((500, 2), -math.inf).double()))
    atoms = torch.zeros(500, 1).double()
    atoms[0] = 5.0  # two values: no tail can be fitted to them
    assert all(part.isposinf().all() for part in tail(atoms))
