"""Small programs, and data for them."""

from __future__ import annotations

from functools import partial

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

import pyro_vae as pv


def binary(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).float()


def vae(shape: tuple[int, ...] = (3, 2), dim: int = 2, gain: float = 3.0) -> pv.VAE:
    """A model whose data tell something of their latents."""
    torch.manual_seed(1)
    model = pv.VAE(shape, dim, (8,))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(gain)
    return model


def encoder(shape: tuple[int, ...] = (3, 2), dim: int = 2) -> pv.EncoderGuide:
    torch.manual_seed(2)
    return pv.EncoderGuide(shape, dim, (8,))


def gated() -> tuple[nn.Module, nn.Module, Tensor]:
    torch.manual_seed(0)
    model = pv.VAE((3, 2), 4, (7, 6), decoder=pv.GatedDecoder)
    return model, pv.EncoderGuide((3, 2), 4, (7, 6), encoder=pv.GatedMLP), binary(9, 3, 2)


def convolutional() -> tuple[nn.Module, nn.Module, Tensor]:
    torch.manual_seed(0)
    model = pv.VAE((1, 5, 6), 3, (7,), decoder=partial(pv.ConvDecoder, channels=(3, 4)))
    guide = pv.EncoderGuide((1, 5, 6), 3, (7,), encoder=partial(pv.Conv, channels=(3, 4)))
    return model, guide, binary(9, 1, 5, 6)


class Tutorial(nn.Module):
    """A model as in a tutorial: site names of its own, probabilities and not logits."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.net, self.scale = nn.Linear(2, 6), scale

    def forward(self, x: Tensor, index: Tensor | None = None) -> None:
        pyro.module(pv.unique_name(self), self)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), self.scale).to_event(1))
            pyro.sample("image", dist.Bernoulli(torch.sigmoid(self.net(z))).to_event(1), obs=x)


class TutorialGuide(nn.Module):
    """Its guide: the scale is a parameter outside of any net."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))

    def forward(self, x: Tensor, index: Tensor | None = None) -> None:
        pyro.module(pv.unique_name(self), self)
        scale = pyro.param("width", torch.tensor(0.5), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(self.net(x), scale).to_event(1))


def tutorial() -> tuple[nn.Module, nn.Module, Tensor]:
    torch.manual_seed(0)
    return Tutorial(), TutorialGuide(), binary(9, 6)


def double() -> tuple[nn.Module, nn.Module, Tensor]:
    return vae().double(), encoder().double(), binary(9, 3, 2).bool()


def single() -> tuple[nn.Module, nn.Module, Tensor]:
    return vae((1,)), encoder((1,)), binary(1, 1).to(torch.uint8)


def of_likelihood(
    likelihood: pv.Likelihood, number: int = 9, shape: tuple[int, ...] = (3, 2), gain: float = 3.0
) -> tuple[pv.VAE, pv.EncoderGuide, Tensor]:
    """A model of a likelihood of few values, and data of its own."""
    torch.manual_seed(1)
    model = pv.VAE(shape, 2, (8,), likelihood)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(gain)
        fn = likelihood(model.decoder(torch.randn(number, 2)))
    return model, encoder(shape), fn.sample()


PROGRAMS = {
    "vae": lambda: (vae(), encoder(), binary(9, 3, 2)),
    "gated": gated,
    "convolutional": convolutional,
    "tutorial": tutorial,
    "double": double,
    "one value": single,
    "grey levels": lambda: of_likelihood(pv.BetaBinomial()),
    "rounded": lambda: of_likelihood(pv.DiscretisedLogistic(7, "output")),
    "categories": lambda: of_likelihood(pv.Categorical(5)),
}
