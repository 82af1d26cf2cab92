"""A graph is never stale: whatever changes about the programs, the result follows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from pyro_vae.graphs import Compiled, Watch
from tests.scenarios import eager

OFFSET = 0.0


class Holder:
    sigma: float

    def __init__(self) -> None:
        self.sigma = 1.0


class Program(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
        self.scale = 1.0
        self.offset = torch.zeros(3)  # no buffer: a plain attribute
        self.options = {"sigma": 1.0}
        self.holder = Holder()
        self.activation = torch.relu
        self.others = [nn.Dropout(0.5)]

    def forward(self, x: Tensor) -> Tensor:
        out = (
            self.scale * self.net(x) * self.options["sigma"] * self.holder.sigma
            + self.offset
            + OFFSET
        )
        out = self.others[0](self.activation(out))
        return out.double().float() if any(not p.requires_grad for p in self.parameters()) else out


def change_in_place(program: Program) -> None:
    with torch.no_grad():
        program.net[0].weight.mul_(2)


def load(program: Program) -> None:
    program.load_state_dict({k: v + 1 for k, v in program.state_dict().items()})


def load_by_assignment(program: Program) -> None:
    program.load_state_dict({k: v + 1 for k, v in program.state_dict().items()}, assign=True)


def replace_parameter(program: Program) -> None:
    program.net[0].bias = nn.Parameter(torch.randn(3))


def replace_module(program: Program) -> None:
    program.net[0] = nn.Linear(3, 3)


def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
    return 2 * output


CHANGES: dict[str, Callable[[Program], object]] = {
    "number in a dict": lambda p: p.options.update(sigma=3.0),
    "number of an object": lambda p: setattr(p.holder, "sigma", 3.0),
    "function": lambda p: setattr(p, "activation", torch.tanh),
    "hook": lambda p: p.net.register_forward_hook(hook),
    "module appended": lambda p: p.net.append(nn.Tanh()),
    "module in a list": lambda p: p.others[0].eval(),
    "strides": lambda p: setattr(
        p.net[0].weight, "data", p.net[0].weight.data.t().contiguous().t()
    ),
    "global in forward": lambda p: globals().update(OFFSET=5.0),
    "weight in place": change_in_place,
    "state dict": load,
    "state dict by assignment": load_by_assignment,
    "parameter replaced": replace_parameter,
    "module replaced": replace_module,
    "evaluation mode": lambda p: p.eval(),
    "one module to evaluation mode": lambda p: p.net[2].eval(),
    "frozen": lambda p: p.net[0].weight.requires_grad_(False),
    "float64": lambda p: p.double(),
    "number": lambda p: setattr(p, "scale", 3.0),
    "tensor attribute": lambda p: setattr(p, "offset", torch.ones(3)),
    "tensor attribute in place": lambda p: p.offset.add_(1),
    "dropout rate": lambda p: setattr(p.net[2], "p", 0.1),
    "buffer in place": lambda p: p.net[1].running_mean.add_(1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_result_follows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    program = Program()
    compiled = Compiled(lambda x: [program(x)], program)

    def check() -> None:
        x = torch.randn(8, 3, dtype=program.net[0].weight.dtype)
        before = [b.clone() for b in program.buffers()]
        torch.manual_seed(1)
        got = compiled(x)[0]
        after = [b.clone() for b in program.buffers()]
        for buffer, value in zip(program.buffers(), before, strict=True):
            buffer.copy_(value)
        torch.manual_seed(1)
        with torch.no_grad():
            assert torch.equal(got, program(x)), name
        assert all(map(torch.equal, after, program.buffers()))

    check()
    check()
    assert compiled.num_captures == 1
    CHANGES[name](program)
    check()
    check()
    assert compiled.num_captures <= 2


def test_going_back_needs_no_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    program = Program()
    compiled = Compiled(lambda x: [program(x)], program)
    for size in (8, 3, 8, 3):
        for mode in (True, False):
            program.train(mode)
            compiled(torch.randn(size, 3))
    assert compiled.num_captures == 4


FACTOR = 2.0
NET = nn.Linear(3, 3)


def test_globals_closures_and_wrappers_are_seen() -> None:
    inner, other = nn.Linear(3, 3), nn.Linear(3, 3)
    tensor = torch.ones(3)

    def function(x: Tensor, net: nn.Module) -> Tensor:
        return FACTOR * NET(inner(net(x))) + tensor

    watch = Watch(partial(function, net=other))
    assert {id(m) for m in watch.modules} >= {id(inner), id(other), id(NET)}
    assert watch.unchanged()
    globals()["FACTOR"] = 3.0
    assert not watch.unchanged()
    assert Watch(partial(function, net=other)).key != watch.key
    globals()["FACTOR"] = 2.0
    assert Watch(partial(function, net=other)).key == watch.key
    NET.eval()
    assert not watch.unchanged()
