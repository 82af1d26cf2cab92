"""Coordinate ascent (CAVI): the mean-field optimum of a linear-Gaussian model without a gradient or
a step size.

Each unit's factor is set to its best, the others held, one unit after another:

    v_i = 1 / L_ii,    m_i = (s_i - sum_{j != i} L_ij m_j) / L_ii

with L the posterior's precision and s = W^T (x - mu) / sigma^2. Every update is exact, so that the
ELBO of each datum rises at every sweep; the sweeps are those of Gauss and Seidel on L m = s, and
converge at a rate that the correlations in L set. All data go side by side.

References:
    Bishop (2006). Pattern recognition and machine learning. Springer. Section 10.1.
    Blei, Kucukelbir, McAuliffe (2017). Variational inference: a review for statisticians.
        arXiv:1601.00670.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_finite, check_integer, check_kind, check_number
from pyro_vae.guides import Local, MeanField
from pyro_vae.models import LinearGaussian
from pyro_vae.results import Result, counted

GuideT = TypeVar("GuideT", bound=nn.Module)


@dataclass(frozen=True, repr=False)
class Ascent(Result, Generic[GuideT]):
    """What coordinate ascent found.

    Attributes:
        guide: the guide at the optimum.
        elbos: the ELBO before the first sweep and after each, in closed form, nats: of each datum
            `(sweeps + 1, N)`, or of all data together `(sweeps + 1,)` where they share latents.
        converged: whether it stopped by itself, before the sweeps ran out.
    """

    guide: GuideT
    elbos: Tensor
    converged: bool

    @property
    def num_sweeps(self) -> int:
        """Sweeps that were made."""
        return len(self.elbos) - 1

    def headline(self) -> str:
        sweeps = counted(self.num_sweeps, "sweeps")
        return f"coordinate ascent to a {type(self.guide).__name__}, {sweeps}"

    def figures(self) -> Iterator[tuple[str, str]]:
        first, last = self.columns()["elbo"][[0, -1]].tolist()
        unit = "nats per datum" if self.elbos.dim() > 1 else "nats, all data together"
        yield "ELBO", f"{first:.3f} before the first sweep, {last:.3f} at the end ({unit})"
        yield "verdict", "converged" if self.converged else "NOT converged: the sweeps ran out"

    def summary(self) -> dict[str, Any]:
        """The last ELBO, the number of sweeps, and whether they converged."""
        found = {"elbo": self.columns()["elbo"][-1].item(), "num_sweeps": self.num_sweeps}
        return found | {"converged": self.converged}

    def columns(self) -> dict[str, Tensor]:
        """A row before the first sweep and one after each: the ELBO, the mean over data."""
        return {"elbo": self.elbos.mean(1) if self.elbos.dim() > 1 else self.elbos}


@torch.no_grad()
def coordinate_ascent(
    model: LinearGaussian, x: Tensor, *, max_sweeps: int = 1000, tolerance: float = 1e-10
) -> Ascent[Local]:
    """Fit mean-field Gaussians to the posteriors of a linear-Gaussian model,
    x = mu + W z + sigma eps, z ~ N(0, I).

    Args:
        model: a `LinearGaussian`; its parameters do not change.
        x: data `(N, *shape)`.
        max_sweeps: most sweeps over the d units.
        tolerance: stop when no datum's ELBO has risen by more, nats.

    Returns:
        `Local(MeanField(d), N)` at the optimum, and the ELBO of each datum.

    Raises:
        ValueError: another model, data of another shape, values that are not finite.

    Example:
        >>> model = LinearGaussian(5, 2)
        >>> coordinate_ascent(model, model.sample(3)).converged
        True
    """
    check_kind("model", model, LinearGaussian, "a LinearGaussian: the updates are of that model")
    check_integer("max_sweeps", max_sweeps, 1)
    check_number("tolerance", tolerance, least=0)
    model.check_data(x)
    check_finite("x", x)

    loading, sigma, flat = model.loading, model.log_sigma.exp(), x.reshape(len(x), -1) - model.mean
    precision, score = model.precision(), flat @ loading / sigma**2  # (d, d), (N, d)
    diagonal = precision.diagonal()
    variance, centre = 1 / diagonal, torch.zeros_like(score)

    elbos = [_elbo(centre, variance, loading, flat, sigma)]
    while len(elbos) <= max_sweeps:
        for i in range(len(diagonal)):
            others = centre @ precision[:, i] - centre[:, i] * diagonal[i]
            centre[:, i] = (score[:, i] - others) / diagonal[i]
        elbos.append(_elbo(centre, variance, loading, flat, sigma))
        converged = bool((elbos[-1] - elbos[-2]).max() <= tolerance)
        if converged:
            break

    guide = Local(MeanField(len(diagonal)), len(x)).to(loading)
    guide.table.copy_(torch.cat([centre, (variance.log() / 2).expand_as(centre)], -1))
    return Ascent(guide, torch.stack(elbos), converged)


def _elbo(centre: Tensor, variance: Tensor, loading: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
    """E_q[log p(x, z)] + entropy, `(N,)`, for q = N(centre, diag variance), x without its mean."""
    squared = ((x - centre @ loading.T) ** 2).sum(1) + (variance * loading**2).sum()
    distortion = squared / (2 * sigma**2) + x.shape[1] * (0.5 * math.log(2 * math.pi) + sigma.log())
    rate = (centre**2 + variance - 1 - variance.log()).sum(1) / 2
    return -distortion - rate
