"""Capturing a function of tensors: what the graph holds, what it reads, what it refuses."""

from __future__ import annotations

import gc
import linecache
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.fx import graph_module as fx_graph_module

from pyro_vae.graphs import CaptureError, Compiled, capture
from pyro_vae.graphs.compiling import _COMPILED
from pyro_vae.graphs.notes import Noted

OWN = torch.Generator()


def test_live_tensors_become_inputs_once_each() -> None:
    weight, bias = torch.randn(3), torch.randn(3)
    graph = capture(lambda x: [weight * x + bias + weight], [torch.ones(3)])
    assert [id(t) for t in graph.reads] == [id(weight), id(bias)]
    x = torch.randn(3)
    weight.mul_(2)
    assert torch.equal(graph.module(*graph.reads, x)[0], weight * x + bias + weight)


def test_numbers_made_on_the_way_become_literals() -> None:
    graph = capture(lambda x: [x + torch.tensor(2.0)], [torch.ones(3)])
    assert graph.reads == []
    assert torch.equal(graph.module(torch.zeros(3))[0], torch.full((3,), 2.0))


def test_values_are_noted_and_not_made() -> None:
    """Else a capture takes a quarter longer: has torch another way to note them?"""
    x = torch.randn(3, 4, dtype=torch.double)
    graph = capture(lambda x: [(2 * x).t()], [x])
    double, turned = [n.meta["val"] for n in graph.module.graph.nodes if n.op == "call_function"]
    assert double == Noted(x.shape, x.stride(), x.dtype, x.device) and double.is_contiguous()
    assert turned == Noted(x.t().shape, x.t().stride(), x.dtype, x.device)
    assert not turned.is_contiguous()


def test_gradients_are_part_of_the_graph() -> None:
    weight = torch.randn(3, requires_grad=True)
    graph = capture(
        lambda x: torch.autograd.grad(((weight * x) ** 2).sum(), weight), [torch.ones(3)]
    )
    x = torch.randn(3)
    torch.testing.assert_close(graph.module(weight, x)[0], 2 * weight.detach() * x**2)


def test_random_state_and_buffers_are_left_alone() -> None:
    norm = nn.BatchNorm1d(3)
    x, before = torch.randn(5, 3), torch.get_rng_state()
    capture(lambda x: [norm(x) + torch.randn(3)], [x], [norm])
    assert torch.equal(before, torch.get_rng_state())
    assert norm.num_batches_tracked == 0 and torch.equal(norm.running_mean, torch.zeros(3))


def test_noise_is_that_of_the_function() -> None:
    def function(x: torch.Tensor) -> list[torch.Tensor]:
        return [x + torch.randn(4), torch.bernoulli(torch.full((4,), 0.5))]

    compiled, x = Compiled(function), torch.zeros(4)
    compiled(x)
    torch.manual_seed(3)
    got = compiled(x)
    torch.manual_seed(3)
    assert all(map(torch.equal, got, function(x)))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: [x if x.sum() > 0 else -x], "the value of a tensor"),
        (lambda x: [x if x.sum().item() > 0 else -x], "the value of a tensor"),
        (lambda x: [x * float(x[0])], "the value of a tensor"),
        (lambda x: [x[x > 0]], "nonzero|value of a tensor|index"),
        (lambda x: [x * torch.rand(3, generator=OWN)], r"from a torch\.Generator of its own"),
    ],
)
def test_refused(function: Callable[[torch.Tensor], list[torch.Tensor]], reason: str) -> None:
    with pytest.raises(CaptureError, match=reason):
        Compiled(function)(torch.ones(3))


def test_a_loss_that_is_only_read_stays_in_the_graph() -> None:
    weight = torch.ones(3, requires_grad=True)

    def function(x: torch.Tensor) -> list[torch.Tensor]:
        loss = (weight * x).sum()
        return [torch.as_tensor(loss.item() * 2 + 1)]

    x = torch.randn(3)
    graph = capture(function, [torch.ones(3)])
    torch.testing.assert_close(graph.module(*graph.reads, x)[0], 2 * x.sum() + 1)


def test_an_error_of_the_function_s_own_is_raised_as_it_is() -> None:
    with pytest.raises(AttributeError, match="no_such"):
        Compiled(lambda x: [torch.no_such(x)])(torch.ones(3))  # type: ignore[attr-defined]


def captured_once() -> list[weakref.ref[Any]]:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    compiled = Compiled(lambda x: [net(x).sum()], net)
    compiled(torch.ones(2, 3))
    entry = next(iter(compiled._entries.values()))
    return list(map(weakref.ref, (net, compiled, entry.watch, *net.parameters())))


def test_a_graph_that_is_gone_leaves_nothing_behind() -> None:
    """The same sources and compiled graphs are kept after one capture and after many, and nothing
    of their programs.
    """
    sources = fx_graph_module._loader.eval_cache
    alive: list[weakref.ref[Any]] = []
    kept = []
    for _ in range(4):
        alive += captured_once()
        gc.collect()
        kept.append((len(sources), len(linecache.cache), len(_COMPILED)))
    assert len(set(kept[1:])) == 1, kept  # the first may compile something that stays
    assert kept[0][0] == kept[1][0] and kept[0][2] == kept[1][2]
    assert len(alive) == 20 and all(reference() is None for reference in alive)
