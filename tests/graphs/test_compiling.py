"""What is compiled is kept on the disk for the next process."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from pyro_vae.graphs import capture, compile_graph, compiling


def test_another_process_finds_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    def function(x: Tensor) -> list[Tensor]:
        return [torch.nn.functional.softplus(x).sum()]

    x = torch.randn(3, 5)
    found = []
    for _ in range(2):
        monkeypatch.setattr(compiling, "_COMPILED", {})  # as in a new process
        counters.clear()
        with torch.no_grad():
            (got,) = compile_graph(capture(function, [x]), [x])(x)
        torch.testing.assert_close(got, function(x)[0])
        found.append(dict(counters["inductor"]))

    assert not any("fxgraph_cache_bypass" in each for each in found)
    assert found[1]["fxgraph_cache_hit"] == 1
