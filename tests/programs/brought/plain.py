"""Kinds of programs by how they are written: functions, modules, methods, arguments."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import Tensor, nn

import pyro_vae as pv
from tests.programs.brought.kind import NUM, UP, Brought, answers, data, log_px, spread


def decode(a: Tensor, b: Tensor, level: Any = 0.0) -> Any:
    """p(x | a, b), of latents `(..., B)`."""
    up = UP.to(a)
    mean = a[..., None] * up[0] + b[..., None] * up[1] + level
    return dist.Normal(mean, 1.0).to_event(1)


def model(x: Tensor, index: Any = None) -> None:
    """The model that most kinds are spellings of, with a level to train."""
    level = pyro.param("level", torch.zeros(3).to(x))
    with pyro.plate("data", len(x), dim=-1):
        a = pyro.sample("a", dist.Normal(x.new_zeros(()), 1.0))
        b = pyro.sample("b", dist.Normal(x.new_zeros(()), 1.0))
        pyro.sample("obs", decode(a, b, level), obs=x)


def guide_by(net: nn.Module, name: str = "answers") -> Any:
    """Its posterior, a little wide, by a net."""

    def guide(x: Tensor, index: Any = None) -> None:
        pyro.module(name, net)
        a, b = net(x).unbind(-1)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("a", dist.Normal(a, spread()[0].to(x)))
            pyro.sample("b", dist.Normal(b, spread()[1].to(x)))

    return guide


def spelled(program: Any) -> Brought:
    """Another spelling of the model, with the guide by hand."""
    return Brought(program, guide_by(answers()), data(), log_px)


def functions() -> Brought:
    return spelled(model)


def one_vector() -> Brought:
    net = answers()

    def one(x: Tensor) -> None:
        pyro.module("decoder", up)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("obs", dist.Normal(up(z), 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", net)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(net(x), spread()).to_event(1))

    up = nn.Linear(2, 3)
    with torch.no_grad():
        up.weight.copy_(UP.T)
        up.bias.zero_()
    return Brought(one, guide, data(), log_px)


def inner_plate() -> Brought:
    net = answers()

    def plated(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            with pyro.plate("parts", 2, dim=-2):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))  # (..., 2, B)
            mean = z.transpose(-1, -2) @ UP
            pyro.sample("obs", dist.Normal(mean[..., None, :, :], 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("answers", net)
        with pyro.plate("data", len(x), dim=-1), pyro.plate("parts", 2, dim=-2):
            pyro.sample("z", dist.Normal(net(x).T, spread()[:, None]))

    return Brought(plated, guide, data(), log_px)


class Decoder(PyroModule):
    def __init__(self) -> None:
        super().__init__()
        self.sd = PyroParam(torch.tensor(1.0), constraint=dist.constraints.positive)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            pyro.sample("obs", dist.Normal(decode(a, b).mean, self.sd).to_event(1), obs=x)


class Encoder(PyroModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = PyroModule[nn.Linear](3, 2)
        self.net.load_state_dict(answers().state_dict())

    def forward(self, x: Tensor) -> None:
        a, b = self.net(x).unbind(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(a, spread()[0]))
            pyro.sample("b", dist.Normal(b, spread()[1]))


def pyro_modules() -> Brought:
    return Brought(Decoder(), Encoder(), data(), log_px)


class Weighed(PyroModule):
    """A decoder whose level is unknown, one for all data."""

    def __init__(self) -> None:
        super().__init__()
        self.level = PyroSample(dist.Normal(torch.zeros(3), 1.0).to_event(1))

    def forward(self, x: Tensor) -> None:
        level = self.level
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            pyro.sample("obs", decode(a, b, level), obs=x)


def with_global(program: Any) -> Brought:
    own = guide_by(answers())

    def guide(x: Tensor) -> None:
        where = pyro.param("where", torch.zeros(3))
        pyro.sample("level", dist.Normal(where, 0.1).to_event(1))
        own(x)

    return Brought(program, guide, data(), None)


def pyro_sample() -> Brought:
    return with_global(Weighed())


def global_weights() -> Brought:
    def weighed(x: Tensor) -> None:
        level = pyro.sample("level", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            pyro.sample("obs", decode(a, b, level), obs=x)

    return with_global(weighed)


class Both:
    """Model and guide as methods of one object, as in Pyro's tutorial of the VAE."""

    def __init__(self) -> None:
        self.net = answers()

    def model(self, x: Tensor) -> None:
        model(x)

    def guide(self, x: Tensor) -> None:
        guide_by(self.net)(x)


def methods() -> Brought:
    both = Both()
    return Brought(both.model, both.guide, data(), log_px)


def any_arguments() -> Brought:
    def hidden(*args: Any, **kwargs: Any) -> None:
        model(*args, **kwargs)

    return spelled(hidden)


def options() -> Brought:
    def scaled(x: Tensor, y: Any = None, index: Any = None, *, scale: float = 1.0) -> None:
        assert y is None
        model(scale * x, index)

    return spelled(partial(scaled, scale=1.0))


def labels_asked() -> Brought:
    def labelled(x: Tensor, y: Tensor) -> None:
        model(x - y)

    return spelled(labelled)


SHIFTS = 3.0 * torch.arange(3 * NUM).float()[:, None] % 7


def shifted_px(x: Tensor, index: Tensor | None) -> Tensor:
    index = torch.arange(len(x)) if index is None else index
    return log_px(x - SHIFTS[index])


def by_context() -> Brought:
    own = guide_by(answers())

    def moved(x: Tensor, context: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            pyro.sample("obs", decode(a, b, level + context), obs=x)

    def guide(x: Tensor, context: Tensor) -> None:
        own(x - context)

    numbers = torch.arange(NUM) + 5
    programs = (pv.given(program, SHIFTS) for program in (moved, guide))
    return Brought(*programs, data() + SHIFTS[numbers], shifted_px, numbers)


def by_index() -> Brought:
    own = guide_by(answers())

    def moved(x: Tensor, index: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            pyro.sample("obs", decode(a, b, level + SHIFTS[index]), obs=x)

    def guide(x: Tensor, index: Tensor) -> None:
        own(x - SHIFTS[index])

    numbers = torch.arange(NUM) + 5
    return Brought(moved, guide, data() + SHIFTS[numbers], shifted_px, numbers)


def doubles() -> Brought:
    return Brought(model, guide_by(answers(torch.float64)), data(torch.float64), log_px)


def one_value() -> Brought:
    """x (N,): a scalar each."""
    net = nn.Linear(1, 2)

    def scalar(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(()))
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            pyro.sample("obs", dist.Normal(a + b + level, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("net", net)
        a, b = net(x[:, None]).unbind(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(a, 0.9))
            pyro.sample("b", dist.Normal(b, 0.9))

    with torch.no_grad():
        net.weight.fill_(1 / 3)
        net.bias.zero_()
    exact = dist.Normal(torch.tensor(0.0).double(), 3**0.5)
    return Brought(scalar, guide, data()[:, 0], lambda x, index: exact.log_prob(x.double()))
