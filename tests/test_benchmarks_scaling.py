"""The arithmetic of docs/scaling.md, and that the page shows what the script prints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import scaling
from benchmarks.scaling import Assumed, Measured, held, measure, step, traffic_bytes
from tests.written import ROOT

ONE = Measured(
    params=10**6,
    flops=3e9,
    moved=1e8,
    fixed=1e7,
    operations=200,
    saved=1e7,
    seconds=0.1,
    batch=10,
)


def test_the_page_has_the_tables_of_the_kept_figures() -> None:
    page = (ROOT / "docs" / "scaling.md").read_text()
    for table in scaling.tables(json.loads(scaling.KEPT.read_text())).split("\n\n"):
        assert table in page


def test_counts_are_those_of_the_layers(tmp_path: Path) -> None:
    net = {"latent": 3, "hidden": (8,), "channels": (2,)}
    found = measure(net, 4, 1)
    model, guide = scaling.programs(**net)  # type: ignore[arg-type]
    assert found.params == sum(p.numel() for m in (model, guide) for p in m.parameters())
    # the encoder's convolution alone: 16 x 16 places, 2 channels of 27 weights, forward and the
    # gradient of its weights, a multiplication and an addition each
    assert found.flops > 4 * 16 * 16 * 2 * 27 * 2 * 2
    assert measure(net, 8, 1).flops == 2 * found.flops
    again = measure(net, 8, 1)
    assert again.moved == 2 * found.moved and again.fixed == pytest.approx(found.fixed, rel=0.01)


def test_what_bounds_a_step() -> None:
    given = Assumed()
    assert step(replace(ONE, operations=10**6), 10, 1, given).bound == "launches"
    assert step(replace(ONE, flops=1e13), 10, 1, given).bound == "products"
    assert step(replace(ONE, moved=1e11), 10, 1, given).bound == "memory"
    slow = step(replace(ONE, params=10**9, flops=1e13), 10, 64, given)
    assert slow.bound == "traffic" and slow.whole == pytest.approx(slow.traffic + slow.compute / 3)
    hidden = step(replace(ONE, flops=1e15), 10, 8, given)
    assert hidden.traffic > 0 and hidden.whole == hidden.compute


def test_a_ring_sends_no_more_than_twice_the_gradients() -> None:
    sent = [traffic_bytes(10**6, cards) for cards in (1, 2, 8, 64)]
    assert sent == sorted(sent) and sent[0] == 0 and sent[1] == 4e6 and sent[-1] < 8e6


def test_memory_is_of_parameters_and_data() -> None:
    parts = held(ONE, 20, 1000)
    assert parts["Adam"] == 2 * parts["parameters"] == 8e-3
    assert parts["activations"] == pytest.approx(0.02)
    assert parts["data"] == pytest.approx(torch.empty(1000, 3, 32, 32).numel() / 1e9)
