"""What the latent code holds: its means, and how many of its units are active.

A unit is active where the guide's mean of it varies over the data, Var_x(E_q[z_u | x]) > 0.01
(Burda et al., 2016).
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_vae.arguments import check_integer, check_rows
from pyro_vae.programs.evaluation import evaluation
from pyro_vae.programs.inputs import check_inputs
from pyro_vae.programs.parts import batches
from pyro_vae.programs.sites import is_point
from pyro_vae.programs.traces import Program, guide_sites, plate_depth, sample_guide

THRESHOLD = 0.01


def latent_moments(
    guide: Program, x: Tensor, index: Tensor | None = None, num_particles: int = 100
) -> tuple[Tensor, Tensor]:
    """E_q[z | x] of all latent units in a row, `(B, d)`, and the variance `(B, d)` of its Monte
    Carlo error.

    In closed form, with an error of zero, where the guide has one site whose distribution knows its
    mean; else the mean of `num_particles` draws.
    """
    sites = guide_sites(guide, x, index)
    if len(sites) == 1 and not is_point(sites[0]["fn"]):
        fn = sites[0]["fn"]
        try:
            mean = fn.mean.movedim(-1 - fn.event_dim, 0).reshape(len(x), -1)
            return mean, torch.zeros_like(mean)
        except NotImplementedError:
            pass  # a flow, say
    depth = plate_depth(guide, guide, x, index)
    latents, _ = sample_guide(guide, x, index, num_particles, depth)
    rows = [z.movedim(depth, 1).reshape(num_particles, len(x), -1) for z in latents.values()]
    draws = torch.cat(rows, -1)  # (S, B, d)
    return draws.mean(0), draws.var(0) / num_particles


def unit_variances(
    guide: Program, x: Tensor, index: Tensor | None = None, batch_size: int = 4096
) -> Tensor:
    """Var_x(E_q[z_u | x]) of each latent unit u `(d,)`, over the data `(N, *shape)`; the units of
    all sites in a row.

    Where the guide's means have no closed form they are averages over draws, and the variance that
    the draws add is taken off again.

    Raises:
        ValueError: fewer than two data.
    """
    check_rows("x", x, least=2)  # a variance over the data is asked for
    check_integer("batch_size", batch_size, 1)
    x, index = check_inputs(None, guide, x, index)
    with evaluation(guide, device=x.device, seed=0):
        parts = [
            latent_moments(guide, x[rows], index[rows])
            for rows in batches(x, index, batch_size, guide)
        ]
    means, errors = (torch.cat(part) for part in zip(*parts, strict=True))
    return means.var(0) - errors.mean(0)


def active_units(guide: Program, x: Tensor, index: Tensor | None = None) -> int:
    """Number of units with Var_x(E_q[z_u | x]) > 0.01 over the data `(N, *shape)`."""
    return int((unit_variances(guide, x, index) > THRESHOLD).sum())
