"""Coordinate ascent (CAVI) for a mixture of Gaussians with unknown centres: every update is in
closed form.

    q(mu, c) = prod_k N(mu_k; m_k, v_k I) prod_n Categorical(c_n; phi_n)

    phi_nk  proportional to  exp(-(|x_n - m_k|^2 + D v_k) / (2 sigma^2))
    v_k = 1 / (1 / spread^2 + sum_n phi_nk / sigma^2),    m_k = v_k sum_n phi_nk x_n / sigma^2

Each update maximises the ELBO in its own factor, so that the ELBO of all data together rises at
every sweep. It has many local maxima (K! by the names of the components alone): where it ends
depends on where it starts, and restarts are the user's.

References:
    Blei, Kucukelbir, McAuliffe (2017). Variational inference: a review for statisticians.
        arXiv:1601.00670. Sections 2.4 and 3.
    Bishop (2006). Pattern recognition and machine learning. Springer. Section 10.2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_vae.arguments import (
    check_finite,
    check_integer,
    check_kind,
    check_number,
    check_rows,
    check_seed,
    check_shape,
)
from pyro_vae.guides import MixtureGuide
from pyro_vae.inference.coordinate_ascent import Ascent
from pyro_vae.models import GaussianMixture


@torch.no_grad()
def mixture_ascent(
    model: GaussianMixture,
    x: Tensor,
    *,
    seed: int = 0,
    max_sweeps: int = 1000,
    tolerance: float = 1e-10,
) -> Ascent[MixtureGuide]:
    """Fit the posterior of a `GaussianMixture` by coordinate ascent, from centres at data drawn at
    random.

    Args:
        model: of K components.
        x: data `(N, D)`, N at least K.
        seed: of the data at which the centres start.
        max_sweeps: most sweeps over both factors.
        tolerance: stop when the ELBO has risen by no more, nats.

    Returns:
        The guide, and the ELBO of all data together before the first sweep and after each,
        `(sweeps + 1,)` nats.

    Raises:
        ValueError: another model, data that are not finite and `(N, D)`, or numbers out of range.

    Example:
        >>> model = GaussianMixture(2, 3)
        >>> ascent = mixture_ascent(model, model.sample(20))
        >>> bool((ascent.elbos.diff() > -1e-3).all())
        True
    """
    check_kind("model", model, GaussianMixture, "a GaussianMixture: the updates are of that model")
    check_integer("max_sweeps", max_sweeps, 1)
    check_seed("seed", seed)
    check_number("tolerance", tolerance, least=0)
    check_rows("x", x)
    check_shape("x", x, (None, model.dim))
    check_finite("x", x)

    num, spread, sigma = model.num_components, model.spread, model.sigma
    if len(x) < num:
        raise ValueError(f"x: got {len(x)} data for {num} components, expected as many or more")

    start = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:num]
    mean, variance = x[start.to(x.device)].clone(), x.new_full((num,), sigma**2)
    phi = x.new_full((len(x), num), 1 / num)

    elbos = [_elbo(x, mean, variance, phi, spread, sigma)]
    while len(elbos) <= max_sweeps:
        phi = torch.softmax(-_distances(x, mean, variance) / (2 * sigma**2), 1)
        variance = 1 / (1 / spread**2 + phi.sum(0) / sigma**2)
        mean = variance[:, None] * (phi.T @ x) / sigma**2
        elbos.append(_elbo(x, mean, variance, phi, spread, sigma))
        converged = bool(elbos[-1] - elbos[-2] <= tolerance)
        if converged:
            break

    return Ascent(MixtureGuide(mean, variance, phi), torch.stack(elbos), converged)


def _distances(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """E_q |x_n - mu_k|^2, `(N, K)`."""
    squared = torch.cdist(x, mean, compute_mode="donot_use_mm_for_euclid_dist").square()
    return squared + x.shape[1] * variance


def _elbo(
    x: Tensor, mean: Tensor, variance: Tensor, phi: Tensor, spread: float, sigma: float
) -> Tensor:
    """E_q[log p(x, c, mu)] + entropy, a scalar."""
    (num_data, dim), num = x.shape, len(mean)
    likelihood = -(phi * _distances(x, mean, variance)).sum() / (2 * sigma**2)
    likelihood -= num_data * dim / 2 * math.log(2 * math.pi * sigma**2)

    ratio = variance / spread**2
    centres = (dim * (ratio - 1 - ratio.log()) + mean.square().sum(1) / spread**2).sum() / 2
    assignments = torch.special.xlogy(phi, num * phi).sum()
    return likelihood - centres - assignments
