"""What the latent code holds: active units.

A unit is active where the guide's mean of it varies over the data, Var_x(E_q[z_u | x]) > 0.01 (Burda et al., 2016).
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_vae.traces import Program, evaluation, latent_means

THRESHOLD = 0.01


def unit_variances(guide: Program, x: Tensor, index: Tensor | None = None, batch_size: int = 4096) -> Tensor:
    """Var_x(E_q[z_u | x]) of each latent unit u `(d,)`, over the data `(N, *shape)`; the units of all sites in a row.

    The guide's distributions must know their mean, as Gaussians do.

    Raises:
        ValueError: fewer than two data, or a site whose distribution has no mean.
    """
    if len(x) < 2:
        raise ValueError(f"x: got {len(x)} data, expected at least two: a variance over the data is asked for")
    index = torch.arange(len(x), device=x.device) if index is None else index
    with evaluation(guide, device=x.device):
        parts = [
            latent_means(guide, x[rows], index[rows])
            for rows in torch.arange(len(x), device=x.device).split(batch_size)
        ]
    return torch.cat(parts).var(0)


def active_units(guide: Program, x: Tensor, index: Tensor | None = None) -> int:
    """Number of units with Var_x(E_q[z_u | x]) > 0.01 over the data `(N, *shape)`."""
    return int((unit_variances(guide, x, index) > THRESHOLD).sum())
