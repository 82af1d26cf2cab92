"""Models, guides and objectives for the compiled engine, held to stock SVI: on the same noise the
same loss and gradients.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from torch import Tensor, nn

from pyro_vae import (
    MLP,
    VAE,
    Amortized,
    AutoregressiveFlow,
    Bernoulli,
    CompiledSVI,
    ConvDecoder,
    EncoderGuide,
    ExactGuide,
    FlowPrior,
    FullRank,
    GatedDecoder,
    Gaussian,
    HierarchicalGuide,
    HierarchicalVAE,
    LinearGaussian,
    Local,
    LowRank,
    MeanField,
    MixturePrior,
    SemiAmortized,
    SplineFlow,
    VampPrior,
)
from pyro_vae.inference.optim import JointOptim
from pyro_vae.objectives import Bound, FreeBits, ScoreFunction, tempered
from pyro_vae.programs.naming import unique_name
from pyro_vae.programs.parameters import trainable_parameters

SHAPE, DIM, NUM = (1, 4, 8), 3, 6
ADAM = partial(torch.optim.Adam, lr=1e-2)


class TwoSites(nn.Module):
    """A discrete choice without its own gradient, a continuous one, parameters outside modules."""

    shape, latent_dim = SHAPE, DIM

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(DIM, 32)

    def forward(self, x: Tensor, index: Tensor | None = None) -> None:
        pyro.module(unique_name(self), self)
        scale = pyro.param(
            "test_scale", torch.ones((), dtype=x.dtype), constraint=dist.constraints.positive
        )
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Bernoulli(x.new_full((), 0.3)))
            z = pyro.sample("z", dist.Normal(k, 1.0).expand_by([]).to_event(0))
            mean = self.net(z.unsqueeze(-1) * torch.ones(DIM, dtype=x.dtype)).unflatten(-1, SHAPE)
            pyro.sample("obs", dist.Normal(mean, scale).to_event(3), obs=x)


class TwoSitesGuide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(32, 3)

    def forward(self, x: Tensor, index: Tensor | None = None) -> None:
        pyro.module(unique_name(self), self)
        logit, mean, scale = self.net(x.flatten(1)).unbind(-1)
        with pyro.plate("data", len(x), dim=-1), poutine.scale(scale=0.5):
            pyro.sample("k", dist.Bernoulli(logits=logit))
            pyro.sample("z", dist.Normal(mean, scale.exp()))


def started(program: Any) -> Any:
    program.start(3 + 2 * torch.randn(50, *SHAPE, generator=torch.Generator().manual_seed(5)))
    return program


MODELS: dict[str, Callable[[], nn.Module]] = {
    "bernoulli": lambda: VAE(SHAPE, DIM, (8,)),
    "grey": lambda: VAE(SHAPE, DIM, (8,), Bernoulli(grey=True)),
    "gated": lambda: VAE(SHAPE, DIM, (8,), decoder=GatedDecoder),
    "conv": lambda: VAE(SHAPE, DIM, (8,), decoder=ConvDecoder),
    "gaussian": lambda: VAE(SHAPE, DIM, (8,), Gaussian(0.5, learn="none")),
    "gaussian, shared sigma": lambda: VAE(SHAPE, DIM, (8,), Gaussian(0.5, learn="shared")),
    "gaussian, sigma a pixel": lambda: VAE(SHAPE, DIM, (8,), Gaussian(0.5, learn="pixel")),
    "gaussian, sigma an output": lambda: VAE(SHAPE, DIM, (8,), Gaussian(0.5, learn="output")),
    "gaussian, in the units of the data": lambda: started(VAE(SHAPE, DIM, (8,), Gaussian())),
    "linear": lambda: LinearGaussian(32, DIM),
    "two sites": TwoSites,
}

FURTHER_MODELS: dict[str, Callable[[], nn.Module]] = {
    "two layers": lambda: HierarchicalVAE(SHAPE, DIM, 4, (8,), (8,)),
    "mixture prior": lambda: VAE(SHAPE, DIM, (8,), prior=MixturePrior(3)),
    "vamp prior": lambda: VAE(SHAPE, DIM, (8,), prior=VampPrior(3)),
    "flow prior": lambda: VAE(SHAPE, DIM, (8,), prior=FlowPrior(2, (8,), 4)),
}

GUIDES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "amortized": lambda model: Amortized(MeanField(DIM), MLP(model.shape, (8,))),
    "local": lambda model: Local(MeanField(DIM), 2 * NUM),
}

FURTHER_GUIDES: dict[str, Callable[[nn.Module], nn.Module]] = {  # with one model
    "two layers": lambda model: HierarchicalGuide(SHAPE, DIM, 4, (8,), (8,)),
    "encoder": lambda model: EncoderGuide(model.shape, DIM, (8,)),
    "encoder, standardised data": lambda model: started(EncoderGuide(model.shape, DIM, (8,))),
    "low-rank": lambda model: Amortized(LowRank(DIM, 2), MLP(model.shape, (8,))),
    "full-rank": lambda model: Local(FullRank(DIM), 2 * NUM),
    "flow": lambda model: Local(SplineFlow(DIM, 3), 2 * NUM),
    "autoregressive": lambda model: AutoregressiveFlow(DIM, MLP(model.shape, (8,)), hidden=(8,)),
    "semi-amortized": lambda model: SemiAmortized(
        Amortized(MeanField(DIM), MLP(model.shape, (8,))), model, 2
    ),
    "through the steps": lambda model: SemiAmortized(
        Amortized(MeanField(DIM), MLP(model.shape, (8,))), model, 2, through=True
    ),
}

LOSSES: dict[str, Callable[[], Any]] = {
    "trace": Trace_ELBO,
    "trace, 2 particles": lambda: Trace_ELBO(num_particles=2),
    "trace, vectorised": lambda: Trace_ELBO(
        num_particles=3, vectorize_particles=True, max_plate_nesting=1
    ),
    "mean field": TraceMeanField_ELBO,
    "renyi": lambda: RenyiELBO(alpha=0.5, num_particles=2),
    "graph": TraceGraph_ELBO,
    "tempered": Trace_ELBO,
}

FURTHER_LOSSES: dict[str, Callable[[], Any]] = {
    "iwae": lambda: Bound(3),
    "order 1/2": lambda: Bound(3, 0.5),
    "sticking the landing": lambda: Bound(1, 1.0, path_only=True),
    "doubly reparameterised": lambda: Bound(3, 0.0, path_only=True),
    "grouped": lambda: Bound(6, groups=3),
    "grouped for the guide, mixed": lambda: Bound(6, guide_groups=3, mix=0.3),
    "grouped, doubly reparameterised": lambda: Bound(6, 0.0, path_only=True, groups=3),
    "score function": ScoreFunction,
    "score function, baseline": lambda: ScoreFunction(3, baseline=True),
    "free nats": lambda: FreeBits(0.1),
}

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def programs(model: str, guide: str, loss: str, dtype: torch.dtype) -> tuple[Any, Any, Any]:
    torch.manual_seed(0)
    pyro.clear_param_store()
    p = (MODELS | FURTHER_MODELS)[model]().to(dtype)
    q: Any = (
        TwoSitesGuide()
        if model == "two sites"
        else ExactGuide(p)
        if guide == "exact"
        else (GUIDES | FURTHER_GUIDES)[guide](p)
    )
    q = q.to(dtype)
    if isinstance(p, VAE):
        p.take_guide(q)
    if loss == "tempered":
        beta = torch.tensor(0.3, dtype=dtype)
        p, q = tempered(p, beta), tempered(q, beta)
    return p, q, (LOSSES | FURTHER_LOSSES)[loss]()


def batch(model: str, seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(NUM, *((32,) if model == "linear" else SHAPE), generator=generator, dtype=dtype)
    return (
        (x < 0.2).to(dtype)
        if model in ("bernoulli", "gated", "conv") or model in FURTHER_MODELS
        else x
    ), torch.randperm(2 * NUM, generator=generator)[:NUM]


def stock(
    p: Any, q: Any, loss: Any, data: tuple[Tensor, Tensor]
) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients as `pyro.infer.SVI` computes them."""
    params = trainable_parameters(p, q, *data)
    with poutine.trace(param_only=True), warnings.catch_warnings():
        value = loss.loss_and_grads(p, q, *data)
    gradients = {name: param.grad for name, param in params.items()}
    for param in params.values():
        param.grad = None
    return float(value), gradients


def assert_parity(model: str, guide: str, loss: str, dtype: torch.dtype) -> None:
    p, q, objective = programs(model, guide, loss, dtype)
    # each guesses for itself how deep the plates are nested
    stock_s = (LOSSES | FURTHER_LOSSES)[loss]()
    gradients: dict[Tensor, Tensor] = {}

    class Keep(JointOptim):
        def __call__(self, params: Any, *args: Any, **kwargs: Any) -> None:
            gradients.update({param: param.grad.clone() for param in params})

    data = batch(model, 0, dtype)
    params = trainable_parameters(p, q, *data)
    svi = CompiledSVI(p, q, Keep(ADAM, params.values()), objective, fallback=False)
    for seed in range(2):  # the second step is compared by the engine itself, too
        data = batch(model, seed, dtype)
        gradients.clear()
        torch.manual_seed(seed)
        got = svi.step(*data)
        after = torch.get_rng_state()
        torch.manual_seed(seed)
        expected, reference = stock(p, q, stock_s, data)
        assert torch.equal(after, torch.get_rng_state())
        assert got.item() == pytest.approx(expected, rel=TOLERANCE[dtype])
        size = torch.stack([g.norm() for g in reference.values() if g is not None]).norm()
        for name, gradient in reference.items():
            if gradient is None:
                assert params[name] not in gradients, name
                continue
            error = (gradients[params[name]] - gradient).norm()
            assert error <= TOLERANCE[dtype] * max(gradient.norm(), 0.01 * size), (
                name,
                error,
                gradient.norm(),
            )
    assert svi.reason is None and svi._step.num_captures == 1
