"""The parts of a chain: its schedule, its path, its transitions."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch

from pyro_vae.evidence.chains import geometric, place, schedule
from pyro_vae.evidence.hmc import adapted, transition
from pyro_vae.evidence.path import Path
from pyro_vae.programs.pair import opened
from pyro_vae.programs.simulation import simulate
from pyro_vae.programs.traces import log_joint, plate_depth, prior, sample_guide
from tests.scenarios import linear_gaussian


def test_the_schedule_is_even_at_neither_end_and_can_be_read_backwards() -> None:
    betas = schedule(100)
    steps = torch.tensor(betas).diff()
    assert (
        betas[0] == 0
        and betas[-1] == 1
        and (steps > 0).all()
        and steps[50] > 10 * max(steps[0], steps[-1])
    )
    assert [round(100 * place(beta), 6) for beta in betas] == list(range(101))


def test_a_geometric_schedule_is_even_below_its_knee_and_can_be_read_backwards() -> None:
    spacing = geometric(200.0, 0.5)
    betas = spacing.betas(400)
    assert betas[0] == 0 and betas[-1] == 200
    assert [round(400 * spacing.place(beta), 6) for beta in betas] == list(range(401))
    values = torch.tensor(betas, dtype=torch.double)
    assert values.diff()[:5].std() < 0.05 * values.diff()[:5].mean()
    ratios = (values[-50:] / values[-51:-1]).log()
    assert ratios.std() < 0.01 * ratios.mean()


def test_a_transition_leaves_the_tempered_density_as_it_is() -> None:
    model, x = linear_gaussian(3, 2)
    beta = 0.3
    precision = torch.eye(2).double() + beta * model.loading.T @ model.loading / 0.49
    exact = dist.MultivariateNormal(
        torch.linalg.solve(precision, beta * (x - model.mean) @ model.loading / 0.49, left=False),
        precision_matrix=precision,
    )
    with opened(model, None, x, seed=1) as pair:
        path = Path(pair)
        point = path.at(exact.sample((4000,)).detach())
        scale, step = torch.ones(3, 2).double(), torch.full((3,), 0.5).double()
        for _ in range(3):
            point, chance = transition(path, point, beta, step, scale, 5)
    assert 0.5 < chance.mean() < 0.999
    error = exact.stddev / 4000**0.5
    assert ((point.z.mean(0) - exact.mean).abs() < 5 * error).all()
    assert ((point.z.var(0) / exact.variance - 1).abs() < 5 * (2 / 4000) ** 0.5).all()


def test_step_sizes_move_towards_the_target() -> None:
    low, high = torch.zeros(4, 2), torch.ones(4, 2)
    assert (adapted(torch.zeros(2), low, 0.1) < 0).all()
    assert (adapted(torch.zeros(2), high, 0.1) > 0).all()


def test_packing_follows_the_densities() -> None:
    def model(x: torch.Tensor, index: Any = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            a = pyro.sample("a", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            with pyro.plate("columns", 3, dim=-2):
                b = pyro.sample("b", dist.Normal(torch.zeros(4), 0.5).to_event(1))
                pyro.sample("y", dist.Normal(a.sum(-1) + b.sum(-1), 0.3), obs=x.T)

    x, index = torch.randn(5, 3), torch.arange(5)
    with opened(model, None, x) as pair:
        path = Path(pair)
    depth = plate_depth(model, prior(model), x)
    latents, _ = sample_guide(prior(model), x, index, 7, depth)
    z = path.layout.vectors(latents)
    assert z.shape == (7, 5, 14) and path.size == 14
    torch.testing.assert_close(path.layout.unpack(z)[0]["b"], latents["b"])
    joint = sum(log_joint(model, latents, x, index, depth))
    torch.testing.assert_close(path.densities(z)[1], joint)
    one, simulated = simulate(model, x)
    again = path.layout.unpack(path.layout.of_one_run(one))[0]
    assert (
        again["b"].shape == (1, 3, 5, 4)
        and torch.equal(again["b"][0], one["b"])
        and simulated.shape == x.shape
    )
