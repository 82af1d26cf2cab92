"""Kinds of programs by the statements and handlers that are in them."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer.reparam import LocScaleReparam
from torch import Tensor

from tests.programs.brought.kind import NUM, UP, Brought, answers, data, log_px, spread
from tests.programs.brought.plain import decode, guide_by, model, spelled


def markov() -> Brought:
    """b follows a; the posterior is not independent, the guide is."""
    net = answers()

    def chain(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(2))
        with pyro.plate("data", len(x)):
            z = torch.zeros(())
            for t in pyro.markov(range(2)):
                z = pyro.sample(f"z_{t}", dist.Normal(0.5 * z, 1.0))
                pyro.sample(f"x_{t}", dist.Normal(z + level[t], 1.0), obs=x[:, t])

    def guide(x: Tensor) -> None:
        pyro.module("net", net)
        with pyro.plate("data", len(x)):
            for t in range(2):
                pyro.sample(f"z_{t}", dist.Normal(net(x)[:, t], 0.8))

    root = torch.tensor([[1.0, 0.0], [0.5, 1.0]]).double()
    px = dist.MultivariateNormal(torch.zeros(2).double(), root @ root.T + torch.eye(2).double())
    with torch.no_grad():
        net.weight.copy_(torch.eye(2, 3) / 2)
    return Brought(chain, guide, data(), lambda x, index: px.log_prob(x[:, :2].double()))


SEEN = torch.tensor([True, True, False])
_PART = torch.eye(3)[SEEN]


def seen_px(x: Tensor, index: Any = None) -> Tensor:
    """log p of the first two values alone."""
    covariance = _PART @ (torch.eye(3) + UP.T @ UP) @ _PART.T
    px = dist.MultivariateNormal(torch.zeros(2).double(), covariance.double())
    return px.log_prob(x[:, :2].double())


def _part(mean: Tensor) -> Any:
    return dist.Normal(mean, 1.0).mask(SEEN).to_event(1)


def masked() -> Brought:
    def part(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            pyro.sample("obs", _part(decode(a, b, level).mean), obs=x)

    return Brought(part, guide_by(answers()), data(), seen_px)


HALF = torch.arange(3 * NUM) % 2 == 0


def half_px(x: Tensor, index: Tensor) -> Tensor:
    """log p of every other datum."""
    return torch.where(HALF[index], log_px(x), 0.0)


def poutine_mask() -> Brought:
    """Every other datum is not observed."""

    def part(x: Tensor, index: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            with poutine.mask(mask=HALF[index]):
                pyro.sample("obs", decode(a, b, level), obs=x)

    own, prior = answers(), torch.ones(2)

    def guide(x: Tensor, index: Tensor) -> None:
        pyro.module("answers", own)
        there = HALF[index][:, None]
        mean, sd = torch.where(there, own(x), 0.0), torch.where(there, spread(), prior)
        with pyro.plate("data", len(x)):
            for place, name in enumerate("ab"):
                pyro.sample(name, dist.Normal(mean[:, place], sd[:, place]))

    return Brought(part, guide, data(), half_px)


def obs_mask() -> Brought:
    """Pyro's obs_mask: what is not observed is one more latent, which the guide answers too."""

    def part(x: Tensor, index: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            pyro.sample("obs", decode(a, b, level), obs=x, obs_mask=HALF[index])

    net = answers()

    def guide(x: Tensor, index: Tensor) -> None:
        pyro.module("answers", net)
        there = HALF[index][:, None]
        mean, sd = torch.where(there, net(x), 0.0), torch.where(there, spread(), 1.0)
        with pyro.plate("data", len(x)):
            for place, name in enumerate("ab"):
                pyro.sample(name, dist.Normal(mean[:, place], sd[:, place]))
            with poutine.mask(mask=~HALF[index]):
                pyro.sample("obs_unobserved", dist.Normal(torch.zeros(3), 1.5).to_event(1))

    return Brought(part, guide, data(), half_px)


def factor() -> Brought:
    """The likelihood as a factor."""

    def by_factor(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            pyro.factor("fit", decode(a, b, level).log_prob(x))

    return spelled(by_factor)


def extra_factor() -> Brought:
    """A likelihood, and a factor of 2 beside it."""

    def with_factor(x: Tensor) -> None:
        model(x)
        with pyro.plate("more", len(x)):
            pyro.factor("two", torch.full((len(x),), 2.0).log())

    return Brought(
        with_factor,
        guide_by(answers()),
        data(),
        lambda x, index: log_px(x) + torch.tensor(2.0).log(),
    )


def scaled() -> Brought:
    """beta = 1/2 by poutine.scale; a density has no scale."""

    def tempered(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        with pyro.plate("data", len(x)):
            with poutine.scale(scale=0.5):
                a = pyro.sample("a", dist.Normal(0.0, 1.0))
                b = pyro.sample("b", dist.Normal(0.0, 1.0))
            pyro.sample("obs", decode(a, b, level), obs=x)

    own = guide_by(answers())

    def guide(x: Tensor) -> None:
        with poutine.scale(scale=0.5):
            own(x)

    return Brought(tempered, guide, data(), log_px)


def subsample_size() -> Brought:
    """Pyro chooses the minibatch."""

    def some(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        with pyro.plate("data", len(x), subsample_size=4) as rows:
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            pyro.sample("obs", decode(a, b, level), obs=x[rows])

    net = answers()

    def guide(x: Tensor) -> None:
        pyro.module("answers", net)
        with pyro.plate("data", len(x), subsample_size=4) as rows:
            a, b = net(x[rows]).unbind(-1)
            pyro.sample("a", dist.Normal(a, spread()[0]))
            pyro.sample("b", dist.Normal(b, spread()[1]))

    return Brought(some, guide, data(), log_px)


def subsample_index() -> Brought:
    """The package chooses the minibatch, out of a plate of all data."""

    def some(x: Tensor, index: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        with pyro.plate("data", 3 * NUM, subsample=index):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            pyro.sample("obs", decode(a, b, level), obs=x)

    net = answers()

    def guide(x: Tensor, index: Tensor) -> None:
        pyro.module("answers", net)
        a, b = net(x).unbind(-1)
        with pyro.plate("data", 3 * NUM, subsample=index):
            pyro.sample("a", dist.Normal(a, spread()[0]))
            pyro.sample("b", dist.Normal(b, spread()[1]))

    return Brought(some, guide, data(), log_px)


def deterministic() -> Brought:
    def told(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            mean = pyro.deterministic("mean", decode(a, b, level).mean, event_dim=1)
            pyro.sample("obs", dist.Normal(mean, 1.0).to_event(1), obs=x)

    return spelled(told)


def several_observed() -> Brought:
    def apart(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            mean = decode(a, b, level).mean
            pyro.sample("first", dist.Normal(mean[..., 0], 1.0), obs=x[:, 0])
            pyro.sample("rest", dist.Normal(mean[..., 1:], 1.0).to_event(1), obs=x[:, 1:])

    return spelled(apart)


def reparam() -> Brought:
    """A non-centred model by Pyro's reparameterisation."""
    moved = poutine.reparam(model, config={"b": LocScaleReparam(0.0)})
    net = answers()

    def guide(x: Tensor) -> None:
        pyro.module("answers", net)
        a, b = net(x).unbind(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(a, spread()[0]))
            pyro.sample("b_decentered", dist.Normal(b, spread()[1]))

    return Brought(moved, guide, data(), log_px)


def condition() -> Brought:
    """b is known to be 0, by pyro.condition."""
    known = pyro.condition(model, data={"b": torch.zeros(())})
    net = answers()

    def guide(x: Tensor) -> None:
        pyro.module("answers", net)
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(net(x)[:, 0], spread()[0]))

    covariance = (torch.eye(3) + UP[0][:, None] * UP[0]).double()
    px = dist.MultivariateNormal(torch.zeros(3).double(), covariance)
    at_zero = dist.Normal(0.0, 1.0).log_prob(torch.tensor(0.0))
    return Brought(known, guide, data(), lambda x, index: px.log_prob(x.double()) + at_zero)
