"""The amortized guide of a conditional model: one network answers for every datum in its context,
q(z | x, c) = family(network(x, c)).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_callable, check_integer, check_sizes
from pyro_vae.guides.amortized import Trunk, check_encoder
from pyro_vae.guides.families import Family, MeanField
from pyro_vae.nets import MLP, Standardise, default_latent_dim, made
from pyro_vae.programs.given import check_given
from pyro_vae.programs.naming import unique_name


class ConditionalGuide(nn.Module):
    """q(z | x, c): an encoder's features of the datum meet its context in one more hidden layer,
    and a linear head gives the family's parameters.

    A program of `(x, index, context)`, as its model `ConditionalVAE` is.

    Args:
        shape: shape of one datum.
        context_dim: numbers in a datum's context; of the data's size in a run folder.
        latent_dim: number of latent units; unless given, the same default as for `VAE`.
        hidden: hidden units of the encoder, from the data on; the last is also that of the layer in
            which they meet the context.
        family: from a number of latent units to a family.
        encoder: class of the trunk, called as `encoder(shape, hidden)`.

    Example:
        >>> guide = ConditionalGuide((1, 8, 8), latent_dim=2, context_dim=10, hidden=(16,))
        >>> guide.q(torch.zeros(5, 1, 8, 8), torch.eye(10)[:5]).event_shape
        torch.Size([2])
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent_dim: int | None = None,
        context_dim: int | None = None,
        hidden: Sequence[int] = (200, 200),
        family: Callable[[int], Family] = MeanField,
        encoder: Trunk = MLP,
    ) -> None:
        super().__init__()
        shape, hidden = check_sizes("shape", shape), check_sizes("hidden", hidden)
        latent_dim = default_latent_dim(shape) if latent_dim is None else latent_dim
        check_integer("context_dim", context_dim, 1)
        assert context_dim is not None
        check_integer("latent_dim", latent_dim, 1)
        check_callable("family", family, "a class of families, such as MeanField")

        self.family, self.context_dim = family(latent_dim), context_dim
        self.standardise, self.units = Standardise(), Standardise(each=True)
        self.encoder = made("encoder", encoder, shape, hidden)
        features = check_encoder(self.encoder)
        self.meet = nn.Sequential(nn.Linear(features + context_dim, features), nn.ReLU())
        self.head = nn.Linear(features, self.family.num_params)

        with torch.no_grad():
            self.head.bias.copy_(self.family.standard())

    def start(self, x: Tensor, context: Tensor | None = None) -> None:
        """Take the units of training data `(N, *shape)` and of a context `(M, c)`; a guide that was
        trained, or loaded, is left as it is.
        """
        if torch.equal(self.head.bias, self.family.standard().to(self.head.bias)):
            self.standardise.start(x)
            if context is not None:
                self.units.start(context)

    def params(self, x: Tensor, context: Tensor) -> Tensor:
        """The family's parameters `(B, P)` for data `(B, *shape)` in a context `(B, c)`."""
        check_given(context, len(x), self.context_dim)
        features = self.encoder(self.standardise(x))
        both = torch.cat([features, self.units(context.to(features))], -1)
        return self.head(self.meet(both))

    def q(self, x: Tensor, context: Tensor) -> dist.TorchDistribution:
        """q(z | x, c), batch shape (B,), event shape (d,)."""
        return self.family(self.params(x, context))

    def forward(
        self, x: Tensor, index: Tensor | None = None, context: Tensor | None = None
    ) -> Tensor:
        """Run the guide on a minibatch `(B, *shape)` in its context `(B, c)`; returns the latent
        `(..., B, d)`.
        """
        check_given(context, len(x), self.context_dim)
        assert context is not None
        pyro.module(unique_name(self), self)
        return self.family.draw(self.q(x, context), len(x))
