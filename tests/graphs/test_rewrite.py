"""Rewritten graphs give the same numbers."""

from __future__ import annotations

import math

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_vae.graphs import capture
from pyro_vae.graphs.rewrite import log_bernoulli_sum, num_factors, rewrite

ENTROPY = torch.ops.aten.binary_cross_entropy_with_logits.default


def log_prob(logits: Tensor, x: Tensor) -> list[Tensor]:
    return [dist.Bernoulli(logits=logits, validate_args=False).to_event(x.dim() - 1).log_prob(x)]


@pytest.mark.parametrize("shape", [(1, 28, 28), (64,), (3, 32, 32), (300,)])
@pytest.mark.parametrize("scale", [0.1, 3.0, 200.0])
def test_bernoulli_sums_are_the_same(shape: tuple[int, ...], scale: float) -> None:
    logits, x = scale * torch.randn(5, 4, *shape), torch.rand(4, *shape).round()
    graph = capture(log_prob, [logits, x])
    rewrite(graph.module)
    assert not graph.module.graph.find_nodes(op="call_function", target=ENTROPY)
    (got,) = graph.module(*graph.reads, logits, x)
    exact = log_prob(logits.double(), x.double())[0]
    assert got.shape == (5, 4)
    assert ((got - exact).abs() <= 1e-5 + 1e-6 * exact.abs()).all()


@pytest.mark.parametrize(
    "function",
    [
        lambda logits, x: [torch.nn.functional.binary_cross_entropy_with_logits(logits, x)],
        lambda logits, x: [dist.Bernoulli(logits=logits, validate_args=False).log_prob(x)],
        lambda logits, x: [
            dist.Bernoulli(logits=logits[:, :7], validate_args=False).to_event(1).log_prob(x[:, :7])
        ],
    ],
    ids=["a mean", "no sum", "too few pixels"],
)
def test_other_uses_are_left_alone(function: object) -> None:
    logits, x = torch.randn(4, 64), torch.rand(4, 64).round()
    graph = capture(function, [logits, x])  # type: ignore[arg-type]
    rewrite(graph.module)
    assert graph.module.graph.find_nodes(op="call_function", target=ENTROPY)
    torch.testing.assert_close(graph.module(*graph.reads, logits, x)[0], function(logits, x)[0])  # type: ignore[operator]


@pytest.mark.parametrize("fill", [0.0, 3.0])
def test_tests_for_nan_are_comparisons(fill: float) -> None:
    def filled(x: Tensor) -> list[Tensor]:
        return [x.nan_to_num(fill, math.inf, -math.inf), x.isnan(), x.isnan().float().nan_to_num()]

    x = torch.tensor([0.5, math.nan, math.inf, -math.inf])
    graph = capture(filled, [x])
    rewrite(graph.module)
    for got, expected in zip(graph.module(*graph.reads, x), filled(x), strict=True):
        assert torch.equal(got, expected)
    assert not graph.module.graph.find_nodes(
        op="call_function", target=torch.ops.aten.isnan.default
    )


def test_numbers_that_were_no_floats_are_not_tested_for_nan() -> None:
    def binary(x: Tensor) -> list[Tensor]:
        return [(x > 0).float().nan_to_num(0.0, math.inf, -math.inf)]

    graph = capture(binary, [torch.randn(4)])
    rewrite(graph.module)
    calls = [n.target for n in graph.module.graph.nodes if n.op == "call_function"]
    assert calls == [torch.ops.aten.gt.Scalar, torch.ops.aten._to_copy.default]


def test_infinities_that_are_replaced_stay_so() -> None:
    x = torch.tensor([math.nan, math.inf, -math.inf])
    graph = capture(lambda x: [x.nan_to_num(0.0)], [x])
    rewrite(graph.module)
    assert torch.equal(graph.module(x)[0], x.nan_to_num(0.0))


def test_what_is_lost_where_the_exponential_vanishes() -> None:
    # 784 pixels with exp(-|l|) just below float32's resolution: each loses all of it, 6e-8 at most
    logits = torch.full((1, 784), 17.0)
    got = log_bernoulli_sum(logits, torch.ones_like(logits), 784, num_factors(784))
    exact = (
        dist.Bernoulli(logits=logits.double())
        .log_prob(torch.ones(1, 784, dtype=torch.double))
        .sum()
    )
    assert abs(got.double() - exact) < 784 * 6e-8


def test_number_of_factors() -> None:
    assert {size: num_factors(size) for size in (784, 64, 1024, 300, 7, 97)} == {
        784: 7, 64: 4, 1024: 16, 300: 15, 7: 1, 97: 1,
    }  # fmt: skip
