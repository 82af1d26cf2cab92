"""Kinds of programs that are not as they should be: they are to be refused, in words that help."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from tests.programs.brought.kind import NUM, UP, Brought, answers, data, log_px, spread
from tests.programs.brought.plain import decode, guide_by, model, spelled


def no_plate() -> Brought:
    """No plate: all data are one event."""

    def joint(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(2))
        pyro.sample("obs", dist.Normal(z @ UP + level, 1.0).to_event(2), obs=x)

    net = answers()

    def guide(x: Tensor) -> None:
        pyro.module("answers", net)
        pyro.sample("z", dist.Normal(net(x), spread()).to_event(2))

    return Brought(joint, guide, data(), None)


def loop() -> Brought:
    """A plate that is a loop, with a site for each datum."""

    def one_by_one(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        for n in pyro.plate("data", len(x)):
            z = pyro.sample(f"z_{n}", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample(f"obs_{n}", dist.Normal(z @ UP + level, 1.0).to_event(1), obs=x[n])

    net = answers()

    def guide(x: Tensor) -> None:
        pyro.module("answers", net)
        for n in pyro.plate("data", len(x)):
            pyro.sample(f"z_{n}", dist.Normal(net(x[n]), spread()).to_event(1))

    return Brought(one_by_one, guide, data(), None)


def fixed_plate() -> Brought:
    """A plate of the size of the whole set, whatever it is run on."""

    def all_of_them(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        with pyro.plate("data", NUM):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            pyro.sample("obs", decode(a, b, level), obs=x)

    return Brought(all_of_them, guide_by(answers()), data(), log_px)


def by_values() -> Brought:
    """Control flow on values."""

    def branching(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        if x.mean() > 100:
            level = level + 1
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            pyro.sample("obs", decode(a, b, level), obs=x)

    return spelled(branching)


def old_deterministic() -> Brought:
    """A Delta among the latents, as before pyro.deterministic."""

    def told(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            mean = pyro.sample("mean", dist.Delta(decode(a, b, level).mean, event_dim=1))
            pyro.sample("obs", dist.Normal(mean, 1.0).to_event(1), obs=x)

    return spelled(told)


def no_to_event() -> Brought:
    """to_event is forgotten: the values of a datum are taken for data."""

    def loose(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            pyro.sample("obs", dist.Normal(decode(a, b, level).mean, 1.0), obs=x)

    return spelled(loose)


def other_dim() -> Brought:
    """The plate of the data at dim -2."""

    def turned(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("obs", dist.Normal(z @ UP + level, 1.0).to_event(1), obs=x[:, None])

    net = answers()

    def guide(x: Tensor) -> None:
        pyro.module("answers", net)
        with pyro.plate("data", len(x), dim=-2):
            pyro.sample("z", dist.Normal(net(x)[:, None], spread()).to_event(1))

    return Brought(turned, guide, data(), log_px)


def flat_net() -> Brought:
    """A net that takes two dimensions alone."""

    def flat(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            mean = torch.stack([a, b], -1).reshape(len(x), 2) @ UP + level
            pyro.sample("obs", dist.Normal(mean, 1.0).to_event(1), obs=x)

    return spelled(flat)


def unregistered() -> Brought:
    """Nets without pyro.module, which stock SVI trains none of, and says nothing."""
    net = answers()

    class Guide(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> None:
            a, b = self.net(x).unbind(-1)
            with pyro.plate("data", len(x)):
                pyro.sample("a", dist.Normal(a, spread()[0]))
                pyro.sample("b", dist.Normal(b, spread()[1]))

    return Brought(model, Guide(), data(), log_px)
