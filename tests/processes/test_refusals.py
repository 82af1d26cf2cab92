"""What several processes could not train as one does is refused before the first step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.data import as_dataset
from pyro_vae.inference.prepare import prepare
from pyro_vae.inference.recipe import Recipe
from pyro_vae.objectives import FreeBits
from tests.processes.trainings import SIZE, pixels, vae


def normalised() -> Any:
    net = nn.Sequential(pv.MLP(SIZE, (5,)), nn.BatchNorm1d(5))
    net.out_features = 5  # type: ignore[assignment]
    return vae(None, net)


class Between(nn.Module):
    """A guide whose datum sees the others of its minibatch."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(SIZE, 2)

    def forward(self, x: Tensor, index: Any = None) -> None:
        pyro.module("between", self.net)
        with pyro.plate("data", len(x), dim=-1):
            loc = self.net(x - x.mean(0)) if len(x) > 2 else self.net(x)
            pyro.sample("latent", dist.Normal(loc, 1.0).to_event(1))


class Gamma(Between):
    """A guide that draws by rejection."""

    def forward(self, x: Tensor, index: Any = None) -> None:
        pyro.module("gamma", self.net)
        with pyro.plate("data", len(x), dim=-1):
            shape = self.net(x).exp()
            pyro.sample("latent", dist.Gamma(shape, 1.0).to_event(1))


def with_guide(guide: nn.Module) -> Any:
    return vae()[0], guide


CASES: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "batch norm": (normalised, {}, "BatchNorm1d computes with the whole minibatch"),
    "batch norm, free bits": (normalised, {"loss": FreeBits(9.0)}, "BatchNorm1d computes"),
    "mixed data": (lambda: with_guide(Between()), {}, "is not the sum of its parts"),
    "rejection": (lambda: with_guide(Gamma()), {}, "draw by 'standard_gamma'"),
    "free bits": (vae, {"loss": FreeBits(), "engine": "compiled"}, "FreeBits asks all processes"),
}


@pytest.mark.parametrize("name", CASES)
def test_refused_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, options, told = CASES[name]
    monkeypatch.setattr("pyro_vae.inference.prepare.count", lambda: 2)
    model, guide = made()
    data = as_dataset(pixels().gt(99).float(), 0)
    recipe = Recipe(epochs=1, batch_size=4, **options).for_data(len(data.train), False)
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match=told):
        prepare(model, guide, data, recipe, None)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in guide.parameters())
