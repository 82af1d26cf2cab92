"""The same model under Pyro's autoguides, and under this package's guides of any program."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.transforms import affine_autoregressive
from pyro.infer import autoguide
from pyro.poutine import block
from torch import Tensor

import pyro_vae as pv
from tests.programs.brought.kind import (
    PRECISION,
    UP,
    Brought,
    answers,
    data,
    log_px,
    spread,
)
from tests.programs.brought.plain import model


def auto(make: Callable[[Any], Any]) -> Callable[[], Brought]:
    """The model under an autoguide."""
    return lambda: Brought(model, make(model), data(), log_px)


def normal(program: Any) -> Any:
    """An AutoNormal that begins at the posterior."""
    a, b = (data() @ UP.T / PRECISION).unbind(1)
    where = autoguide.init_to_value(values={"a": a, "b": b})
    return autoguide.AutoNormal(program, init_loc_fn=where, init_scale=0.7)


def listed(program: Any) -> Any:
    guides = autoguide.AutoGuideList(program)
    guides.append(normal(block(program, hide=["b"])))
    guides.append(normal(block(program, hide=["a"])))
    return guides


AUTO: dict[str, Callable[[Any], Any]] = {
    "AutoNormal": normal,
    "AutoGuideList": listed,
    "AutoDiagonalNormal": autoguide.AutoDiagonalNormal,
    "AutoMultivariateNormal": autoguide.AutoMultivariateNormal,
    "AutoLowRankMultivariateNormal": partial(autoguide.AutoLowRankMultivariateNormal, rank=2),
    "AutoIAFNormal": partial(autoguide.AutoIAFNormal, hidden_dim=[17]),
    "AutoNormalizingFlow": partial(
        autoguide.AutoNormalizingFlow,
        init_transform_fn=partial(affine_autoregressive, hidden_dims=[17]),
    ),
    "AutoStructured": autoguide.AutoStructured,
    "AutoDelta": autoguide.AutoDelta,
    "AutoLaplaceApproximation": autoguide.AutoLaplaceApproximation,
    "AutoNormalMessenger": autoguide.AutoNormalMessenger,
}


def by_place() -> Brought:
    """Row n of the parameters is datum n's, by its place."""

    def guide(x: Tensor) -> None:
        where = pyro.param("where", x @ UP.T / PRECISION)
        with pyro.plate("data", len(x)):
            for place, name in enumerate("ab"):
                pyro.sample(name, dist.Normal(where[:, place], spread()[place]))

    return Brought(model, guide, data(), log_px)


def by_number() -> Brought:
    """A row for each datum, read by `index`."""
    table = data() @ UP.T / PRECISION

    def guide(x: Tensor, index: Tensor) -> None:
        where = pyro.param("where", table)[index]
        with pyro.plate("data", len(x)):
            for place, name in enumerate("ab"):
                pyro.sample(name, dist.Normal(where[:, place], spread()[place]))

    return Brought(model, guide, data(), log_px)


def local() -> Brought:
    table = pv.Local.of(model, data(), pv.MeanField)
    with torch.no_grad():
        table.table[:, :2] = data() @ UP.T / PRECISION
        table.table[:, 2:] = spread().log()
    return Brought(model, table, data(), log_px)


def amortized() -> Brought:
    return Brought(model, _amortized(), data(), log_px)


def _amortized() -> Any:
    """As good as the guide by hand."""
    guide = pv.Amortized.of(model, data(), pv.MeanField, pv.MLP((3,), ()))
    with torch.no_grad():
        guide.head.weight.zero_()
        guide.head.weight[:2] = UP / PRECISION[:, None]
        guide.head.bias[2:] = spread().log()
    return guide


def semi_amortized() -> Brought:
    return Brought(model, pv.SemiAmortized(_amortized(), model, num_steps=2), data(), log_px)


def hidden_noise() -> Brought:
    """A guide with a draw of its own, which the model knows nothing of."""
    net = answers()

    def guide(x: Tensor) -> None:
        pyro.module("answers", net)
        a, b = net(x).unbind(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("noise", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
            pyro.sample("a", dist.Normal(a, spread()[0]))
            pyro.sample("b", dist.Normal(b, spread()[1]))

    return Brought(model, guide, data(), log_px)


def lacking() -> Brought:
    """A guide that forgets b."""
    net = answers()

    def guide(x: Tensor) -> None:
        pyro.module("answers", net)
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(net(x)[:, 0], spread()[0]))

    return Brought(model, guide, data(), log_px)
