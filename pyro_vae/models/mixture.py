"""The conjugate mixture of Gaussians with unknown centres, in which coordinate ascent is exact at
every step.

    mu_k ~ N(0, spread^2 I),    c_n ~ Uniform{1..K},    x_n | c_n, mu ~ N(mu_{c_n}, sigma^2 I)

The centres are shared by all data. So this is the classical case in which a datum has no posterior
of its own: there is one log p(x_1, ..., x_N), and no weight per datum (`log_weights` says so).

References:
    Blei, Kucukelbir, McAuliffe (2017). Variational inference: a review for statisticians.
        arXiv:1601.00670. Section 2.1.
    Bishop (2006). Pattern recognition and machine learning. Springer. Section 10.2.
"""

from __future__ import annotations

import itertools
import math

import pyro
import pyro.distributions as dist
import torch
from pyro.ops.indexing import Vindex
from torch import Tensor, nn

from pyro_vae.arguments import (
    MAX_SAMPLES,
    check_finite,
    check_integer,
    check_positive,
    check_rows,
    check_sizes,
    refuse,
)

_MOST = 100_000  # assignments that the exact evidence sums over


class GaussianMixture(nn.Module):
    """A mixture of K Gaussians of known width, sites "centres" and "assignment".

    Args:
        dim: D, values of a datum.
        num_components: K.
        spread: standard deviation of the centres' prior.
        sigma: standard deviation of a component.

    Example:
        >>> model = GaussianMixture(2, 3)
        >>> model.log_evidence(model.sample(4)).shape
        torch.Size([])
    """

    def __init__(
        self, dim: int, num_components: int, spread: float = 3.0, sigma: float = 1.0
    ) -> None:
        super().__init__()
        self.dim, self.num_components = check_sizes("dim, num_components", (dim, num_components))
        check_positive("spread", spread)
        check_positive("sigma", sigma)
        self.spread, self.sigma = spread, sigma

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Run the program on all data `(N, D)`; returns the assignments `(..., N)`."""
        zero = x.new_zeros(self.num_components, self.dim)
        centres = pyro.sample("centres", dist.Normal(zero, self.spread).to_event(2))
        even = x.new_zeros(self.num_components)
        with pyro.plate("data", len(x), dim=-1):
            assignment = pyro.sample("assignment", dist.Categorical(logits=even))
            mean = Vindex(centres)[..., assignment, :]
            pyro.sample("obs", dist.Normal(mean, self.sigma).to_event(1), obs=x)
        return assignment

    @torch.no_grad()
    def sample(self, num_samples: int) -> Tensor:
        """Data `(num_samples, D)` about centres from the prior."""
        check_integer("num_samples", num_samples, 1, MAX_SAMPLES)
        centres = self.spread * torch.randn(self.num_components, self.dim)
        assignment = torch.randint(self.num_components, (num_samples,))
        return centres[assignment] + self.sigma * torch.randn(num_samples, self.dim)

    @torch.no_grad()
    def log_evidence(self, x: Tensor) -> Tensor:
        """Exact log p(x_1, ..., x_N), a scalar, nats: a sum over all K^N assignments, so for a
        handful of data.

        Given the assignments, the data of a component are jointly Gaussian: with n data of mean m,
        whose squared distances from m sum to q,

            log p = -D/2 (n log 2 pi sigma^2 + log(1 + n r))
                    - (q + n |m|^2 / (1 + n r)) / (2 sigma^2),    r = spread^2 / sigma^2

        Raises:
            ValueError: too many data, or data of another shape.
        """
        check_rows("x", x)
        if not x.is_floating_point():
            refuse("x", x, f"floats (N, {self.dim})")
        check_finite("x", x)

        num, count = self.num_components, len(x)
        if x.dim() != 2 or x.shape[1] != self.dim or num**count > _MOST:
            raise ValueError(
                f"x: got shape {tuple(x.shape)}, expected (N, {self.dim})"
                f" with {num}^N at most {_MOST}"
            )

        ratio, variance = (self.spread / self.sigma) ** 2, self.sigma**2
        every = list(itertools.product(range(num), repeat=count))
        assignments = torch.tensor(every, device=x.device)  # (K^N, N)
        total = x.new_full((len(assignments),), -count * math.log(num))

        for k in range(num):
            mine = (assignments == k).to(x)
            size = mine.sum(1)
            mean = mine @ x / size.clamp(min=1)[:, None]
            squares = mine @ x.square().sum(1) - size * mean.square().sum(1)

            wide = 1 + size * ratio
            total -= self.dim / 2 * (size * math.log(2 * math.pi * variance) + wide.log())
            total -= (squares + size * mean.square().sum(1) / wide) / (2 * variance)

        return torch.logsumexp(total, 0)
