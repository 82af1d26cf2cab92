"""The variational autoencoder's model as a Pyro program.

    z_n ~ p(z),    x_n | z_n ~ p(x | decoder(z_n)),    n = 1..B independently

with p(z) = N(0, I) unless another prior is given (`priors`).

`forward(x, index)` is the stochastic function; `x` conditions the site "obs" and gives the size of
the plate "data".

References:
    Kingma, Welling (2014). Auto-encoding variational Bayes. arXiv:1312.6114.
    Rezende, Mohamed, Wierstra (2014). Stochastic backpropagation and approximate inference in deep
        generative models. arXiv:1401.4082.
    Burda, Grosse, Salakhutdinov (2016). Importance weighted autoencoders. arXiv:1509.00519.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.arguments import (
    MAX_SAMPLES,
    check_data_of,
    check_integer,
    check_mean,
    check_shape,
    check_sizes,
)
from pyro_vae.data import Binarise
from pyro_vae.models.likelihoods import Likelihood, chosen, start_likelihood
from pyro_vae.models.priors import Prior, chosen_prior
from pyro_vae.nets import MLPDecoder, default_latent_dim, last_parameter, made
from pyro_vae.programs.naming import unique_name

Decoder = Callable[[int, Sequence[int], Sequence[int], int], nn.Module]


class VAE(nn.Module):
    """p(z) = N(0, I), or a learned prior, and p(x | z) by a decoder network.

    `fit` starts it from the training data (`start`): a Gaussian likelihood takes their mean and
    scale, a VampPrior some of them.

    Args:
        shape: shape of one datum, such as (1, 28, 28).
        latent_dim: number of latent units d; unless given, it depends on the size of a datum
            (`nets.default_latent_dim`).
        hidden: hidden units of the decoder, from the latent to the data.
        likelihood: what the decoder's output parameterises; `Bernoulli()` unless given,
            `likelihood_for(data)` chooses.
        decoder: class of the decoder, called as `decoder(latent_dim, hidden, shape, num_outputs)`;
            options of its own go in with `functools.partial`.
        mean: mean of the training data `(*shape)`; sets the output bias (as Burda et al. do).
        prior: p(z), such as `MixturePrior(10)`, `VampPrior(500)` or `FlowPrior()`; N(0, I) unless
            given. A model keeps it as `latent_prior`.

    Example:
        >>> model = VAE((1, 8, 8), latent_dim=2, hidden=(16,))
        >>> model.sample(3).shape
        torch.Size([3, 1, 8, 8])
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent_dim: int | None = None,
        hidden: Sequence[int] = (200, 200),
        likelihood: Likelihood | None = None,
        decoder: Decoder = MLPDecoder,
        mean: Tensor | None = None,
        prior: Prior | None = None,
    ) -> None:
        super().__init__()
        self.shape = check_sizes("shape", shape)
        latent_dim = default_latent_dim(self.shape) if latent_dim is None else latent_dim
        check_integer("latent_dim", latent_dim, 1)
        self.latent_dim, hidden = latent_dim, check_sizes("hidden", hidden)

        self.likelihood = chosen(likelihood)
        self.likelihood.bind(self.shape)
        num_outputs = self.likelihood.num_outputs
        self.decoder = made("decoder", decoder, latent_dim, hidden, self.shape, num_outputs)
        self.latent_prior = chosen_prior(prior)
        self.latent_prior.bind(latent_dim, self.shape)

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
        if self._is_untrained():
            start_likelihood(self, x)
            self.latent_prior.start(x)

    def take_guide(self, guide: Any) -> None:
        """Tell the prior which guide the model is trained with, which a VampPrior asks for; a
        ValueError where it cannot be this one.
        """
        self.latent_prior.take_guide(guide)

    def _is_untrained(self) -> bool:
        return torch.equal(last_parameter(self.decoder), self._untrained)

    def center(self, mean: Tensor) -> None:
        """Start the decoder from the mean of the training data, `(*shape)`, by its output bias."""
        check_mean("mean", mean, self.shape)
        bias = getattr(self.decoder, "bias", None)
        if not isinstance(bias, Tensor):
            raise ValueError(
                "mean: got a decoder without a `bias`, expected one with a bias"
                " that a mean can be put into"
            )
        self.likelihood.center(bias, mean)
        self._untrained = last_parameter(self.decoder)

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Run the program on a minibatch `(B, *shape)`; returns the latent `(..., B, d)`."""
        pyro.module(unique_name(self), self)
        with pyro.plate("data", x.shape[0], dim=-1):
            z = pyro.sample("latent", self.prior(x))
            pyro.sample("obs", self.likelihood(self.decoder(z)), obs=x)
        return z

    def prior(self, like: Tensor) -> dist.TorchDistribution:
        """p(z) with event shape (d,), of the dtype and device of `like`."""
        return self.latent_prior(like)

    def check_data(self, x: Tensor) -> None:
        """Raise a ValueError where `x` is not `(N, *shape)` with values that can be scored."""
        check_data_of("x", x, self.shape, next(self.parameters()))
        self.likelihood.check(x)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Mean of p(x | z) `(..., *shape)` for latents `(..., d)`."""
        lead = z.dim() - 1 if isinstance(z, Tensor) else 1
        check_shape("z", z, (*[None] * lead, self.latent_dim))
        return self.likelihood(self.decoder(z)).mean

    @torch.no_grad()
    def sample(self, num_samples: int) -> Tensor:
        """Means of p(x | z) for z from the prior, `(num_samples, *shape)`."""
        check_integer("num_samples", num_samples, 1, MAX_SAMPLES)
        weight = next(self.decoder.parameters())
        return self.decode(self.prior(weight).sample((num_samples,)))
