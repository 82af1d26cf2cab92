"""Kinds of programs by what their data are, and by latents that are discrete."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import config_enumerate
from torch import Tensor

from tests.programs.brought.kind import NUM, UP, Brought, answers, data, log_px, spread
from tests.programs.brought.plain import decode, guide_by, model
from tests.programs.brought.supports import flips, gamma

LOCS = torch.tensor([-2.0, 0.0, 2.0])


def mixture_px(x: Tensor, index: Any = None) -> Tensor:
    """k of three alike, z ~ N(LOCS_k, 1), x ~ N(z, 1)."""
    each = dist.Normal(LOCS.double(), 2**0.5).log_prob(x[:, :1].double())
    return torch.logsumexp(each, -1) - math.log(3)


def clusters(x: Tensor) -> None:
    level = pyro.param("level", torch.zeros(()))
    with pyro.plate("data", len(x)):
        k = pyro.sample("k", dist.Categorical(torch.ones(3)))
        z = pyro.sample("z", dist.Normal(LOCS[k], 1.0))
        pyro.sample("obs", dist.Normal(z + level, 1.0), obs=x[:, 0])


def enumerated() -> Brought:
    """A discrete latent that Pyro sums out; the guide has none."""

    def guide(x: Tensor) -> None:
        shift = pyro.param("shift", torch.zeros(()))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.6 * x[:, 0] + shift, 1.0))

    return Brought(config_enumerate(clusters), guide, data(), mixture_px)


def discrete() -> Brought:
    """A discrete latent that the guide answers, by the score function."""

    def guide(x: Tensor) -> None:
        shift = pyro.param("shift", torch.zeros(()))
        each = dist.Normal(LOCS, 2**0.5).log_prob(x[:, :1])
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(logits=0.8 * each + shift))
            pyro.sample("z", dist.Normal((x[:, 0] + LOCS[k]) / 2, 0.85))

    return Brought(clusters, guide, data(), mixture_px)


def whole_numbers() -> Brought:
    """x as int64."""
    found = gamma()
    return Brought(found.model, found.guide, found.x.long(), found.exact, None, found.arguments)


def present_px(x: Tensor, index: Any = None) -> Tensor:
    """log p of the values that are there."""
    covariance = (torch.eye(3) + UP.T @ UP).double()
    found = []
    for row in x.double():
        there = ~row.isnan()
        normal = dist.MultivariateNormal(torch.zeros(int(there.sum())), covariance[there][:, there])
        found.append(normal.log_prob(row[there]))
    return torch.stack(found)


def missing() -> Brought:
    """NaN in x, which the guide's net does not see."""
    x = data()
    x[1, 2] = torch.nan
    own = guide_by(answers())
    return Brought(model, lambda x: own(x.nan_to_num()), x, present_px)


def images() -> Brought:
    """x (N, 1, 1, 3)."""
    net = answers()

    def pictures(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            mean = decode(a, b, level).mean[..., None, None, :]
            pyro.sample("obs", dist.Normal(mean, 1.0).to_event(3), obs=x)

    own = guide_by(net)
    return Brought(
        pictures,
        lambda x: own(x.flatten(1)),
        data().reshape(NUM, 1, 1, 3),
        lambda x, index: log_px(x.flatten(1)),
    )


def whole_covariance() -> Brought:
    """A MultivariateNormal latent, and one observed."""
    net = answers()

    def joint(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.MultivariateNormal(torch.zeros(2), torch.eye(2)))
            pyro.sample("obs", dist.MultivariateNormal(z @ UP + level, torch.eye(3)), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("answers", net)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(net(x), spread().square().diag()))

    return Brought(joint, guide, data(), log_px)


def flow_prior() -> Brought:
    """A latent that is a transformed normal, a flow's kind of prior."""
    net = answers()

    def transformed(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        shift = dist.transforms.AffineTransform(torch.ones(2), 2 * torch.ones(2), event_dim=1)
        with pyro.plate("data", len(x)):
            base = dist.Normal(torch.zeros(2), 1.0).to_event(1)
            z = pyro.sample("z", dist.TransformedDistribution(base, [shift]))
            pyro.sample("obs", dist.Normal((z - 1) / 2 @ UP + level, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("answers", net)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(1 + 2 * net(x), 2 * spread()).to_event(1))

    return Brought(transformed, guide, data(), log_px)


def mixture_likelihood() -> Brought:
    """Observations of a MixtureSameFamily, both of whose parts are the model's."""

    def mixed(x: Tensor) -> None:
        level = pyro.param("level", torch.zeros(3))
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            mean = decode(a, b, level).mean[..., None, :].expand(*a.shape, 2, 3)
            parts = dist.Normal(mean, 1.0).to_event(1)
            weights = dist.Categorical(torch.ones(2).expand(*a.shape, 2))
            pyro.sample("obs", dist.MixtureSameFamily(weights, parts), obs=x)

    return Brought(mixed, guide_by(answers()), data(), log_px)


def binary() -> Brought:
    """A Bernoulli decoder of one latent vector, with which data are compressed."""
    encoder, decoder = torch.nn.Linear(3, 4), torch.nn.Linear(2, 3)
    with torch.no_grad():
        for net in (encoder, decoder):
            net.weight.copy_(0.3 * torch.eye(*net.weight.shape))
            net.bias.zero_()

    def flips_of(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("obs", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        loc, log_scale = encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return Brought(flips_of, guide, flips(), None, arguments={"values": "real"})
