"""The amortized autoregressive flow: networks that go on from the encoder's features, in place of a
family with a fixed number of parameters.

    z = mu(x) + sigma(x) * T(eps; h(x)),    eps ~ N(0, I),    h the encoder's features

T is a chain of zuko's masked autoregressive spline transforms, taken from eps to z: a draw and its
density take one pass (an inverse autoregressive flow), the density of any other point takes d
passes. The parameters belong to the networks and not to a datum, so there is no local twin: the
inference gap of this guide can be measured, its two parts cannot.

References:
    Kingma, Salimans, Jozefowicz, Chen, Sutskever, Welling (2016). Improving variational inference
        with inverse autoregressive flow. arXiv:1606.04934.
    Durkan, Bekasov, Murray, Papamakarios (2019). Neural spline flows. arXiv:1906.04032.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions.transforms import AffineTransform, IndependentTransform, Transform

from pyro_vae.arguments import check_sizes
from pyro_vae.guides.amortized import check_encoder
from pyro_vae.guides.families import sample_latent
from pyro_vae.guides.flows import BOUND, MaskedAutoregressiveTransform, MonotonicRQSTransform
from pyro_vae.nets import Standardise, encoded
from pyro_vae.programs.naming import unique_name


class AutoregressiveFlow(nn.Module):
    """q(z | x) by an autoregressive flow conditioned on an encoder's features.

    Args:
        dim: d, latent units.
        encoder: network from data `(..., *shape)` to features `(..., encoder.out_features)`, such
            as MLP(shape, hidden).
        num_transforms: autoregressive transforms in the chain, each in the opposite order of the
            one before.
        hidden: hidden units of each transform's network.
        num_bins: pieces of a spline.

    Example:
        >>> from pyro_vae.nets import MLP
        >>> guide = AutoregressiveFlow(2, MLP((1, 8, 8), (16,)), hidden=(16,))
        >>> guide(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        dim: int,
        encoder: nn.Module,
        num_transforms: int = 2,
        hidden: Sequence[int] = (128, 128),
        num_bins: int = 8,
    ) -> None:
        super().__init__()
        check_sizes("dim, num_transforms, num_bins", (dim, num_transforms, num_bins))
        features = check_encoder(encoder)
        self.standardise = Standardise()
        self.encoder = encoder
        self.head = nn.Linear(features, 2 * dim)

        self.transforms = nn.ModuleList()
        for number in range(num_transforms):
            order = torch.arange(dim)
            transform = MaskedAutoregressiveTransform(
                features=dim,
                context=features,
                order=order if number % 2 == 0 else order.flip(0),
                univariate=_spline,
                shapes=[(num_bins,), (num_bins,), (num_bins - 1,)],
                hidden_features=list(check_sizes("hidden", hidden)),
            )
            self.transforms.append(transform)

        with torch.no_grad():
            self.head.bias.zero_()

    def start(self, x: Tensor) -> None:
        """Take the units of training data `(N, *shape)`; a guide that was trained, or loaded, is
        left as it is.
        """
        if not self.head.bias.any():
            self.standardise.start(x)

    def q(self, x: Tensor) -> dist.TorchDistribution:
        """q(z | x), batch shape (B,), event shape (d,), for data `(B, *shape)`."""
        features = encoded(self.encoder, self.standardise, x)
        mean, log_scale = self.head(features).chunk(2, dim=-1)

        chain: list[Transform] = [_cached(transform(features)) for transform in self.transforms]
        affine = AffineTransform(mean, log_scale.exp(), cache_size=1)
        chain.append(IndependentTransform(affine, 1, cache_size=1))

        base = dist.Normal(torch.zeros_like(mean), torch.ones_like(mean)).to_event(1)
        return dist.TransformedDistribution(base, chain)

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Run the guide on a minibatch `(B, *shape)`; returns the latent `(..., B, d)`."""
        pyro.module(unique_name(self), self)
        return sample_latent(self.q(x), len(x))


def _spline(*params: Tensor) -> Transform:
    return MonotonicRQSTransform(*params, bound=BOUND)


def _cached(transform: Transform) -> Transform:
    # zuko's have no cache; with one, the density at a draw needs no inverse
    Transform.__init__(transform, cache_size=1)
    return transform
