"""The compiled engine in the place of stock SVI: optimizers, guides, states, arguments."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor, nn

from pyro_vae import MLP, VAE, Amortized, CompiledSVI, MeanField
from pyro_vae.inference.optim import JointOptim
from tests.inference.parity import ADAM, DIM, SHAPE, batch
from tests.scenarios import eager


@pytest.mark.parametrize(
    "optim", [ADAM, pyro.optim.Adam({"lr": 1e-2}), pyro.optim.ClippedAdam({"lr": 1e-2})]
)
def test_any_optimizer_of_torch_or_pyro(optim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    p, q = VAE(SHAPE, DIM, (8,)), Amortized(MeanField(DIM), MLP(SHAPE, (8,)))
    svi = CompiledSVI(p, q, optim, Trace_ELBO(), fallback=False)
    before = [v.detach().clone() for m in (p, q) for v in m.parameters()]
    for seed in range(3):
        svi.step(*batch("bernoulli", seed, torch.float32))
    after = [v for m in (p, q) for v in m.parameters()]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(v.grad is None for v in after)


def test_state_dict_goes_on_where_it_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    p, q = VAE(SHAPE, DIM, (8,)), Amortized(MeanField(DIM), MLP(SHAPE, (8,)))

    def steps(svi: CompiledSVI, seeds: range) -> list[float]:
        torch.manual_seed(seeds[0])
        return [svi.step(*batch("bernoulli", seed, torch.float32)).item() for seed in seeds]

    first = CompiledSVI(p, q, ADAM, Trace_ELBO())
    steps(first, range(5))
    state = first.state_dict()
    ahead = steps(first, range(5, 10))
    second = CompiledSVI(p, q, ADAM, Trace_ELBO())
    second.load_state_dict(state)
    assert second.state_dict()["params"].keys() == state["params"].keys()
    assert steps(second, range(5, 10)) == ahead
    second.load_state_dict(state)
    assert steps(second, range(5, 10)) == ahead
    with pytest.raises(ValueError, match="expected what state_dict"):
        second.load_state_dict({"params": {}})


def test_evaluate_loss_is_pyro_s_and_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    p, q = VAE(SHAPE, DIM, (8,)), Amortized(MeanField(DIM), MLP(SHAPE, (8,)))
    data = batch("bernoulli", 0, torch.float32)
    before = [v.detach().clone() for m in (p, q) for v in m.parameters()]
    torch.manual_seed(0)
    got = CompiledSVI(p, q, ADAM, Trace_ELBO()).evaluate_loss(*data)
    torch.manual_seed(0)
    assert got.item() == pytest.approx(Trace_ELBO().loss(p, q, *data), rel=1e-6)
    assert all(
        torch.equal(a, b)
        for a, b in zip(before, [v for m in (p, q) for v in m.parameters()], strict=True)
    )


@pytest.mark.parametrize(
    "name", ["AutoNormal", "AutoMultivariateNormal", "AutoLowRankMultivariateNormal", "AutoDelta"]
)
def test_pyro_s_own_guides_compile(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)

    def model(x: Tensor) -> None:
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("obs", dist.Normal(z, 0.5).to_event(1), obs=x)

    guide = getattr(pyro.infer.autoguide, name)(model)
    svi = CompiledSVI(model, guide, ADAM, Trace_ELBO(), fallback=False)
    x = torch.randn(20, 3) + 2
    losses = [svi.step(x).item() for _ in range(200)]
    assert sum(losses[-20:]) < 0.8 * sum(losses[:20]) and svi.reason is None


def test_the_user_s_validation_and_gradients_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    p, q = VAE(SHAPE, DIM, (8,)), Amortized(MeanField(DIM), MLP(SHAPE, (8,)))
    x, index = batch("bernoulli", 0, torch.float32)
    with pytest.raises(ValueError, match="within the support"):
        CompiledSVI(p, q, ADAM, Trace_ELBO()).step(x * 0.5, index)
    p.decoder.head.bias.grad = torch.ones_like(p.decoder.head.bias)
    CompiledSVI(p, q, ADAM, Trace_ELBO()).evaluate_loss(x, index)
    assert torch.equal(p.decoder.head.bias.grad, torch.ones_like(p.decoder.head.bias))


class Heads(nn.Module):
    """Two heads, one of which a step uses, and a bare parameter for each."""

    def __init__(self, bare: bool = True) -> None:
        super().__init__()
        self.a, self.b, self.bare = nn.Linear(DIM, 32), nn.Linear(DIM, 32), bare

    def forward(self, x: Tensor, first: bool) -> None:
        pyro.module("heads", self)
        bare = pyro.param("first" if first else "second", torch.zeros(32)) if self.bare else 0.0
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Normal(torch.zeros(DIM), 1.0).to_event(1))
            mean = ((self.a if first else self.b)(z) + bare).unflatten(-1, SHAPE)
            pyro.sample("obs", dist.Normal(mean, 1.0).to_event(3), obs=x)


def heads_guide(x: Tensor, first: bool) -> None:
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("latent", dist.Normal(x.flatten(1)[:, :DIM], 1.0).to_event(1))


def joint(x: Tensor, model: nn.Module) -> JointOptim:
    for first in (True, False):
        model(x, first)
    return JointOptim(
        partial(torch.optim.AdamW, lr=0.05, weight_decay=0.1),
        pyro.get_param_store()._params.values(),
        clip_norm=5.0,
    )


OPTIMS: dict[str, Callable[[Tensor, nn.Module], Any]] = {
    "Pyro's Adam": lambda x, model: pyro.optim.Adam({"lr": 0.05, "weight_decay": 0.1}),
    "Pyro's SGD": lambda x, model: pyro.optim.SGD(
        {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1}
    ),
    "joint": joint,
}


@pytest.mark.parametrize("name", OPTIMS)
@pytest.mark.parametrize("flags", ["111000", "101100", "000111"])
def test_parameters_that_a_step_does_not_use_move_as_in_stock_svi(
    name: str, flags: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager(monkeypatch)
    x, _ = batch("bernoulli", 0, torch.float32)
    ends: list[dict[str, Tensor]] = []
    for kind in (SVI, CompiledSVI):
        pyro.clear_param_store()
        torch.manual_seed(0)
        model = Heads()
        svi: Any = kind(model, heads_guide, OPTIMS[name](x, model), Trace_ELBO())
        for flag in flags:
            svi.step(x, flag == "1")
        assert kind is SVI or svi.reason is None
        ends.append({n: p.detach().clone() for n, p in pyro.get_param_store()._params.items()})
    assert ends[0].keys() == ends[1].keys()
    for key, value in ends[0].items():
        torch.testing.assert_close(ends[1][key], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "make", [lambda: ADAM, lambda: pyro.optim.Adam({"lr": 1e-2})], ids=["one for all", "Pyro's"]
)
def test_a_state_knows_which_parameters_have_been_used(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager(monkeypatch)
    x, _ = batch("bernoulli", 0, torch.float32)
    model = Heads(bare=False)

    def rest(svi: CompiledSVI) -> list[Tensor]:
        for _ in range(3):
            svi.step(x, False)
        return [value.clone() for _, value in sorted(svi.state_dict()["params"].items())]

    first = CompiledSVI(model, heads_guide, make(), Trace_ELBO(), fallback=False)
    for flag in (True, False, True):
        first.step(x, flag)
    state, noise = first.state_dict(), torch.get_rng_state()
    expected = rest(first)
    second = CompiledSVI(model, heads_guide, make(), Trace_ELBO(), fallback=False)
    second.load_state_dict(state)
    torch.set_rng_state(noise)
    assert all(map(torch.equal, rest(second), expected))


def test_bad_arguments() -> None:
    p, q = VAE(SHAPE, DIM, (8,)), Amortized(MeanField(DIM), MLP(SHAPE, (8,)))
    with pytest.raises(ValueError, match="loss: got 'elbo'"):
        CompiledSVI(p, q, ADAM, "elbo")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"optim: got 0\.1"):
        CompiledSVI(p, q, 0.1, Trace_ELBO())  # type: ignore[arg-type]
