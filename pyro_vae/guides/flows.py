"""The spline flow: a family beyond the Gaussian whose density is tractable and whose parameters are
all in one tensor.

    z = mu + sigma * (I + N / sqrt(d)) s(eps),    eps ~ N(0, I),

with s_i a monotonic rational-quadratic spline. The splines (zuko's) bend each coordinate on its own
into skewed, heavy-tailed, light-tailed or bimodal ones, and the triangular map ties the coordinates
together; with straight splines it is `FullRank`. A parameter tensor is all the family needs, so a
network, a table of rows or both may give it. There is no auxiliary variable whose slack would be
counted as an approximation gap.

References:
    Durkan, Bekasov, Murray, Papamakarios (2019). Neural spline flows. arXiv:1906.04032.
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.transforms import IndependentTransform, Transform

from pyro_vae.arguments import check_sizes
from pyro_vae.guides.families import Family, FullRank, triangular
from pyro_vae.nets.splines import BOUND, MaskedAutoregressiveTransform, MonotonicRQSTransform

__all__ = ["BOUND", "MaskedAutoregressiveTransform", "MonotonicRQSTransform", "SplineFlow"]

# a step in a knot moves q less than one in the mean does: without it noise drowns the splines
_BEND = 0.1


class SplineFlow(Family):
    """A spline in each coordinate, then a triangular affine map; P = 2 d + d (d - 1) / 2 +
    (3 K - 1) d.

    The parameters begin with those of `FullRank`; with zeros after them, q is the `FullRank`
    Gaussian.

    Args:
        dim: d.
        num_bins: K, pieces of a spline.

    Example:
        >>> SplineFlow(3, num_bins=4).num_params
        42
    """

    def __init__(self, dim: int, num_bins: int = 8) -> None:
        self.dim, self.num_bins = check_sizes("dim, num_bins", (dim, num_bins))
        self.blocks = FullRank(dim).blocks | {f"knots of {num_bins} bins": (3 * num_bins - 1) * dim}

    def __call__(self, params: Tensor) -> dist.TorchDistribution:
        bins = self.num_bins
        mean, log_scale, lower, knots = self.split(params)

        knots = (_BEND * knots).unflatten(-1, (self.dim, 3 * bins - 1))
        splines = knots.split([bins, bins, bins - 1], dim=-1)
        bend = MonotonicRQSTransform(*splines, bound=BOUND, cache_size=1)
        bends = IndependentTransform(bend, 1, cache_size=1)
        tie = _Triangular(mean, log_scale, triangular(log_scale, lower))

        base = dist.Normal(torch.zeros_like(mean), torch.ones_like(mean)).to_event(1)
        return dist.TransformedDistribution(base, [bends, tie])

    def standard(self) -> Tensor:
        return torch.zeros(self.num_params)


class _Triangular(Transform):
    """z = mu + L y, whose log-determinant is the sum of log sigma."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, mean: Tensor, log_scale: Tensor, scale_tril: Tensor) -> None:
        super().__init__(cache_size=1)  # the density at a draw needs no inverse
        self.mean, self.log_scale, self.scale_tril = mean, log_scale, scale_tril

    def _call(self, x: Tensor) -> Tensor:
        return self.mean + (self.scale_tril @ x[..., None])[..., 0]

    def _inverse(self, y: Tensor) -> Tensor:
        column = (y - self.mean)[..., None]
        return torch.linalg.solve_triangular(self.scale_tril, column, upper=False)[..., 0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.log_scale.sum(-1).expand(x.shape[:-1])
