"""Hamiltonian Monte Carlo for all chains of all data at once, each datum with a step size of its
own.

One transition leaves f_beta invariant: a fresh momentum, L leapfrog steps, and a Metropolis test
for each chain,

    p <- p + eps/2 s g(z),    z <- z + eps s p,    p <- p + eps/2 s g(z)

with g the gradient of log f_beta, in units of s, the standard deviations of the start of the path,
`(B, P)`. The step of each trajectory is eps times a number drawn between 1/2 and 3/2, lest a
coordinate come back to where it was, time and again (annealed log-weights then spread 0.5 and 0.65
times as much on Gaussian posteriors of 10 and 50 units). Since a point carries the gradients of
both ends of the path, a transition takes exactly L evaluations, whatever beta the next one has.

References:
    Neal (2011). MCMC using Hamiltonian dynamics. arXiv:1206.1901.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_vae.evidence.path import Path, Point

TARGET = 0.8  # share of proposals that are taken; log-weights spread less than at 0.65
STEPS = 1e-4, 2.0  # bounds of the step size


def transition(
    path: Path,
    point: Point,
    beta: float,
    step: Tensor,
    scale: Tensor,
    num_leapfrog: int,
) -> tuple[Point, Tensor]:
    """One transition of every chain, and the probability `(K, B)` with which each proposal was
    taken.

    Args:
        path: what the chains move on.
        point: where they are, `(K, B, P)`.
        beta: of the density that is left invariant.
        step: eps of each datum `(B,)`.
        scale: s `(B, P)`.
        num_leapfrog: L.
    """
    momentum = torch.randn_like(point.z)
    before = point.log_density(beta) - momentum.square().sum(-1) / 2
    reach = (step * (0.5 + torch.rand_like(point.log_joint)))[..., None] * scale  # (K, B, P)

    proposal = point
    for _ in range(num_leapfrog):
        momentum = momentum + reach / 2 * proposal.gradient(beta)
        proposal = path.at(proposal.z + reach * momentum)
        momentum = momentum + reach / 2 * proposal.gradient(beta)

    after = proposal.log_density(beta) - momentum.square().sum(-1) / 2
    # a trajectory that diverged is not taken
    chance = torch.exp((after - before).clamp(max=0)).nan_to_num(0.0)
    return point.where(torch.rand_like(chance) < chance, proposal), chance


def adapted(log_step: Tensor, chance: Tensor, rate: float) -> Tensor:
    """Logs of step sizes `(B,)` after a look at the acceptance of each datum's chains `(K, B)`: a
    Robbins-Monro step.
    """
    low, high = (torch.tensor(bound).log().item() for bound in STEPS)
    return (log_step + rate * (chance.mean(0) - TARGET)).clamp(low, high)
