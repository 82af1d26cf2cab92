"""Kinds of programs by what their latents and data are: positive, of a simplex, discrete."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from tests.programs.brought.kind import NUM, Brought, answers, data, log_px, spread
from tests.programs.brought.plain import decode

POSITIVE = dist.constraints.positive


def log_normal() -> Brought:
    """exp(a) in place of a."""
    net = answers()

    def positive(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            pyro.sample("obs", decode(a.log(), b, level), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("answers", net)
        a, b = net(x).unbind(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.LogNormal(a, spread()[0]))
            pyro.sample("b", dist.Normal(b, spread()[1]))

    return Brought(positive, guide, data(), log_px)


def counts() -> Tensor:
    """Counts `(8, 3)`."""
    torch.manual_seed(2)
    return torch.poisson(torch.full((NUM, 3), 2.0))


def gamma() -> Brought:
    """Gamma and Poisson: x is negative binomial."""

    def rates(x: Tensor) -> None:
        more = pyro.param("more", torch.tensor(1.0), constraint=POSITIVE)
        with pyro.plate("data", len(x)):
            rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
            each = more * rate[..., None].expand(*rate.shape, 3)
            pyro.sample("obs", dist.Poisson(each).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        wide = pyro.param("wide", torch.tensor(1.2), constraint=POSITIVE)
        with pyro.plate("data", len(x)):
            pyro.sample("rate", dist.Gamma((2 + x.sum(1)) / wide, 4 / wide))

    def exact(x: Tensor, index: Any) -> Tensor:
        total = x.double().sum(1)
        norm = torch.lgamma(2 + total) - (2 + total) * math.log(4) - math.lgamma(2)
        return norm - torch.lgamma(x.double() + 1).sum(1)

    return Brought(rates, guide, counts(), exact, arguments={"values": "real"})


def flips() -> Tensor:
    torch.manual_seed(3)
    return (torch.rand(NUM, 3) < 0.6).float()


def beta() -> Brought:
    """Beta and Bernoulli."""

    def chances(x: Tensor) -> None:
        a = pyro.param("a", torch.tensor(2.0), constraint=POSITIVE)
        with pyro.plate("data", len(x)):
            p = pyro.sample("p", dist.Beta(a, 2.0))
            each = p[..., None].expand(*p.shape, 3)
            pyro.sample("obs", dist.Bernoulli(each).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        wide = pyro.param("wide", torch.tensor(1.2), constraint=POSITIVE)
        ones = x.sum(1)
        with pyro.plate("data", len(x)):
            pyro.sample("p", dist.Beta((2 + ones) / wide, (5 - ones) / wide))

    def exact(x: Tensor, index: Any) -> Tensor:
        ones = x.double().sum(1)
        norm = torch.lgamma(2 + ones) + torch.lgamma(5 - ones) - math.lgamma(7)
        return norm + math.lgamma(4) - 2 * math.lgamma(2)

    return Brought(chances, guide, flips(), exact, arguments={"values": "real"})


def dirichlet() -> Brought:
    """Dirichlet and multinomial."""

    def shares(x: Tensor) -> None:
        a = pyro.param("a", torch.full((3,), 2.0), constraint=POSITIVE)
        with pyro.plate("data", len(x)):
            p = pyro.sample("p", dist.Dirichlet(a))
            pyro.sample("obs", dist.Multinomial(5, p, validate_args=False), obs=x)

    def guide(x: Tensor) -> None:
        wide = pyro.param("wide", torch.tensor(1.2), constraint=POSITIVE)
        with pyro.plate("data", len(x)):
            pyro.sample("p", dist.Dirichlet((2 + x) / wide))

    def exact(x: Tensor, index: Any) -> Tensor:
        px = dist.DirichletMultinomial(torch.full((3,), 2.0).double(), 5)
        return px.log_prob(x.double())

    torch.manual_seed(4)
    x = dist.Multinomial(5, torch.full((NUM, 3), 1 / 3)).sample()
    return Brought(shares, guide, x, exact, arguments={"values": "real"})


def on_a_grid(density: Any, low: float, high: float) -> Tensor:
    """log of an integral over latents `(G, 1)` between two numbers, by the midpoint rule."""
    number = 4000
    step = (high - low) / number
    z = low + step * (torch.arange(number).double()[:, None] + 0.5)
    return torch.logsumexp(density(z), 0) + math.log(step)


def half_normal() -> Brought:
    """A scale for each datum."""

    def scales(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(()))
        with pyro.plate("data", len(x)):
            s = pyro.sample("s", dist.HalfNormal(1.0))
            pyro.sample(
                "obs",
                dist.Normal(level, 0.5 + s[..., None]).expand((*s.shape, 3)).to_event(1),
                obs=x,
            )

    def guide(x: Tensor) -> None:
        wide = pyro.param("wide", torch.tensor(1.0), constraint=POSITIVE)
        with pyro.plate("data", len(x)):
            pyro.sample("s", dist.LogNormal(x.std(1).clamp(min=0.3).log() - 0.2, wide))

    def exact(x: Tensor, index: Any) -> Tensor:
        def density(s: Tensor) -> Tensor:
            each = dist.Normal(0.0, 0.5 + s[..., None]).log_prob(x.double()).sum(-1)
            return dist.HalfNormal(1.0).log_prob(s) + each

        return on_a_grid(density, 0, 8)

    return Brought(scales, guide, data(), exact)


def von_mises() -> Brought:
    """An angle."""

    def angles(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(()))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.VonMises(0.0, 1.0))
            pyro.sample("obs", dist.Normal(z.cos() + level, 1.0), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        much = pyro.param("much", torch.tensor(1.0), constraint=POSITIVE)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.VonMises(0.0 * x[:, 0], much))

    def exact(x: Tensor, index: Any) -> Tensor:
        def density(z: Tensor) -> Tensor:
            like = dist.Normal(z.cos(), 1.0).log_prob(x[:, 0].double())
            return dist.VonMises(torch.tensor(0.0).double(), 1.0).log_prob(z) + like

        return on_a_grid(density, -math.pi, math.pi)

    return Brought(angles, guide, data(), exact)


def moving_support() -> Brought:
    """A uniform latent whose bounds follow another one."""

    def bounds(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(()))
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            u = pyro.sample("u", dist.Uniform(a - 1, a + 1))
            pyro.sample("obs", dist.Normal(u + level, 1.0), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        shift = pyro.param("shift", torch.zeros(()))
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.4 * x[:, 0] + shift, 1.0))
            pyro.sample("u", dist.Uniform(a - 1, a + 1))

    def exact(x: Tensor, index: Any) -> Tensor:
        # a + u + noise: uniform of width 2 and a normal of variance 2
        normal, y = dist.Normal(0.0, 2**0.5), x[:, 0].double()
        return ((normal.cdf(y + 1) - normal.cdf(y - 1)) / 2).log()

    return Brought(bounds, guide, data(), exact)
