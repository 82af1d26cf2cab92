"""The distribution of those values of an observation that are there.

    log p(x_o) = sum of log p(x_j) over the values j that are no NaN

where the values of a datum are independent given its latents, which is what `.to_event(n)` says of
a distribution. In the place of NaN comes a value of the support, whose density is then left out, so
that no gradient meets a NaN. Normal values that hang together have a closed form:

    x ~ N(m, C)   gives   x_o ~ N(m_o, C_oo)

Any other joint distribution takes a datum whole or not at all, unless it says that it knows what to
do: by `log_prob_each` (`ScoresEach`), or by a true attribute `takes_missing` where its `log_prob`
takes NaN.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Protocol

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import MaskedDistribution
from torch import Tensor
from torch.distributions import biject_to, constraints

from pyro_vae.programs.protocols import offers

Sizes = torch.Size | list[int] | tuple[int, ...]
_ONE = torch.Size()
_NORMAL = (torch.distributions.MultivariateNormal, torch.distributions.LowRankMultivariateNormal)


class ScoresEach(Protocol):
    """A joint distribution whose values are independent all the same, each of its own kind."""

    def log_prob_each(self, value: Tensor) -> Tensor:
        """Log-densities `(*batch, *event)` of each value."""

    def valid_value(self) -> Tensor:
        """Some value `(*event)` of the support, to stand where one is missing."""


class Present(MaskedDistribution):
    """A distribution masked where a value is missing, and asked at values that are all valid."""


class _Scored(dist.TorchDistribution):
    """Draws and moments of a distribution; a density of those values alone that are there.

    Args:
        fn: the distribution.
        there: which values are there, `(..., *event)`.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, fn: Any, there: Tensor) -> None:
        self.fn, self.there = fn, there
        size = there.dim() - fn.event_dim
        batch = torch.broadcast_shapes(fn.batch_shape, there.shape[:size])
        super().__init__(batch, fn.event_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        return bool(self.fn.has_rsample)

    @property
    def are_codes(self) -> Any:
        return getattr(self.fn, "are_codes", False)

    @property
    def support(self) -> Any:
        return self.fn.support

    @property
    def mean(self) -> Tensor:
        return self.fn.mean

    @property
    def variance(self) -> Tensor:
        return self.fn.variance

    def expand(self, batch_shape: Sizes, _instance: Any = None) -> _Scored:
        return type(self)(self.fn.expand(batch_shape), self.there)

    def sample(self, sample_shape: Sizes = _ONE) -> Tensor:
        return self.fn.sample(sample_shape)

    def rsample(self, sample_shape: Sizes = _ONE) -> Tensor:
        return self.fn.rsample(sample_shape)


class _Each(_Scored):
    """By the log-density of each value (`ScoresEach`)."""

    def log_prob(self, value: Tensor) -> Tensor:
        each = self.fn.log_prob_each(value)
        kept = torch.where(self.there, each, each.new_zeros(()))
        return kept.flatten(kept.dim() - self.event_dim).sum(-1)


class _Marginal(_Scored):
    """Of a multivariate normal: what is missing has a unit variance of its own, and no density."""

    def log_prob(self, value: Tensor) -> Tensor:
        there = self.there.to(value)
        square = there[..., :, None] * there[..., None, :]
        covariance = self.fn.covariance_matrix * square + torch.diag_embed(1 - there)
        normal = dist.MultivariateNormal(self.fn.mean, covariance, validate_args=False)
        centred = torch.where(self.there, value, self.fn.mean)
        return normal.log_prob(centred) + (1 - there).sum(-1) * (0.5 * math.log(2 * math.pi))


def present(fn: Any, value: Tensor) -> tuple[Any, Tensor]:
    """The distribution of what is there of an observed value, and the value with something valid
    where it is NaN.

    Args:
        fn: distribution of the value.
        value: floats `(..., *event)`, NaN where one is missing.
    """
    if getattr(fn, "takes_missing", False):
        return fn, value
    if getattr(fn, "is_moved", False):  # of a whole set (`whole.py`)
        dim = -1 - fn.event_dim
        inner, filled = present(fn.base_dist, value.squeeze(dim))
        return type(fn)(inner), filled.unsqueeze(dim)

    missing = value.isnan()
    if offers(fn, ScoresEach):
        return _Each(fn, ~missing), torch.where(missing, fn.valid_value().to(value), value)

    base = base_of(fn)
    if isinstance(base, _NORMAL):
        filled = torch.where(missing, value.new_zeros(()), value)
        return _independent(_Marginal(base, ~missing), fn), filled

    size = base.event_dim
    whole = missing.flatten(missing.dim() - size).all(-1) if size else missing
    filled = torch.where(whole[(..., *[None] * size)], a_value(base, value), value)
    return _independent(Present(base, ~whole), fn), filled


def is_joint(fn: Any) -> bool:
    """Whether a distribution scores an event whole or not at all."""
    base = base_of(fn)
    if getattr(fn, "takes_missing", False) or offers(fn, ScoresEach):
        return False
    return base.event_dim > 0 and not isinstance(base, _NORMAL)


def base_of(fn: Any) -> Any:
    """What is inside of a distribution's `to_event`, and of one that `whole` has moved."""
    while isinstance(fn, torch.distributions.Independent) or getattr(fn, "is_moved", False):
        fn = fn.base_dist
    return fn


def there_of(fn: Any) -> Tensor | None:
    """Which values `(..., *event)` of an observation are there, by the distribution that `present`
    has made; None of any other.
    """
    base = base_of(fn)
    if isinstance(base, _Scored):
        return base.there
    if not isinstance(base, Present):
        return None
    mask: Any = base._mask
    return mask[(..., *[None] * base.event_dim)].expand(*mask.shape, *base.event_shape)


def a_value(fn: Any, like: Tensor) -> Tensor:
    """A value in the support of a distribution, which broadcasts with its event."""
    support = fn.support
    while hasattr(support, "base_constraint"):
        support = support.base_constraint

    zeros, event = like.new_zeros(fn.event_shape), fn.event_shape
    if getattr(support, "is_discrete", False):
        if not event:
            return torch.as_tensor(getattr(support, "lower_bound", 0)).to(like)
        if support is constraints.one_hot or hasattr(support, "upper_bound"):
            zeros[..., 0] = getattr(support, "upper_bound", 1)
        return zeros

    try:
        bijection = biject_to(support)
    except NotImplementedError:  # some support of a user's own
        return zeros
    return bijection(like.new_zeros(bijection.inverse_shape(event))).to(like)


def _independent(made: Any, fn: Any) -> Any:
    """With as many dimensions in its event as the distribution that it was made of."""
    extra = fn.event_dim - made.event_dim
    return made.to_event(extra) if extra else made
