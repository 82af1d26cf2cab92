"""All chains of all data at once, against exact posteriors and Pyro's potential."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide.initialization import init_to_sample
from pyro.infer.mcmc.util import initialize_model
from pyro.ops.integrator import potential_grad
from torch import Tensor

from pyro_vae.evidence.nuts import Draws, Lanes, Sizes, nuts
from pyro_vae.graphs import Guard
from pyro_vae.programs.calls import Program
from pyro_vae.programs.coordinates import Coordinates
from pyro_vae.programs.pair import opened
from pyro_vae.programs.parameters import as_density
from tests.scenarios import eager, linear_gaussian


def rates(x: Tensor, index: object = None) -> None:
    """A rate with a Gamma posterior, and a share of it that has its prior."""
    with pyro.plate("data", len(x), dim=-1):
        rate = pyro.sample("rate", dist.Gamma(torch.tensor(3.0, dtype=x.dtype), 1.5))
        pyro.sample("share", dist.Dirichlet(torch.ones(3, dtype=x.dtype)))
        with pyro.plate("cells", 2, dim=-2):
            pyro.sample("obs", dist.Poisson(rate), obs=x.T)


def sampled(
    model: Program, x: Tensor, sizes: Sizes, engine: str = "pyro"
) -> tuple[Draws, Coordinates]:
    with opened(model, None, x, seed=0, check=False) as pair:
        layout = Coordinates.of(pair.model, pair.x, pair.index, pair.depth)
        return nuts(pair, layout, sizes, Guard(engine)), layout  # type: ignore[arg-type]


def test_many_posteriors_at_once() -> None:
    """Means, deviations and correlations of each datum's own posterior."""
    model, x = linear_gaussian(num_data=40)
    sizes = Sizes(num_chains=2, num_samples=15, num_warmup=25)
    (z, _), _ = sampled(model, x, sizes)
    assert z.shape == (2, 15, 40, 2) and not z.requires_grad
    exact = model.posterior(x)
    white = torch.linalg.solve_triangular(
        exact.scale_tril, (z - exact.mean)[..., None], upper=False
    )[..., 0]
    scores = torch.cat([white, white**2 - 1, white.prod(-1, keepdim=True)], -1).detach()
    per_datum = scores.mean((0, 1))  # (N, 5), independent
    error = per_datum.std(0) / len(x) ** 0.5
    assert (per_datum.mean(0).abs() < 5 * error).all(), per_datum.mean(0) / error


def test_latents_that_are_no_real_numbers() -> None:
    x = torch.tensor([[0.0, 1.0], [6.0, 9.0]], dtype=torch.float64).repeat(30, 1)
    (z, _), layout = sampled(rates, x, Sizes(2, 6, 10))
    found = layout.unpack(z)[0]
    exact = dist.Gamma(3.0 + x.sum(1), 1.5 + 2)
    rate, share = found["rate"][:, :, 0], found["share"][:, :, 0]
    for values, mean in (
        (rate / exact.mean, 1.0),
        ((rate - exact.mean) ** 2 / exact.variance, 1.0),
        (share[..., 0], 1 / 3),
        (share[..., 2] ** 2, 1 / 6),
    ):
        per_datum = values.mean((0, 1))
        assert (per_datum.mean() - mean).abs() < 5 * per_datum.std() / len(x) ** 0.5


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_density_and_gradient_are_those_of_pyro(dtype: torch.dtype, error: float) -> None:
    x = torch.tensor([[0.0, 1.0]], dtype=dtype)
    with opened(rates, None, x, seed=0, check=False) as pair, torch.enable_grad():
        layout = Coordinates.of(pair.model, pair.x, pair.index, pair.depth)
        start, potential, _, _ = initialize_model(
            as_density(pair.model), (pair.x, pair.index), init_strategy=init_to_sample
        )
        gradients, energy = potential_grad(potential, start)
        z = torch.cat([start[name].reshape(1, -1) for name in layout.names], -1)
        value, gradient = Lanes(pair, layout, 1, Guard("pyro")).at(z.detach())
    expected = torch.cat([gradients[name].reshape(1, -1) for name in layout.names], -1)
    assert torch.allclose(value, -energy, rtol=error)
    assert torch.allclose(gradient, -expected, rtol=error, atol=error)


def test_graphs_make_the_same_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    model, x = linear_gaussian(num_data=3)
    sizes = Sizes(num_chains=2, num_samples=3, num_warmup=3)
    plain, graphs = (sampled(model, x, sizes, engine)[0].z for engine in ("pyro", "compiled"))
    assert torch.allclose(plain, graphs, rtol=1e-8)


def test_a_start_must_be_finite() -> None:
    def nowhere(x: Tensor, index: object = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("obs", dist.Normal(z - torch.inf, 1.0, validate_args=False), obs=x[:, 0])

    with pytest.raises(ValueError, match="model: NUTS cannot sample its posterior: log p"):
        sampled(nowhere, torch.zeros(2, 1), Sizes(2, 4, 4))
