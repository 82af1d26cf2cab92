"""The amortized guide: one network answers for every datum, q(z | x) = family(network(x)).

A new datum costs one forward pass. What the guide loses against the best member of its family,
datum by datum, is the amortization gap.

References:
    Cremer, Li, Duvenaud (2018). Inference suboptimality in variational autoencoders.
        arXiv:1801.03558.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.arguments import (
    check_callable,
    check_flag,
    check_integer,
    check_sizes,
    is_integer,
    refuse,
)
from pyro_vae.guides.families import Family, MeanField
from pyro_vae.guides.joint import over_all
from pyro_vae.nets import MLP, Standardise, WithMask, default_latent_dim, encoded, made
from pyro_vae.programs.calls import Program
from pyro_vae.programs.naming import unique_name

Trunk = Callable[[Sequence[int], Sequence[int]], nn.Module]


def check_encoder(encoder: object) -> int:
    """The number of features of an encoder; a ValueError where it does not say or is no network."""
    features: Any = getattr(encoder, "out_features", None)
    if not isinstance(encoder, nn.Module) or not is_integer(features):
        raise ValueError(
            f"encoder: got {type(encoder).__name__} without an integer `out_features`, expected a"
            " network that maps (..., *shape) to (..., out_features), such as MLP(shape, hidden)"
        )
    return int(features)


class Amortized(nn.Module):
    """q(z | x) by a family whose parameters are a linear head on an encoder network.

    `fit` starts it from the training data (`start`): the encoder sees real values standardised, so
    that their units do not matter, and zeros and ones as they are. Missing values (NaN) it sees as
    their mean; as missing, too, where it is a `WithMask`.

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
        if not isinstance(family, Family):
            raise ValueError(
                f"family: got {family!r}, expected a Family such as MeanField(50);"
                " `EncoderGuide(shape, latent_dim)` is the guide that is built from the shape of"
                " the data, as on the command line"
            )

        features = check_encoder(encoder)
        self.family = family
        self.standardise = Standardise()
        self.encoder = encoder
        self.head = nn.Linear(features, family.num_params)

        with torch.no_grad():
            self.head.bias.copy_(family.standard())

    def start(self, x: Tensor) -> None:
        """Take the units of training data `(N, *shape)`; a guide that was trained, or loaded, is
        left as it is.
        """
        if torch.equal(self.head.bias, self.family.standard().to(self.head.bias)):
            self.standardise.start(x)

    def params(self, x: Tensor) -> Tensor:
        """The family's parameters `(B, P)` for data `(B, *shape)`."""
        return self.head(encoded(self.encoder, self.standardise, x))

    def q(self, x: Tensor) -> dist.TorchDistribution:
        """q(z | x), batch shape (B,), event shape (d,), for data `(B, *shape)`."""
        return self.family(self.params(x))

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Run the guide on a minibatch `(B, *shape)`; returns the latent `(..., B, d)`."""
        pyro.module(unique_name(self), self)
        return self.family.draw(self.q(x), len(x))

    @classmethod
    def of(
        cls,
        model: Program,
        x: Tensor,
        family: Callable[[int], Family],
        encoder: nn.Module,
        index: Tensor | None = None,
    ) -> Amortized:
        """A guide of all continuous latents of a model, by runs of it on data `(N, *shape)`, some
        of which will do.

        Args:
            model: Pyro program.
            x: data.
            family: from the number of latent values of a datum to a family, such as `FullRank`.
            encoder: as above.
            index: the numbers of the data `(N,)`; 0..N-1 unless given.

        Raises:
            ValueError: latents that are discrete, or of no fixed support.
        """
        return Amortized(over_all(model, x, family, index), encoder)


class EncoderGuide(Amortized):
    """`Amortized`, built from the shape of the data: the constructor that a command line or a
    config file can name.

    Args:
        shape: shape of one datum.
        latent_dim: number of latent units; unless given, the same default as for `VAE`, which
            depends on the size of a datum.
        hidden: hidden units of the encoder, from the data to the latent.
        family: from a number of latent units to a family.
        encoder: class of the trunk, called as `encoder(shape, hidden)`.
        mask: whether the encoder sees which values are missing (`WithMask`).

    Example:
        >>> EncoderGuide((1, 8, 8), 2, (16,)).family.num_params
        4
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent_dim: int | None = None,
        hidden: Sequence[int] = (200, 200),
        family: Callable[[int], Family] = MeanField,
        encoder: Trunk = MLP,
        mask: bool = False,
    ) -> None:
        shape, hidden = check_sizes("shape", shape), check_sizes("hidden", hidden)
        latent_dim = default_latent_dim(shape) if latent_dim is None else latent_dim
        check_integer("latent_dim", latent_dim, 1)
        check_callable("family", family, "a class of families, such as MeanField")
        if isinstance(family, Family):
            refuse("family", family, "a class of families, such as MeanField, and not one of them")

        check_flag("mask", mask)
        if mask:
            net: nn.Module = WithMask(shape, hidden, encoder)
        else:
            net = made("encoder", encoder, shape, hidden)
        super().__init__(family(latent_dim), net)


class JointGuide(EncoderGuide):
    """A guide of all continuous latents of whatever model it is trained with: `Amortized.of`, as a
    command line or a config file can name it.

    It is whole once it has been told the model (`take_model`), which `fit` and run folders do.

    Args:
        shape: shape of one datum.
        latent_dim: not used: the model's latents say how many numbers there are.
        hidden, family, encoder, mask: as for `EncoderGuide`.

    Example:
        >>> from pyro_vae import HierarchicalVAE
        >>> guide = JointGuide((1, 8, 8), hidden=(16,))
        >>> guide.take_model(HierarchicalVAE((1, 8, 8), 2, 4), torch.zeros(2, 1, 8, 8))
        >>> guide.family.name
        'MeanField(6) over latent, middle'
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent_dim: int | None = None,
        hidden: Sequence[int] = (200, 200),
        family: Callable[[int], Family] = MeanField,
        encoder: Trunk = MLP,
        mask: bool = False,
    ) -> None:
        super().__init__(shape, 1, hidden, family, encoder, mask)
        self._made, self._is_whole = family, False

    def take_model(self, model: Program, x: Tensor, index: Tensor | None = None) -> None:
        """Take the latents of a model, by a run of it on data `(N, *shape)`, and begin at the start
        of the family; a guide that has a model already keeps it.

        Raises:
            ValueError: latents that are discrete, or of no fixed support.
        """
        if self._is_whole:
            return
        self.family = over_all(model, x, self._made, index)
        before = self.head
        self.head = nn.Linear(before.in_features, self.family.num_params).to(before.weight)
        with torch.no_grad():
            self.head.bias.copy_(self.family.standard())
        self._is_whole = True

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Run the guide on a minibatch `(B, *shape)`."""
        if not self._is_whole:
            raise ValueError(
                "guide: got a JointGuide that has not been told its model, expected"
                " guide.take_model(model, x) before the first run"
            )
        return super().forward(x, index)
