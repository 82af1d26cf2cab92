"""The linear-Gaussian VAE, or probabilistic PCA: the model in which everything has a closed form.

    z ~ N(0, I_d),   x | z ~ N(W z + mu, s^2 I_D)
    p(x)     = N(mu, W W' + s^2 I)
    p(z | x) = N(m, L^-1),   L = I + W'W / s^2,   m = L^-1 W'(x - mu) / s^2

The best mean-field Gaussian has the exact mean and the variances 1 / L_ii (Bishop 2006, eq. 10.13
and following). So the family loses (sum_i log L_ii - log det L) / 2 nats, whatever x is. Every
estimator of the package is first held to these closed forms.

Of data with missing values (NaN) they are those of the observed part: the rows of W that belong to
what is missing are left out, so that each datum has an L of its own.

References:
    Tipping, Bishop (1999). Probabilistic principal component analysis. doi:10.1111/1467-9868.00196.
    Bishop (2006). Pattern recognition and machine learning. Springer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.arguments import (
    MAX_SAMPLES,
    check_data_of,
    check_finite,
    check_integer,
    check_kind,
    check_mean,
    check_positive,
    check_rows,
    check_seed,
    check_shape,
    check_sizes,
    refuse,
)
from pyro_vae.programs.missing import has_missing, is_observing
from pyro_vae.programs.naming import unique_name
from pyro_vae.programs.present import present


class LinearGaussian(nn.Module):
    """Probabilistic PCA with a learnable loading matrix, mean and noise.

    Args:
        shape: shape of one datum; it is flattened to D values.
        latent_dim: d.
        sigma: initial standard deviation s of the noise.
        seed: for the initial loadings, N(0, 1/d).

    Example:
        >>> model = LinearGaussian(5, 2)
        >>> model.log_px(torch.zeros(3, 5)).shape
        torch.Size([3])
    """

    def __init__(
        self, shape: int | Sequence[int], latent_dim: int = 2, sigma: float = 1.0, seed: int = 0
    ) -> None:
        super().__init__()
        self.shape = check_sizes("shape", shape)
        check_integer("latent_dim", latent_dim, 1)
        check_positive("sigma", sigma)
        check_seed("seed", seed)

        self.latent_dim = latent_dim
        size = math.prod(self.shape)
        generator = torch.Generator().manual_seed(seed)
        loading = torch.randn(size, latent_dim, generator=generator) / math.sqrt(latent_dim)
        self.loading = nn.Parameter(loading)
        self.mean = nn.Parameter(torch.zeros(size))
        self.log_sigma = nn.Parameter(torch.tensor(math.log(sigma)))

    @classmethod
    def maximum_likelihood(cls, x: Tensor, latent_dim: int) -> LinearGaussian:
        """The maximum-likelihood fit to `x` `(N, *shape)` from the sample covariance's
        eigenvectors, in x's dtype.
        """
        check_rows("x", x, least=2)
        if not x.is_floating_point():
            refuse("x", x, "floats (N, *shape)")
        check_finite("x", x)
        check_integer("latent_dim", latent_dim, 1)
        flat = x.reshape(len(x), -1)
        size = flat.shape[1]
        if not 1 <= latent_dim < size:
            raise ValueError(
                f"latent_dim: got {latent_dim}, expected 1 <= latent_dim <"
                f" {size}, the size of a datum"
            )

        mean = flat.mean(0)
        covariance = (flat - mean).T @ (flat - mean) / len(flat)
        eigenvalues, vectors = torch.linalg.eigh(covariance)  # the smallest first
        variance = eigenvalues[:-latent_dim].mean()
        top, vectors = eigenvalues[-latent_dim:].flip(0), vectors[:, -latent_dim:].flip(1)

        model = cls(x.shape[1:], latent_dim).to(x)
        with torch.no_grad():
            model.loading.copy_(vectors * (top - variance).clamp(min=0).sqrt())
            model.mean.copy_(mean)
            model.log_sigma.copy_(variance.log() / 2)
        return model

    def center(self, mean: Tensor) -> None:
        """Start from the mean of the training data, `(*shape)`."""
        check_mean("mean", mean, self.shape)
        with torch.no_grad():
            self.mean.copy_(mean.flatten())

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Run the program on a minibatch `(B, *shape)`; returns the latent `(..., B, d)`."""
        pyro.module(unique_name(self), self)
        prior = dist.Normal(torch.zeros_like(self.loading[0]), 1.0).to_event(1)
        with pyro.plate("data", x.shape[0], dim=-1):
            z = pyro.sample("latent", prior)
            mean = z @ self.loading.T + self.mean
            likelihood = dist.Normal(mean, self.log_sigma.exp()).to_event(1)
            pyro.sample("obs", likelihood, obs=x.reshape(len(x), -1))
        return z

    def check_data(self, x: Tensor) -> None:
        """Raise a ValueError where `x` is not of shape `(N, *shape)`, or infinite; NaN is a missing
        value.
        """
        check_data_of("x", x, self.shape, self.loading)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Mean of p(x | z) `(..., *shape)` for latents `(..., d)`."""
        lead = z.dim() - 1 if isinstance(z, Tensor) else 1
        check_shape("z", z, (*[None] * lead, self.latent_dim))
        return (z @ self.loading.T + self.mean).reshape(*z.shape[:-1], *self.shape)

    @torch.no_grad()
    def sample(self, num_samples: int) -> Tensor:
        """Means of p(x | z) for z from the prior, `(num_samples, *shape)`."""
        check_integer("num_samples", num_samples, 1, MAX_SAMPLES)
        return self.decode(torch.randn(num_samples, self.latent_dim).to(self.loading))

    @torch.no_grad()
    def log_px(self, x: Tensor) -> Tensor:
        """Exact log p(x), `(B,)` nats; of what is observed where x has missing values."""
        self.check_data(x)
        noise = (2 * self.log_sigma).exp() * torch.eye(len(self.mean)).to(self.mean)
        covariance = self.loading @ self.loading.T + noise
        fn, flat = dist.MultivariateNormal(self.mean, covariance), x.reshape(len(x), -1)
        fn, flat = present(fn, flat) if has_missing(x) else (fn, flat)
        return fn.log_prob(flat)

    def precision(self, x: Tensor | None = None) -> Tensor:
        """The posterior's precision L `(d, d)`, the same for every complete x; `(B, d, d)`, of
        those values of `x` `(B, *shape)` that are observed, where it is given.
        """
        identity = torch.eye(self.latent_dim).to(self.loading)
        left = self.loading.T
        if x is not None:  # without the columns of what is missing
            left = left * (~x.reshape(len(x), 1, -1).isnan()).to(left)
        return identity + left @ self.loading / (2 * self.log_sigma).exp()

    def posterior(self, x: Tensor, missing: bool | None = None) -> dist.TorchDistribution:
        """Exact p(z | x), batch shape (B,), event shape (d,).

        Args:
            x: data `(B, *shape)`.
            missing: whether some of their values are missing (NaN), and the posterior is given the
                others; None goes by the program that this is called in (`observed_part`).
        """
        check_shape("x", x, (None, *self.shape), self.loading.dtype)
        centred, variance = x.reshape(len(x), -1) - self.mean, (2 * self.log_sigma).exp()
        if is_observing() if missing is None else missing:
            precision = self.precision(x)
            score = centred.nan_to_num() @ self.loading / variance
            mean = torch.linalg.solve(precision, score)
            return dist.MultivariateNormal(mean, precision_matrix=precision)

        precision = self.precision()
        mean = torch.linalg.solve(precision, (centred @ self.loading / variance).T).T
        return dist.MultivariateNormal(mean, precision_matrix=precision)

    @torch.no_grad()
    def conditional(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations `(N, *shape)` of what is missing of x given the rest, in
        closed form; what is observed is its own mean, with deviation 0.
        """
        self.check_data(x)
        q = self.posterior(x, missing=True)
        mean = q.mean @ self.loading.T + self.mean
        spread = torch.einsum("id,...de,ie->...i", self.loading, q.covariance_matrix, self.loading)
        deviation = (spread + (2 * self.log_sigma).exp()).sqrt().expand_as(mean)
        missing = x.isnan()
        mean, deviation = mean.reshape(x.shape), deviation.reshape(x.shape)
        return torch.where(missing, mean, x), torch.where(missing, deviation, 0.0)

    def optimal_mean_field(self, x: Tensor, missing: bool | None = None) -> dist.TorchDistribution:
        """The best mean-field Gaussian q(z | x): the exact mean, variances 1 / L_ii; `missing` as
        for `posterior`.
        """
        missing = is_observing() if missing is None else missing
        precision = self.precision(x if missing else None)
        scale = precision.diagonal(dim1=-2, dim2=-1).rsqrt()
        return dist.Normal(self.posterior(x, missing).mean, scale).to_event(1)

    @torch.no_grad()
    def mean_field_gap(self) -> Tensor:
        """Approximation gap of the mean-field family, log p(x) - L[q*] nats, the same for all x."""
        precision = self.precision()
        return (precision.diagonal().log().sum() - torch.logdet(precision)) / 2


class ExactGuide(nn.Module):
    """The guide that samples the exact posterior of a `LinearGaussian` model: each of its
    log-weights is log p(x).
    """

    runs_model = True

    def __init__(self, model: LinearGaussian) -> None:
        super().__init__()
        check_kind("model", model, LinearGaussian, "a LinearGaussian, whose posterior is known")
        self.posterior = model.posterior  # a bound method: the parameters stay the model's

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Run the guide on a minibatch `(B, *shape)`; returns the latent `(..., B, d)`."""
        with pyro.plate("data", x.shape[0], dim=-1):
            return pyro.sample("latent", self.posterior(x))
