"""Trainings that must come out the same whatever the number of processes, each in a way of its own:
17 data in minibatches of 4, so that the last one has a single row.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.objectives import Bound, FreeBits, ScoreFunction

Found = tuple[list[dict[str, float]], list[Tensor]]

SIZE, UNITS = 6, 2


def pixels() -> Tensor:
    torch.manual_seed(1)
    return torch.randint(0, 256, (20, SIZE), dtype=torch.uint8)


def reals() -> Tensor:
    torch.manual_seed(2)
    return torch.randn(20, SIZE)


def run(model: Any, guide: Any, data: Tensor, **options: Any) -> Found:
    """The history but for its seconds, and all parameters after it."""
    made = {"epochs": 1, "batch_size": 4, "valid": 3, "engine": "pyro", "quiet": True} | options
    found = pv.fit(model, guide, data, **made)
    names = ("train_loss", "valid_elbo", "valid_rate", "learning_rate", "beta")
    rows = [{name: row[name] for name in names} for row in found.history]
    store = pyro.get_param_store()
    return rows, [store[name].detach().clone() for name in sorted(store.keys())]


def vae(family: Any = None, net: nn.Module | None = None) -> tuple[Any, Any]:
    family = pv.MeanField(UNITS) if family is None else family
    model = pv.VAE((SIZE,), latent_dim=UNITS, hidden=(5,))
    return model, pv.Amortized(family, net or pv.MLP(SIZE, (5,)))


def plain(**options: Any) -> Found:
    """Bits, clipping, a schedule, and a layer that is frozen."""
    model, guide = vae()
    next(model.parameters()).requires_grad_(False)
    schedule = partial(torch.optim.lr_scheduler.StepLR, step_size=1)
    return run(model, guide, pixels(), clip_norm=0.5, schedule=schedule, epochs=2, **options)


def compiled() -> Found:
    """Whose gradients go straight to the fused kernel of Adam, where one process trains."""
    return run(*vae(), pixels(), engine="compiled", epochs=2)


def mapped() -> Found:
    """Rows of a file, of which each process reads its own, held to those of the first epoch."""
    with tempfile.TemporaryDirectory() as place:
        np.save(f"{place}/rows.npy", pixels().numpy())
        data = pv.load(f"{place}/rows.npy", memory_map=True, valid=3, binarise="dynamic")
        model, guide = vae()
        return run(model, guide, data, epochs=3, valid=None)


def annealed_iwae() -> Found:
    options: Any = {"loss": Bound(3), "keep": "best", "patience": 1, "epochs": 3}
    return run(*vae(pv.FullRank(UNITS)), pixels(), **options)


def with_dropout() -> Found:
    net = nn.Sequential(pv.MLP(SIZE, (5,)), nn.Dropout(0.3))
    net.out_features = 5  # type: ignore[assignment]
    loss = TraceMeanField_ELBO(num_particles=2, vectorize_particles=True)
    return run(*vae(None, net), pixels(), loss=loss, warmup_epochs=1)


def free_bits() -> Found:
    return run(*vae(), pixels(), loss=FreeBits(0.3), warmup_epochs=2)


def local() -> Found:
    model = pv.VAE((SIZE,), latent_dim=UNITS, hidden=(5,))
    return run(model, pv.Local(pv.MeanField(UNITS), 20), pixels(), valid=0)


class Discrete(nn.Module):
    """Bernoulli and categorical latents, both with the score function."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(5, SIZE)

    def forward(self, x: Tensor, index: Any = None) -> None:
        pyro.module("net", self.net)
        with pyro.plate("data", len(x), dim=-1):
            bits = pyro.sample("bits", dist.Bernoulli(torch.full((2,), 0.5)).to_event(1))
            kind = pyro.sample("kind", dist.OneHotCategorical(torch.ones(3)))
            mean = self.net(torch.cat([bits, kind], -1))
            pyro.sample("obs", dist.Normal(mean, 1.0).to_event(1), obs=x)


class Discretely(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(SIZE, 5)

    def forward(self, x: Tensor, index: Any = None) -> None:
        pyro.module("guide_net", self.net)
        logits = self.net(x)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("bits", dist.Bernoulli(logits=logits[..., :2]).to_event(1))
            pyro.sample("kind", dist.OneHotCategorical(logits=logits[..., 2:]))


def discrete() -> Found:
    return run(Discrete(), Discretely(), reals(), loss=ScoreFunction(3, baseline=True))


def regression(x: Tensor, index: Tensor) -> None:
    """A latent of all data, and a plate of all of them of which a minibatch is a subsample."""
    mean = pyro.sample("mean", dist.Normal(torch.zeros(SIZE), 1.0).to_event(1))
    scale = pyro.param("scale", torch.ones(()), constraint=dist.constraints.positive)
    with pyro.plate("data", 20, subsample=index, dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("obs", dist.Normal(mean + z[..., None], scale).to_event(1), obs=x)


def answers(x: Tensor, index: Tensor) -> None:
    loc = pyro.param("loc", torch.zeros(SIZE))
    weight = pyro.param("weight", torch.zeros(SIZE))
    pyro.sample("mean", dist.Normal(loc, 0.1).to_event(1))
    with pyro.plate("data", 20, subsample=index, dim=-1):
        pyro.sample("z", dist.Normal(x @ weight, 0.5))


def shared() -> Found:
    return run(regression, answers, reals(), valid=0, loss=Trace_ELBO())


ALL: dict[str, Callable[[], Found]] = {
    "plain": plain,
    "compiled": partial(plain, engine="compiled"),
    "by the kernel": compiled,
    "mapped": mapped,
    "iwae": annealed_iwae,
    "dropout": with_dropout,
    "free bits": free_bits,
    "local": local,
    "discrete": discrete,
    "shared": shared,
}


def all_of_them() -> dict[str, Found]:
    """Each in a store of its own, from the same parameters."""
    found = {}
    for name, train in ALL.items():
        with pyro.get_param_store().scope():
            pyro.set_rng_seed(0)
            found[name] = train()
    return found
