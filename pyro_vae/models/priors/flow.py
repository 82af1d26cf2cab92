"""A spline flow as the prior.

    z = T(eps),    eps ~ N(0, I),

with T a chain of zuko's spline transforms, each of one half of the units given the other half, so
that a draw and the density of any point both take two passes of a small network. It begins as the
identity, p(z) = N(0, I).

References:
    Durkan, Bekasov, Murray, Papamakarios (2019). Neural spline flows. arXiv:1906.04032.
    Chen, Kingma, Salimans, Duan, Dhariwal, Schulman, Sutskever, Abbeel (2017). Variational lossy
        autoencoder. arXiv:1611.02731.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions.transforms import Transform

from pyro_vae.arguments import check_sizes
from pyro_vae.models.priors.prior import Prior

_POINTS = 4096  # of the noise, for moments


class FlowPrior(Prior):
    """p(z) by a chain of coupling transforms with splines.

    Args:
        num_transforms: of the chain; those of odd number change the other half of the units.
        hidden: hidden units of each transform's network.
        num_bins: pieces of a spline.

    Example:
        >>> from pyro_vae import VAE
        >>> model = VAE((1, 8, 8), latent_dim=2, hidden=(16,), prior=FlowPrior(2, (8,)))
        >>> model.prior(torch.zeros(1)).log_prob(torch.zeros(3, 2)).shape
        torch.Size([3])
    """

    def __init__(
        self, num_transforms: int = 4, hidden: Sequence[int] = (64, 64), num_bins: int = 8
    ) -> None:
        super().__init__()
        sizes = check_sizes("num_transforms, num_bins", (num_transforms, num_bins))
        self.num_transforms, self.num_bins = sizes
        self.hidden = check_sizes("hidden", hidden)

    def bind(self, latent_dim: int, shape: Sequence[int]) -> None:
        from pyro_vae.nets.splines import MaskedAutoregressiveTransform

        super().bind(latent_dim, shape)
        bins = self.num_bins
        self.transforms = nn.ModuleList()
        for number in range(self.num_transforms):
            order = torch.arange(latent_dim)
            transform = MaskedAutoregressiveTransform(
                features=latent_dim,
                passes=min(2, latent_dim),
                order=order if number % 2 == 0 else order.flip(0),
                univariate=_spline,
                shapes=[(bins,), (bins,), (bins - 1,)],
                hidden_features=list(self.hidden),
            )
            self.transforms.append(transform)
            _silence(transform)

    def forward(self, like: Tensor) -> dist.TorchDistribution:
        zero = torch.zeros(self.latent_dim, dtype=like.dtype, device=like.device)
        base = dist.Normal(zero, 1.0).to_event(1)
        # zuko's lead from z to the noise, whose density is what training asks for
        return Flow(base, [each().inv for each in self.transforms])

    def describe(self) -> str:
        return f"a flow of {self.num_transforms} spline transforms"


class Flow(dist.TransformedDistribution):
    """A flow over a vector that knows its moments, by a few thousand evenly spread points of the
    noise (Sobol's), to about a thousandth of its deviations.
    """

    @property
    def mean(self) -> Tensor:
        return self._points().mean(0).expand(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> Tensor:
        return self._points().var(0).expand(self.batch_shape + self.event_shape)

    def quantiles(self, levels: Tensor) -> Tensor:
        """z `(..., d)` at levels `(..., d)` of the noise, from 0 to 1: a grid of levels is one that
        has as much of the distribution between its lines everywhere.
        """
        z = dist.Normal(0.0, 1.0).icdf(levels)
        for transform in self.transforms:
            z = transform(z)
        return z

    def _points(self) -> Tensor:
        engine = torch.quasirandom.SobolEngine(self.event_shape[0], scramble=True, seed=0)
        levels = engine.draw(_POINTS, dtype=torch.float64).clamp(1e-9, 1 - 1e-9)
        with torch.no_grad():
            like = self.base_dist.base_dist.loc
            return self.quantiles(levels.to(like))


def _spline(*params: Tensor) -> Transform:
    from pyro_vae.nets.splines import BOUND, MonotonicRQSTransform

    return MonotonicRQSTransform(*params, bound=BOUND)


@torch.no_grad()
def _silence(transform: nn.Module) -> None:
    """Make a transform the identity: its network's last layer says zero, and each spline is a
    straight line.
    """
    layers = [layer for layer in transform.modules() if isinstance(layer, nn.Linear)]
    last = layers[-1] if layers else transform  # of one unit there is no network
    for parameter in last.parameters():
        parameter.zero_()
