"""Programs that no graph can hold run by stock SVI, with one warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, TraceGraph_ELBO
from torch import Tensor, nn

from pyro_vae import MLP, VAE, Amortized, CompiledSVI, MeanField
from pyro_vae.programs.naming import unique_name
from tests.inference.parity import ADAM, DIM, SHAPE, batch
from tests.scenarios import eager


class Odd(nn.Module):
    """A model whose noise level comes from outside of what one graph can hold, as Pyro allows."""

    def __init__(self, level: Callable[[Tensor], float]) -> None:
        super().__init__()
        self.net, self.level = nn.Linear(DIM, 32), level

    def forward(self, x: Tensor, index: Tensor | None = None) -> None:
        pyro.module(unique_name(self), self)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Normal(torch.zeros(DIM), 1.0).to_event(1))
            mean = self.net(z).unflatten(-1, SHAPE)
            pyro.sample("obs", dist.Normal(mean, self.level(x)).to_event(3), obs=x)


def branch() -> Odd:
    return Odd(lambda x: 0.1 if x.mean() < 0.2 else 1.0)


def hidden_branch() -> Odd:
    return Odd(lambda x: 0.1 if x.numpy().mean() < 0.2 else 1.0)


def numpy_noise() -> Odd:
    numbers = np.random.default_rng(0)
    return Odd(lambda x: 1 + numbers.random())


class Counting(Odd):
    """A model that anneals itself by counting its runs."""

    def __init__(self) -> None:
        super().__init__(lambda x: 1 / self.runs)
        self.runs = 1

    def forward(self, x: Tensor, index: Tensor | None = None) -> None:
        self.runs += 1
        super().forward(x)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Counting, "running it changes runs"),
        (branch, "looks at the value of a tensor"),
        (hidden_branch, "takes the values of a tensor out of torch"),
        (numpy_noise, "differs from what the graph computes"),
    ],
)
def test_what_cannot_be_compiled_runs_by_stock_svi_with_one_warning(
    model: Callable[[], nn.Module], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager(monkeypatch)
    p, q = model(), Amortized(MeanField(DIM), MLP(SHAPE, (8,)))
    svi = CompiledSVI(p, q, ADAM, Trace_ELBO())
    before = p.net.weight.detach().clone()
    with pytest.warns(
        UserWarning, match=f"not compiled, stock SVI runs them: .*{reason}"
    ) as caught:
        for seed in range(6):
            x, index = batch("bernoulli", seed, torch.float32)
            svi.step(x * 9 * seed, index)
    assert len(caught) == 1 and reason in str(svi.reason)
    assert not torch.equal(before, p.net.weight)
    assert torch.isfinite(svi.evaluate_loss(x, index))


def test_without_fallback_the_reason_is_raised() -> None:
    svi = CompiledSVI(
        branch(), Amortized(MeanField(DIM), MLP(SHAPE, (8,))), ADAM, Trace_ELBO(), fallback=False
    )
    with pytest.raises(ValueError, match="cannot be compiled: it looks at the value"):
        svi.step(*batch("bernoulli", 0, torch.float32))


def test_without_a_compiler_stock_svi_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr("torch._inductor.compile", refuse)
    monkeypatch.setattr("pyro_vae.graphs.compiling._COMPILED", {})
    svi = CompiledSVI(
        VAE(SHAPE, DIM, (8,)), Amortized(MeanField(DIM), MLP(SHAPE, (8,))), ADAM, Trace_ELBO()
    )
    with pytest.warns(UserWarning, match="No working C"):
        svi.step(*batch("bernoulli", 0, torch.float32))


def test_a_program_s_own_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    svi = CompiledSVI(
        VAE(SHAPE, DIM, (8,)), Amortized(MeanField(DIM + 1), MLP(SHAPE, (8,))), ADAM, Trace_ELBO()
    )
    with pytest.raises(ValueError, match=r"expected \(\.\.\., 3\)"):
        svi.step(*batch("bernoulli", 0, torch.float32))


def test_a_baseline_that_moves_at_every_run_is_left_to_stock_svi(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    eager(monkeypatch)

    def model() -> None:
        pyro.sample("k", dist.Bernoulli(0.9))

    def guide() -> None:
        q = pyro.param("test_q", torch.tensor(0.5), constraint=dist.constraints.unit_interval)
        pyro.sample("k", dist.Bernoulli(q), infer={"baseline": {"use_decaying_avg_baseline": True}})

    ends = []
    for engine in (CompiledSVI, SVI):
        pyro.clear_param_store()
        svi = engine(model, guide, pyro.optim.Adam({"lr": 0.1}), TraceGraph_ELBO())
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(12):
                svi.step()
        ends.append(pyro.param("test_q").item())
        if engine is CompiledSVI:
            assert "replaces the parameters" in str(svi.reason)
    assert ends[0] == ends[1]


def test_evaluation_is_compared_with_pyro_too(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    svi = CompiledSVI(
        numpy_noise(), Amortized(MeanField(DIM), MLP(SHAPE, (8,))), ADAM, Trace_ELBO()
    )
    x, index = batch("bernoulli", 0, torch.float32)
    svi.evaluate_loss(x, index)
    with pytest.warns(UserWarning, match="differs from what the graph computes"):
        svi.evaluate_loss(x, index)


def test_what_fell_back_is_compiled_again_with_another_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    eager(monkeypatch)
    svi = CompiledSVI(branch(), Amortized(MeanField(DIM), MLP(SHAPE, (8,))), ADAM, Trace_ELBO())
    data = batch("bernoulli", 0, torch.float32)
    with pytest.warns(UserWarning, match="looks at the value"):
        svi.step(*data)
    svi.model = VAE(SHAPE, DIM, (8,))
    svi.step(*data)
    assert svi.reason is None and svi.settled()
