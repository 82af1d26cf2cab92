"""The conditional variational autoencoder: data given labels or covariates.

    z_n ~ N(0, I),    x_n | z_n, c_n ~ p(x | decoder(z_n, c_n)),    n = 1..B independently

So log p(x | c) is what an evidence is of, and what z holds is what the context does not say.

References:
    Sohn, Lee, Yan (2015). Learning structured output representation using deep conditional
        generative models. Neural Information Processing Systems.
    Kingma, Rezende, Mohamed, Welling (2014). Semi-supervised learning with deep generative models.
        arXiv:1406.5298.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_integer, check_shape
from pyro_vae.models.likelihoods import Likelihood
from pyro_vae.models.vae import VAE, Decoder
from pyro_vae.nets import MLPDecoder, Standardise
from pyro_vae.programs.given import check_given
from pyro_vae.programs.naming import unique_name


class ConditionalVAE(VAE):
    """p(z) = N(0, I) and p(x | z, c) by a decoder network that gets both.

    A program of `(x, index, context)`: `fit` gives it the context of a data set, and
    `pyro_vae.given(model, context)` makes of it the program of `(x, index)` that everything else
    takes.

    Args:
        shape: shape of one datum, such as (1, 28, 28).
        context_dim: numbers in a datum's context, such as 10 for one of ten labels, one-hot; of the
            data's size in a run folder.
        latent_dim, hidden, likelihood, decoder, mean: as for `VAE`.

    Example:
        >>> model = ConditionalVAE((1, 8, 8), latent_dim=2, context_dim=10, hidden=(16,))
        >>> model.sample(torch.eye(10)).shape
        torch.Size([10, 1, 8, 8])
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent_dim: int | None = None,
        context_dim: int | None = None,
        hidden: Sequence[int] = (200, 200),
        likelihood: Likelihood | None = None,
        decoder: Decoder = MLPDecoder,
        mean: Tensor | None = None,
    ) -> None:
        check_integer("context_dim", context_dim, 1)
        assert context_dim is not None

        def of_both(latent_dim: int, *sizes: Any) -> nn.Module:
            return decoder(latent_dim + context_dim, *sizes)

        super().__init__(shape, latent_dim, hidden, likelihood, of_both, mean)
        self.context_dim, self.units = context_dim, Standardise(each=True)

    def start(self, x: Tensor, context: Tensor | None = None) -> None:
        """Take the scale of training data `(N, *shape)` and of a context `(M, c)`; a decoder that
        was trained, or loaded, is left as it is.
        """
        if context is not None and self._is_untrained():
            self.units.start(context)
        super().start(x)

    def forward(
        self, x: Tensor, index: Tensor | None = None, context: Tensor | None = None
    ) -> Tensor:
        """Run the program on a minibatch `(B, *shape)` with its context `(B, context_dim)`; returns
        the latent `(..., B, d)`.
        """
        check_given(context, len(x), self.context_dim)
        assert context is not None
        pyro.module(unique_name(self), self)
        with pyro.plate("data", x.shape[0], dim=-1):
            z = pyro.sample("latent", self.prior(x))
            pyro.sample("obs", self.likelihood(self._decoded(z, context)), obs=x)
        return z

    @torch.no_grad()
    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Mean of p(x | z, c) `(..., B, *shape)` for latents `(..., B, d)` and context `(B, c)`."""
        lead = z.dim() - 1 if isinstance(z, Tensor) else 1
        check_shape("z", z, (*[None] * lead, self.latent_dim))
        check_given(context, z.shape[-2] if lead else 1, self.context_dim)
        assert context is not None
        return self.likelihood(self._decoded(z, context)).mean

    @torch.no_grad()
    def sample(self, context: Tensor) -> Tensor:  # type: ignore[override]
        """Means of p(x | z, c) for z from the prior, `(N, *shape)`, one for each row of a context
        `(N, context_dim)`.
        """
        check_shape("context", context, (None, self.context_dim))
        return self.decode(self.prior(context).sample((len(context),)), context)

    def _decoded(self, z: Tensor, context: Tensor) -> Tensor:
        return self.decoder(beside(z, self.units(context.to(z))))


def beside(z: Tensor, context: Tensor) -> Tensor:
    """Latents `(..., B, d)` with the context `(B, c)` of their data behind them, `(..., B, d + c)`.

    Example:
        >>> beside(torch.zeros(5, 3, 2), torch.ones(3, 1))[0, 0]
        tensor([0., 0., 1.])
    """
    return torch.cat([z, context.expand(*z.shape[:-1], -1)], -1)
