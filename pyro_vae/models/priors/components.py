"""A mixture of K distributions over a vector, as one distribution.

    p(z) = sum_k w_k p_k(z)

Of Gaussians with independent units the quadratic forms of all K at all z are two matrix products,
taken in float64, since they subtract large numbers; nothing of size K d is made for each z. Of any
other components a few z are scored at a time.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, constraints

_NUMBERS = 2**20  # of components at z that are held at a time
_HALVINGS = 60  # of an interval in which a quantile is


class Mixture(dist.TorchDistribution):
    """A mixture, event shape (d,) and batch shape () unless it is expanded.

    Args:
        logits: unnormalised log-weights `(K,)`.
        components: batch shape (K,), event shape (d,).

    Example:
        >>> parts = dist.Normal(torch.zeros(3, 2), 1.0).to_event(1)
        >>> Mixture(torch.zeros(3), parts).log_prob(torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(
        self,
        logits: Tensor,
        components: dist.TorchDistribution,
        batch_shape: torch.Size = torch.Size(),  # noqa: B008  it cannot be changed
    ) -> None:
        self.logits, self.components = logits.log_softmax(-1), components
        super().__init__(batch_shape, components.event_shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Mixture:
        return Mixture(self.logits, self.components, torch.Size(batch_shape))

    @property
    def mean(self) -> Tensor:
        weights = self.logits.exp()[:, None]
        return (weights * self.components.mean).sum(0).expand(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> Tensor:
        weights, means = self.logits.exp()[:, None], self.components.mean
        spread = self.components.variance + (means - (weights * means).sum(0)) ** 2
        return (weights * spread).sum(0).expand(self.batch_shape + self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        each = self.log_components(value)
        found = torch.logsumexp(each + self.logits.to(each), -1).to(value.dtype)
        return found.expand(torch.broadcast_shapes(found.shape, self.batch_shape))

    def log_components(self, value: Tensor) -> Tensor:
        """log p_k(z) `(..., K)` at z `(..., d)`."""
        base = _independent(self.components)
        if base is not None:
            return _gaussian(value.double(), base.loc.double(), base.scale.double())

        rows = value.reshape(-1, value.shape[-1])
        few = rows.split(self._held)
        found = torch.cat([self.components.log_prob(part[:, None]) for part in few])
        return found.reshape(*value.shape[:-1], -1)

    def log_marginals(self, value: Tensor) -> Tensor | None:
        """log p(z_u) of each unit by itself `(..., d)`; None where the components do not tell."""
        base = _independent(self.components)
        if base is None:
            return None
        found = []
        for unit, z in enumerate(value.unbind(-1)):
            parts = Normal(base.loc[:, unit], base.scale[:, unit])
            found.append(torch.logsumexp(parts.log_prob(z[..., None]) + self.logits, -1))
        return torch.stack(found, -1)

    def quantiles(self, levels: Tensor) -> Tensor:
        """z `(..., d)` whose unit u has its level of p(z_u | z_1 .. z_(u-1)), `(..., d)` from 0 to
        1.
        """
        base = _independent(self.components)
        if base is None:
            raise NotImplementedError("components other than independent Gaussians")
        log_weights, found = self.logits.double(), []
        for unit, level in enumerate(levels.double().unbind(-1)):
            parts = Normal(base.loc[:, unit].double(), base.scale[:, unit].double())
            z = _inverse(parts, log_weights.softmax(-1), level)
            log_weights = log_weights + parts.log_prob(z[..., None])
            found.append(z)
        return torch.stack(found, -1).to(levels.dtype)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        with torch.no_grad():
            shape = torch.Size(sample_shape) + self.batch_shape
            which = dist.Categorical(logits=self.logits).sample(shape)
            base = _independent(self.components)
            if base is not None:
                return torch.normal(base.loc[which], base.scale[which])

            found = []
            for part in which.flatten().split(self._held):
                drawn = self.components.sample((len(part),))  # (n, K, d)
                found.append(drawn[torch.arange(len(part), device=part.device), part])
            return torch.cat(found).reshape(shape + self.event_shape)

    @property
    def _held(self) -> int:
        """How many z are scored, or drawn, at a time."""
        return max(1, _NUMBERS // (len(self.logits) * self.event_shape[0]))


def _independent(components: Any) -> Normal | None:
    """The normal distributions that components are made of, `(K, d)`; None of any others."""
    is_independent = isinstance(components, Independent)
    base = components.base_dist if is_independent else None
    return base if isinstance(base, Normal) and len(components.event_shape) == 1 else None


def _inverse(parts: Normal, weights: Tensor, level: Tensor) -> Tensor:
    """Where the mixture's distribution function has a level, by bisection."""
    far = 10 * parts.scale.max()
    low = (parts.loc.min() - far).expand(level.shape)
    high = (parts.loc.max() + far).expand(level.shape)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_below = (weights * parts.cdf(middle[..., None])).sum(-1) < level
        low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
    return (low + high) / 2


def _gaussian(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """log N(z; mean_k, diag scale_k^2) `(..., K)`."""
    precision = scale**-2
    square = z**2 @ precision.T - 2 * z @ (mean * precision).T + (mean**2 * precision).sum(-1)
    dim = mean.shape[-1]
    return -square / 2 - scale.log().sum(-1) - dim / 2 * math.log(2 * math.pi)
