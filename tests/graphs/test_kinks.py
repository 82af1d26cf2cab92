"""A unit of a net on its kink has a gradient or none by rounding: that is no other path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pyro_vae.graphs import CaptureError, Compiled, compiled
from pyro_vae.graphs.capturing import Graph


def loss_and_gradient(x: Tensor) -> list[Tensor]:
    return [(x**2).sum(), 2 * x]


def off_by(error: Sequence[float], monkeypatch: pytest.MonkeyPatch, once: bool = False) -> None:
    """Let what is compiled be off in its outputs, relative: at all calls, or at the second."""

    def compile_graph(graph: Graph, inputs: Sequence[Tensor]) -> Callable[..., Any]:
        number = 0

        def run(*tensors: Tensor) -> list[Tensor]:
            nonlocal number
            number += 1
            size = 1 if number == 2 or not once else 0
            return [t * (1 + size * e) for t, e in zip(graph.module(*tensors), error, strict=True)]

        return run

    monkeypatch.setattr(compiled, "compile_graph", compile_graph)


def calls(function: Callable[[Tensor], list[Tensor]]) -> None:
    run = Compiled(function)
    for seed in range(70):
        run(torch.randn(5, generator=torch.Generator().manual_seed(seed)))


def test_a_gradient_that_jumps_is_let_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    off_by([0.0, 0.01], monkeypatch, once=True)
    calls(loss_and_gradient)


@pytest.mark.parametrize(
    ("error", "once"),
    [([0.01, 0.0], True), ([0.0, 0.5], True), ([0.0, 0.01], False)],
    ids=["the loss", "far", "again"],
)
def test_more_is_an_error(error: list[float], once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    off_by(error, monkeypatch, once)
    with pytest.raises(CaptureError, match="differs from what the graph computes"):
        calls(loss_and_gradient)


def test_another_path_is_an_error_however_near(monkeypatch: pytest.MonkeyPatch) -> None:
    off_by([0.0, 0.0], monkeypatch)
    numbers = np.random.default_rng(0)
    tables = [torch.full((5,), 1 + place / 400) for place in range(20)]

    def by_noise(x: Tensor) -> list[Tensor]:
        return [(x**2).sum(), 2 * x * (1 + 0.05 * numbers.random())]

    def by_table(x: Tensor) -> list[Tensor]:
        return [(x**2).sum(), 2 * x * tables[int(numbers.random() * 20)].clone()]

    for function in (by_noise, by_table):
        with pytest.raises(CaptureError, match="differs from what the graph computes"):
            calls(function)
