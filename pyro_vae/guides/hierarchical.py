"""The guide of two stochastic layers: bottom up, each layer given the one below.

    q(middle | x) q(latent | middle),    both diagonal Gaussians by networks

Each layer is mean-field, their joint distribution is not: the top layer depends on the draw of the
middle one.

References:
    Burda, Grosse, Salakhutdinov (2016). Importance weighted autoencoders. arXiv:1509.00519.
        Section 5.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_sizes
from pyro_vae.nets import MLP, Standardise, last_parameter
from pyro_vae.programs.naming import unique_name


class HierarchicalGuide(nn.Module):
    """The sites "middle" and "latent" of a `HierarchicalVAE`.

    Args:
        shape: shape of one datum.
        latent_dim: units of the top layer.
        middle_dim: units of the layer between it and the data.
        hidden: hidden units from the data to the middle layer.
        top_hidden: hidden units from the middle layer to the top one.
        activation: class of the nonlinearity.

    Example:
        >>> import torch
        >>> HierarchicalGuide((1, 8, 8), 2, 4, (16,), (8,))(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 2])
    """

    _untrained: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        latent_dim: int = 50,
        middle_dim: int = 100,
        hidden: Sequence[int] = (200, 200),
        top_hidden: Sequence[int] = (100, 100),
        activation: type[nn.Module] = nn.Tanh,
    ) -> None:
        super().__init__()
        check_sizes("latent_dim, middle_dim", (latent_dim, middle_dim))
        self.standardise = Standardise()
        self.bottom = MLP(shape, hidden, activation)
        self.bottom_head = nn.Linear(self.bottom.out_features, 2 * middle_dim)
        self.top = MLP(middle_dim, check_sizes("top_hidden", top_hidden), activation)
        self.top_head = nn.Linear(self.top.out_features, 2 * latent_dim)
        self.register_buffer("_untrained", last_parameter(self), persistent=False)

    def start(self, x: Tensor) -> None:
        """Take the units of training data `(N, *shape)`; a guide that was trained, or loaded, is
        left as it is.
        """
        if torch.equal(last_parameter(self), self._untrained):
            self.standardise.start(x)

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Run the guide on a minibatch `(B, *shape)`: the top latent `(..., B, latent_dim)`."""
        pyro.module(unique_name(self), self)
        features = self.bottom(self.standardise(x))
        with pyro.plate("data", x.shape[0], dim=-1):
            middle = pyro.sample("middle", _gaussian(self.bottom_head(features)))
            return pyro.sample("latent", _gaussian(self.top_head(self.top(middle))))


def _gaussian(params: Tensor) -> dist.TorchDistribution:
    mean, log_scale = params.chunk(2, dim=-1)
    return dist.Normal(mean, log_scale.exp()).to_event(1)
