"""Trees of many lanes at once: leaf by leaf those of Pyro's NUTS, and what they leave invariant."""

from __future__ import annotations

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import NUTS
from torch import Tensor

from pyro_vae.evidence.trees import DEPTH, Point, Tree, grown, planted

SD = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)


def log_density(z: Tensor) -> Tensor:
    """Of a logistic unit beside two Gaussian ones, `(..., 3)`."""
    u = z / SD
    skewed = -u[..., 0] - 2 * torch.nn.functional.softplus(-u[..., 0])
    return skewed - u[..., 1:].square().sum(-1) / 2


def exact(num_lanes: int) -> Tensor:
    """Draws of it."""
    z = torch.randn(num_lanes, 3, dtype=torch.float64)
    z[:, 0] = torch.rand(num_lanes, dtype=torch.float64).logit()
    return z * SD


def at(z: Tensor) -> Point:
    z = z.clone().requires_grad_()
    value = log_density(z)
    return Point(z.detach(), torch.autograd.grad(value.sum(), z)[0], value.detach())


def ended(tree: Tree, sides: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The draw `(L, 3)`, the leaves and their mean probability `(L,)` of each lane's trajectory,
    whose doublings go to `sides` `(DEPTH, L)`.
    """
    lanes = torch.arange(len(tree.z))
    left = torch.ones(len(lanes), dtype=torch.bool)
    draws = torch.empty_like(tree.z)
    leaves, chance = torch.zeros(len(lanes)).long(), torch.zeros_like(tree.step)

    while left.any():
        noise = torch.rand(3, len(lanes), dtype=torch.float64)
        noise[2] = torch.where(sides[(tree.depth + 1).clamp(max=DEPTH - 1), lanes] > 0, 0.0, 0.9)
        point = at(tree.z)
        tree, over, _ = grown(tree, point.log_joint, point.gradient, noise)

        now = left & over
        draws[now], leaves[now] = tree.best.z[now], tree.leaves[now]
        chance[now] = (tree.chance / tree.leaves)[now]
        left &= ~over
    return draws, leaves, chance


@pytest.mark.parametrize("step", [0.15, 0.5, 1.2])
def test_trajectories_are_those_of_pyro(step: float) -> None:
    """From the same point, momentum and directions: as many leaves, with the same energies."""
    torch.manual_seed(0)
    z, num_lanes = exact(6), 6
    steps = torch.full((num_lanes,), step, dtype=torch.float64)
    tree = planted(at(z), steps, torch.ones_like(z))
    sides = torch.where(torch.rand(DEPTH, num_lanes) < 0.5, 1.0, -1.0)
    sides[0] = tree.side
    _, leaves, chance = ended(tree, sides)
    assert len(leaves.unique()) > 1

    for lane in range(num_lanes):
        calls = []

        def potential(values: dict[str, Tensor], calls: list[int] = calls) -> Tensor:
            calls.append(1)
            return -log_density(values["z"])

        kernel = NUTS(
            potential_fn=potential, step_size=step, adapt_step_size=False, adapt_mass_matrix=False
        )
        kernel.initial_params = {"z": z[lane].clone()}
        kernel.setup(0)
        calls.clear()

        known = {
            f"direction_t=0_treedepth={n}": (s > 0).double() for n, s in enumerate(sides[:, lane])
        }
        known["r_t=0_('z',)"] = tree.total[lane]
        with poutine.condition(data=known), pyro.validation_enabled(False):
            kernel.sample(kernel.initial_params)
        assert len(calls) == leaves[lane]
        assert kernel._mean_accept_prob == pytest.approx(chance[lane].item(), abs=1e-10)


def test_a_transition_leaves_the_density_as_it_is() -> None:
    """From exact draws to exact draws, which have moved."""
    torch.manual_seed(1)
    start = exact(3000)
    steps = torch.full((len(start),), 0.7, dtype=torch.float64)
    tree = planted(at(start), steps, SD.expand_as(start))
    sides = torch.where(torch.rand(DEPTH, len(start)) < 0.5, 1.0, -1.0)
    sides[0] = tree.side
    draws, leaves, _ = ended(tree, sides)

    u = draws / SD
    uniform = torch.sigmoid(u[:, :1])
    scores = torch.cat(  # each of mean 0
        [
            uniform - 1 / 2,
            (uniform - 1 / 2) ** 2 - 1 / 12,
            u,
            u[:, 1:] ** 2 - 1,
            u[:, :2] * u[:, 1:],
        ],
        1,
    )
    error = scores.std(0) / len(scores) ** 0.5
    assert (scores.mean(0).abs() < 5 * error).all(), scores.mean(0) / error
    for unit in range(3):
        assert torch.corrcoef(torch.stack([start[:, unit], draws[:, unit]]))[0, 1] < 0.6
    assert leaves.double().mean() < 10


def test_a_trajectory_that_diverges_ends_and_is_not_taken() -> None:
    torch.manual_seed(0)
    start = exact(5)
    tree = planted(at(start), torch.full((5,), 300.0, dtype=torch.float64), torch.ones_like(start))
    point = at(tree.z)
    noise = torch.rand(3, 5, dtype=torch.float64)
    tree, over, diverged = grown(tree, point.log_joint, point.gradient, noise)
    assert over.all() and diverged.all() and torch.equal(tree.best.z, start)
    nan = torch.full_like(point.log_joint, torch.nan)
    _, over, diverged = grown(tree, nan, point.gradient, noise)
    assert over.all() and diverged.all()
