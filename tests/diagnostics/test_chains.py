"""Who draws the chains of a reference, and the shapes that they have."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_vae import reference_posterior
from pyro_vae.diagnostics import chains
from tests.scenarios import linear_gaussian

FEW: dict[str, Any] = {"num_chains": 2, "num_samples": 4, "num_warmup": 2}


def plates(x: Tensor, index: object = None) -> None:
    """Latents of a datum alone, and of an inner and an outer plate."""
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("alone", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("outer", 4, dim=-3):
            pyro.sample("far", dist.Normal(0.0, 1.0))
        with pyro.plate("inner", 3, dim=-2):
            z = pyro.sample("near", dist.Gamma(2.0, torch.ones(len(x))))
            pyro.sample("obs", dist.Normal(z, 1.0), obs=x.T)


def shared(x: Tensor, index: object = None) -> None:
    z = pyro.sample("shared", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("obs", dist.Normal(z, 1.0), obs=x[:, 0])


def narrow(x: Tensor, index: object = None) -> None:
    """Its net takes no leading dimensions."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        rows, _ = z.shape
        pyro.sample("obs", dist.Normal(z.view(rows, 1), 1.0).to_event(1), obs=x[:, :1])


@pytest.fixture
def by_pyro(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    calls: list[object] = []
    plain = chains._by_pyro
    monkeypatch.setattr(chains, "_by_pyro", lambda *args: calls.append(args) or plain(*args))
    return calls


def test_draws_have_the_shapes_of_the_sites(by_pyro: list[object]) -> None:
    torch.manual_seed(0)
    x, shapes = torch.rand(5, 3), []
    for engine in ("auto", "pyro"):
        found = reference_posterior(plates, x, engine=engine, **FEW)  # type: ignore[arg-type]
        shapes.append({name: value.shape for name, value in found.draws.items()})
        assert (found.draws["near"] > 0).all()
    assert shapes[0] == shapes[1] and len(by_pyro) == 1


@pytest.mark.parametrize("model", [shared, narrow])
def test_pyro_samples_what_has_no_chains_of_each_datum(model: Any, by_pyro: list[object]) -> None:
    x = torch.rand(3, 2)
    found = reference_posterior(model, x, **FEW)
    assert by_pyro and next(iter(found.draws.values())).shape[:2] == (2, 4)
    with pytest.raises(ValueError):
        reference_posterior(model, x, engine="compiled", **FEW)


def test_pyro_finds_the_same_posterior(by_pyro: list[object]) -> None:
    model, x = linear_gaussian(num_data=1)
    sizes = {"num_chains": 2, "num_samples": 60, "num_warmup": 30}
    found = reference_posterior(model, x, engine="pyro", **sizes)  # type: ignore[arg-type]
    exact, (mean, _) = model.posterior(x), found.moments("latent")
    error = exact.stddev / found.ess["latent"].sqrt()
    assert by_pyro and ((mean - exact.mean).abs() < 5 * error).all()


def test_progress_ends_at_one() -> None:
    model, x = linear_gaussian(num_data=2)
    told: list[float] = []
    reference_posterior(model, x, progress=told.append, **FEW)
    assert told == sorted(told) and told[-1] == 1.0


def test_a_model_without_a_graph_is_run_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a warning that points to the call."""

    def looking(x: Tensor, index: object = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            width = 1.0 if float(z.detach().sum()) > 1e9 else 2.0
            pyro.sample("obs", dist.Normal(z, width), obs=x[:, 0])

    monkeypatch.setattr(chains, "_LEAPFROG", 1e9)  # so that compiling pays
    with pytest.warns(UserWarning, match="not compiled, Pyro runs them") as caught:
        reference_posterior(looking, torch.rand(3, 1), **FEW)
    assert caught[0].filename == __file__
