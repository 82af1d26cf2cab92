"""The amortized guide: one network answers for every datum, q(z | x) = family(network(x)).

Its cost per new datum is one forward pass; what it loses against the best member of its family, datum by datum, is the
amortization gap (Cremer et al., 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.guides.families import Family, MeanField
from pyro_vae.naming import unique_name
from pyro_vae.nets import MLP

Trunk = Callable[[Sequence[int], Sequence[int]], nn.Module]


class Amortized(nn.Module):
    """q(z | x) by a family whose parameters are a linear head on an encoder network.

    Args:
        family: the family over the latent, such as `MeanField(50)`.
        encoder: network from data `(..., *shape)` to features `(..., encoder.out_features)`.

    Example:
        >>> guide = Amortized(MeanField(2), MLP((1, 8, 8), (16,)))
        >>> guide.q(torch.zeros(5, 1, 8, 8)).event_shape
        torch.Size([2])
    """

    def __init__(self, family: Family, encoder: nn.Module) -> None:
        super().__init__()
        features = getattr(encoder, "out_features", None)
        if not isinstance(features, int):
            raise ValueError(
                f"encoder: got {type(encoder).__name__} without an integer `out_features`, expected a network that maps"
                " (..., *shape) to (..., out_features), such as MLP(shape, hidden)"
            )
        self.family = family
        self.encoder = encoder
        self.head = nn.Linear(features, family.num_params)
        nn.init.xavier_uniform_(self.head.weight)
        with torch.no_grad():
            self.head.bias.copy_(family.standard())

    @classmethod
    def build(
        cls,
        shape: Sequence[int],
        latent_dim: int,
        hidden: Sequence[int] = (200, 200),
        family: Callable[[int], Family] = MeanField,
        encoder: Trunk = MLP,
    ) -> Amortized:
        """The guide for data of `shape` and `latent_dim` latent units, `cls(family(latent_dim), encoder(shape, hidden))`."""
        return cls(family(latent_dim), encoder(tuple(shape), tuple(hidden)))

    def q(self, x: Tensor) -> dist.TorchDistribution:
        """q(z | x), batch shape (B,), event shape (d,), for data `(B, *shape)`."""
        return self.family(self.head(self.encoder(x)))

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Run the guide on a minibatch `(B, *shape)`; returns the latent `(..., B, d)`."""
        pyro.module(unique_name(self), self)
        with pyro.plate("data", x.shape[0], dim=-1):
            return pyro.sample("latent", self.q(x))
