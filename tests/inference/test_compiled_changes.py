"""What changes between two steps of the compiled engine is followed."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor, nn

from pyro_vae import MLP, VAE, Amortized, CompiledSVI, MeanField
from pyro_vae.inference.optim import JointOptim
from pyro_vae.objectives import tempered
from pyro_vae.programs.parameters import trainable_parameters
from tests.inference.parity import ADAM, DIM, NUM, SHAPE, TwoSites, TwoSitesGuide, batch
from tests.scenarios import eager


def follow(
    svi: CompiledSVI, p: Any, q: Any, dtype: torch.dtype = torch.float32, num: int = NUM
) -> None:
    """Loss and parameters after a step are those of a stock step from the same place."""
    x, index = (part[:num] for part in batch("bernoulli", 1, dtype))
    params = list(trainable_parameters(p, q, x, index).values())
    before = [v.detach().clone() for v in params]
    torch.manual_seed(0)
    got = svi.step(x, index)
    after = [v.detach().clone() for v in params]
    for v, value in zip(params, before, strict=True):
        v.data.copy_(value)
    torch.manual_seed(0)
    expected = SVI(p, q, JointOptim(partial(torch.optim.SGD, lr=1e-3), params), Trace_ELBO()).step(
        x, index
    )
    assert got.item() == pytest.approx(expected, rel=1e-5)
    for mine, v in zip(after, params, strict=True):
        torch.testing.assert_close(mine, v.detach(), rtol=1e-5, atol=1e-6)


CHANGES: dict[str, Callable[[Any, Any], object]] = {
    "weights in place": lambda p, q: [v.data.mul_(0.5) for v in p.parameters()],
    "state dict": lambda p, q: q.load_state_dict({k: v * 0.5 for k, v in q.state_dict().items()}),
    "frozen": lambda p, q: p.decoder.requires_grad_(False),
    "partly frozen": lambda p, q: q.encoder.requires_grad_(False),
    "evaluation mode": lambda p, q: (p.eval(), q.eval()),
    "float64": lambda p, q: (p.double(), q.double()),
    "another size": lambda p, q: None,
}


@pytest.mark.filterwarnings("ignore:.*requires_grad=False")
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_program_is_followed(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    p = VAE(SHAPE, DIM, (8,))
    q = Amortized(MeanField(DIM), DropoutMLP())
    svi = CompiledSVI(p, q, partial(torch.optim.SGD, lr=1e-3), Trace_ELBO(), fallback=False)
    follow(svi, p, q)
    follow(svi, p, q)
    CHANGES[change](p, q)
    dtype = torch.float64 if change == "float64" else torch.float32
    follow(svi, p, q, dtype, NUM - 2 if change == "another size" else NUM)
    follow(svi, p, q, dtype)
    assert svi.reason is None


class DropoutMLP(MLP):
    """Runs otherwise in training than in evaluation."""

    def __init__(self) -> None:
        super().__init__(SHAPE, (8,))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(super().forward(x))


def test_beta_and_the_rate_need_no_new_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    beta, model, guide = (
        torch.tensor(0.0),
        VAE(SHAPE, DIM, (8,)),
        Amortized(MeanField(DIM), MLP(SHAPE, (8,))),
    )
    p, q = tempered(model, beta), tempered(guide, beta)
    optim = JointOptim(
        partial(torch.optim.SGD, lr=1e-3),
        trainable_parameters(p, q, *batch("bernoulli", 0, torch.float32)).values(),
    )
    svi = CompiledSVI(p, q, optim, TraceMeanField_ELBO(), fallback=False)
    losses = []
    for value in (0.0, 0.5, 1.0):
        beta.fill_(value)
        optim.optimizer.param_groups[0]["lr"] = 0.0
        torch.manual_seed(0)
        losses.append(svi.step(*batch("bernoulli", 0, torch.float32)).item())
    assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], rel=1e-3)
    assert losses[0] < losses[1] and svi._step.num_captures == 1


def test_a_cleared_store_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    p, q = TwoSites(), TwoSitesGuide()
    svi = CompiledSVI(p, q, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO(), fallback=False)
    for seed in range(3):
        svi.step(*batch("two sites", seed, torch.float32))
    pyro.clear_param_store()
    svi.step(*batch("two sites", 3, torch.float32))
    assert pyro.param("test_scale").item() != 1.0  # the new one is trained, as stock SVI would
    assert svi.reason is None


def test_parameters_that_the_first_step_makes_are_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    svi = CompiledSVI(TwoSites(), TwoSitesGuide(), ADAM, Trace_ELBO(), fallback=False)
    for seed in range(3):
        svi.step(*batch("two sites", seed, torch.float32))
    assert pyro.param("test_scale").item() != 1.0


def test_a_first_step_is_captured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    svi = CompiledSVI(
        VAE(SHAPE, DIM, (8,)), Amortized(MeanField(DIM), MLP(SHAPE, (8,))), ADAM, Trace_ELBO()
    )
    for seed in range(3):
        svi.step(*batch("bernoulli", seed, torch.float32))
    assert svi._step.num_captures == 1


def test_keyword_and_other_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    inner = VAE(SHAPE, DIM, (8,))

    def model(x: Tensor, *, factor: float, index: Tensor | None = None) -> None:
        with poutine.scale(scale=factor):
            inner(x, index)

    encoder = Amortized(MeanField(DIM), MLP(SHAPE, (8,)))
    svi = CompiledSVI(
        model,
        lambda x, factor, index: encoder(x, index),
        partial(torch.optim.SGD, lr=0.0),
        Trace_ELBO(),
    )
    x, index = batch("bernoulli", 0, torch.float32)
    losses = []
    for factor in (1.0, 1.0, 2.0):
        torch.manual_seed(0)
        losses.append(svi.step(x, factor=factor, index=index).item())
    assert losses[0] == losses[1] and losses[2] > 1.5 * losses[0]
    assert svi._step.num_captures == 2 and svi.reason is None


def test_subsampling_draws_anew_at_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    x = torch.randn(50)

    def model() -> None:
        mean = pyro.param("test_mean", torch.zeros(()))
        with pyro.plate("data", 50, subsample_size=5) as rows:
            pyro.sample("obs", dist.Normal(mean, 1.0), obs=x[rows])

    svi = CompiledSVI(
        model, lambda: None, partial(torch.optim.SGD, lr=0.0), Trace_ELBO(), fallback=False
    )
    reference = SVI(
        model,
        lambda: None,
        JointOptim(partial(torch.optim.SGD, lr=0.0), [pyro.param("test_mean", torch.zeros(()))]),
        Trace_ELBO(),
    )
    svi.step()
    losses = []
    for engine in (svi, reference):
        torch.manual_seed(0)
        losses.append([float(engine.step()) for _ in range(6)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and len(set(losses[0])) == 6


def test_what_changes_at_every_call_ends_in_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    p, q = VAE(SHAPE, DIM, (8,)), Amortized(MeanField(DIM), MLP(SHAPE, (8,)))
    svi = CompiledSVI(
        lambda x, index, beta: p(x, index), lambda x, index, beta: q(x, index), ADAM, Trace_ELBO()
    )
    with pytest.warns(UserWarning, match="changes so often that 16 graphs") as caught:
        for step in range(20):
            svi.step(*batch("bernoulli", 0, torch.float32), step / 20)
    assert len(caught) == 1


@pytest.mark.parametrize(
    "optim",
    [partial(torch.optim.SGD, lr=1e-3), pyro.optim.SGD({"lr": 1e-3})],
    ids=["one", "Pyro's"],
)
def test_model_guide_and_loss_may_be_set(optim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    models = [VAE(SHAPE, DIM, (8,)) for _ in range(2)]
    guides = [Amortized(MeanField(DIM), MLP(SHAPE, (8,))) for _ in range(2)]
    svi = CompiledSVI(models[0], guides[0], optim, Trace_ELBO(), fallback=False)
    follow(svi, models[0], guides[0])
    follow(svi, models[0], guides[0])
    svi.model = models[1]
    follow(svi, models[1], guides[0])
    svi.guide = guides[1]
    assert not svi.settled()
    follow(svi, models[1], guides[1])
    assert svi.settled()
    svi.loss = TraceMeanField_ELBO()
    data = batch("bernoulli", 0, torch.float32)
    torch.manual_seed(0)
    got = svi.step(*data).item()
    svi.model, svi.guide, svi.loss = models[0], guides[0], Trace_ELBO()
    follow(svi, models[0], guides[0])
    assert svi._step.num_captures == 4  # going back needs none
    assert math.isfinite(got)
