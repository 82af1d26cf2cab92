"""Coordinate ascent (CAVI): the mean-field optimum of a linear-Gaussian model without a gradient or
a step size.

Each unit's factor is set to its best, the others held, one unit after another:

    v_i = 1 / L_ii,    m_i = (s_i - sum_{j != i} L_ij m_j) / L_ii

with L the posterior's precision and s = W^T (x - mu) / sigma^2. Every update is exact, so that the
ELBO of each datum rises at every sweep; the sweeps are those of Gauss and Seidel on L m = s, and
converge at a rate that the correlations in L set. All data go side by side.

References: Bishop (2006), section 10.1; Blei, Kucukelbir, McAuliffe (2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from pyro_vae.arguments import (
    check_finite,
    check_integer,
    check_number,
    check_positive,
    check_rows,
    check_shape,
    refuse,
)
from pyro_vae.guides.families import MeanField
from pyro_vae.guides.local import Local

GuideT = TypeVar("GuideT", bound=nn.Module)


@dataclass(frozen=True)
class Ascent(Generic[GuideT]):
    """What coordinate ascent found.

    Attributes:
        guide: the guide at the optimum.
        elbos: the ELBO before the first sweep and after each, in closed form, nats: of each datum
            `(sweeps + 1, N)`, or of all data together `(sweeps + 1,)` where they share latents.
    """

    guide: GuideT
    elbos: Tensor


@torch.no_grad()
def coordinate_ascent(
    loading: Tensor,
    mean: Tensor,
    sigma: Tensor | float,
    x: Tensor,
    *,
    max_sweeps: int = 1000,
    tolerance: float = 1e-10,
) -> Ascent[Local]:
    """Fit mean-field Gaussians to the posteriors of x = mu + W z + sigma eps, z ~ N(0, I).

    Args:
        loading: W `(D, d)`, such as `LinearGaussian.loading`.
        mean: mu `(D,)`.
        sigma: standard deviation of the noise.
        x: data `(N, *shape)` with D values each.
        max_sweeps: most sweeps over the d units.
        tolerance: stop when no datum's ELBO has risen by more, nats.

    Returns:
        `Local(MeanField(d), N)` at the optimum, and the ELBO of each datum.

    Raises:
        ValueError: shapes that do not match, a sigma that is not positive, values that are not
            finite.
    """
    check_integer("max_sweeps", max_sweeps, 1)
    check_number("tolerance", tolerance, least=0)
    flat, sigma = _checked(loading, mean, sigma, x)
    num_units = loading.shape[1]
    precision = torch.eye(num_units).to(loading) + loading.T @ loading / sigma**2
    score = (flat - mean) @ loading / sigma**2  # (N, d)
    diagonal = precision.diagonal()
    variance = 1 / diagonal
    centre = torch.zeros_like(score)
    elbos = [_elbo(centre, variance, loading, flat - mean, sigma)]
    for _ in range(max_sweeps):
        for i in range(num_units):
            others = centre @ precision[:, i] - centre[:, i] * diagonal[i]
            centre[:, i] = (score[:, i] - others) / diagonal[i]
        elbos.append(_elbo(centre, variance, loading, flat - mean, sigma))
        if (elbos[-1] - elbos[-2]).max() <= tolerance:
            break
    guide = Local(MeanField(num_units), len(x)).to(loading)
    guide.table.copy_(torch.cat([centre, (variance.log() / 2).expand_as(centre)], -1))
    return Ascent(guide, torch.stack(elbos))


def _checked(
    loading: Tensor, mean: Tensor, sigma: Tensor | float, x: Tensor
) -> tuple[Tensor, Tensor]:
    """The data `(N, D)` and sigma `()`, all of them finite and of shapes that match."""
    check_shape("loading", loading, (None, None))
    check_shape(
        "loading, mean" if isinstance(mean, Tensor) else "mean",
        mean,
        (len(loading),),
        loading.dtype,
    )
    check_rows("x", x)
    if not x.is_floating_point() or x[0].numel() != len(loading):
        raise ValueError(
            f"x, loading, mean: got shapes {tuple(x.shape)}, {tuple(loading.shape)},"
            f" {tuple(mean.shape)} ({x.dtype}), expected floats (N, D), (D, d), (D,)"
        )
    if not isinstance(sigma, Tensor):
        check_positive("sigma", sigma)
    noise = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
    if noise.dim() or not (noise > 0 and torch.isfinite(noise)):
        refuse("sigma", sigma, "a positive number")
    for name, value in (("loading", loading), ("mean", mean), ("x", x)):
        check_finite(name, value)
    return x.reshape(len(x), -1), noise


def _elbo(centre: Tensor, variance: Tensor, loading: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
    """E_q[log p(x, z)] + entropy, `(N,)`, for q = N(centre, diag variance), x without its mean."""
    squared = ((x - centre @ loading.T) ** 2).sum(1) + (variance * loading**2).sum()
    distortion = squared / (2 * sigma**2) + x.shape[1] * (0.5 * math.log(2 * math.pi) + sigma.log())
    rate = (centre**2 + variance - 1 - variance.log()).sum(1) / 2
    return -distortion - rate
