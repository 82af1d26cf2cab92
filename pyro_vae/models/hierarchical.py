"""A variational autoencoder with two stochastic layers, that of the IWAE paper, as a Pyro program.

    z_n ~ N(0, I),    h_n | z_n ~ N(mu(z_n), diag sigma(z_n)^2),
    x_n | h_n ~ p(x | decoder(h_n)),    n = 1..B

With 100 units in the middle and 50 at the top, tanh and the nets' default sizes it is the larger
model of that paper.

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

from pyro_vae.arguments import MAX_SAMPLES, check_data_of, check_integer, check_mean, check_sizes
from pyro_vae.data import Binarise
from pyro_vae.models.likelihoods import Likelihood, chosen, start_likelihood
from pyro_vae.nets import MLP, MLPDecoder, last_parameter
from pyro_vae.programs.naming import unique_name


class HierarchicalVAE(nn.Module):
    """p(latent) = N(0, I), p(middle | latent) a diagonal Gaussian and p(x | middle), each by a
    network.

    Args:
        shape: shape of one datum, such as (1, 28, 28).
        latent_dim: units of the top layer, site "latent".
        middle_dim: units of the layer between it and the data, site "middle".
        hidden: hidden units from the middle layer to the data.
        top_hidden: hidden units from the top layer to the middle one.
        likelihood: what the decoder's output parameterises; `Bernoulli()` unless given.
        activation: class of the nonlinearity.
        mean: mean of the training data `(*shape)`; sets the output bias.

    Example:
        >>> HierarchicalVAE((1, 8, 8), 2, 4, (16,), (8,)).sample(3).shape
        torch.Size([3, 1, 8, 8])
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent_dim: int = 50,
        middle_dim: int = 100,
        hidden: Sequence[int] = (200, 200),
        top_hidden: Sequence[int] = (100, 100),
        likelihood: Likelihood | None = None,
        activation: type[nn.Module] = nn.Tanh,
        mean: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.shape = check_sizes("shape", shape)
        dims = check_sizes("latent_dim, middle_dim", (latent_dim, middle_dim))
        self.latent_dim, self.middle_dim = dims
        self.likelihood = chosen(likelihood)
        self.likelihood.bind(self.shape)

        self.top = MLP(self.latent_dim, check_sizes("top_hidden", top_hidden), activation)
        self.top_head = nn.Linear(self.top.out_features, 2 * self.middle_dim)
        self.decoder = MLPDecoder(
            self.middle_dim, hidden, self.shape, self.likelihood.num_outputs, activation
        )

        self.register_buffer("_untrained", last_parameter(self.decoder), persistent=False)
        if mean is not None:
            self.center(mean)

    @property
    def rules(self) -> tuple[Binarise, ...]:
        """The rules by which pixels become data for the likelihood, the usual one first."""
        return self.likelihood.rules

    def start(self, x: Tensor) -> None:
        """Take the scale of training data `(N, *shape)`; a decoder that was trained, or loaded, is
        left as it is.
        """
        if torch.equal(last_parameter(self.decoder), self._untrained):
            start_likelihood(self, x)

    def center(self, mean: Tensor) -> None:
        """Start the decoder from the mean of the training data, `(*shape)`, by its output bias."""
        check_mean("mean", mean, self.shape)
        self.likelihood.center(self.decoder.bias, mean)
        self._untrained = last_parameter(self.decoder)

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Run the program on a minibatch `(B, *shape)`: the top latent `(..., B, latent_dim)`."""
        pyro.module(unique_name(self), self)
        with pyro.plate("data", x.shape[0], dim=-1):
            z = pyro.sample("latent", self.prior(x))
            middle = pyro.sample("middle", self.middle(z))
            pyro.sample("obs", self.likelihood(self.decoder(middle)), obs=x)
        return z

    def prior(self, like: Tensor) -> dist.TorchDistribution:
        """p(latent), of the dtype and device of `like`."""
        zero = torch.zeros(self.latent_dim, dtype=like.dtype, device=like.device)
        return dist.Normal(zero, 1.0).to_event(1)

    def middle(self, z: Tensor) -> dist.TorchDistribution:
        """p(middle | latent) for latents `(..., latent_dim)`."""
        mean, log_scale = self.top_head(self.top(z)).chunk(2, dim=-1)
        return dist.Normal(mean, log_scale.exp()).to_event(1)

    def check_data(self, x: Tensor) -> None:
        """Raise a ValueError where `x` is not `(N, *shape)` with values that can be scored."""
        check_data_of("x", x, self.shape, next(self.parameters()))
        self.likelihood.check(x)

    @torch.no_grad()
    def sample(self, num_samples: int) -> Tensor:
        """Means of p(x | middle) for both layers drawn from the prior, `(num_samples, *shape)`."""
        check_integer("num_samples", num_samples, 1, MAX_SAMPLES)
        z = self.prior(self.top_head.weight).sample((num_samples,))
        return self.likelihood(self.decoder(self.middle(z).sample())).mean
