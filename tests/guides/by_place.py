"""Guides whose parameters belong to the data by their place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import (
    AutoCallable,
    AutoDiagonalNormal,
    AutoGaussian,
    AutoGuideList,
    AutoHierarchicalNormalMessenger,
    AutoIAFNormal,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoNormalMessenger,
    AutoRegressiveMessenger,
    AutoStructured,
)
from pyro.nn import PyroModule, PyroParam
from torch import Tensor

from pyro_vae import LinearGaussian
from tests.scenarios import linear_gaussian

POSITIVE = dist.constraints.positive


def make(num_data: int) -> tuple[LinearGaussian, Tensor]:
    pyro.clear_param_store()
    return linear_gaussian(num_data, dtype=torch.float32)


def by_hand(x: Tensor, index: Tensor | None = None) -> None:
    """As in Pyro's tutorials: row n of the parameters is datum n's, by its place."""
    loc = pyro.param("loc", torch.zeros(len(x), 2))
    scale = pyro.param("scale", lambda: torch.ones(len(x), 2), constraint=POSITIVE)
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("latent", dist.Normal(loc, scale).to_event(1))


class ByHand(PyroModule):
    """The same, with parameters that are made at the first call."""

    def forward(self, x: Tensor, index: Tensor | None = None) -> None:
        if not hasattr(self, "loc"):
            self.loc = PyroParam(torch.zeros(len(x), 2))
            self.scale = PyroParam(torch.ones(len(x), 2), constraint=POSITIVE)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("latent", dist.Normal(self.loc, self.scale).to_event(1))


def listed(model: LinearGaussian) -> AutoGuideList:
    guides = AutoGuideList(model)
    guides.append(AutoNormal(model))
    return guides


PER_DATUM: dict[str, Callable[[Any], Any]] = {
    "AutoNormal": AutoNormal,
    "AutoGuideList": listed,
    "AutoCallable": lambda model: AutoCallable(model, by_hand),
    "by hand": lambda model: by_hand,
    "by hand, a module": lambda model: ByHand(),
}

JOINT = [
    AutoDiagonalNormal,
    AutoMultivariateNormal,
    AutoLowRankMultivariateNormal,
    AutoIAFNormal,
    AutoStructured,
    AutoGaussian,
]

MESSENGERS = [AutoNormalMessenger, AutoHierarchicalNormalMessenger, AutoRegressiveMessenger]
