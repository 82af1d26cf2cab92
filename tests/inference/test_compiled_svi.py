"""The compiled engine against stock SVI: on the same noise the same loss and gradients, whatever
the programs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
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
    FullRank,
    GatedDecoder,
    Gaussian,
    HierarchicalGuide,
    HierarchicalVAE,
    LinearGaussian,
    Local,
    LowRank,
    MeanField,
    SemiAmortized,
    SplineFlow,
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
FURTHER_MODELS = {"two layers": lambda: HierarchicalVAE(SHAPE, DIM, 4, (8,), (8,))}
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
    "trace, 3 particles": lambda: Trace_ELBO(num_particles=3),
    "trace, vectorised": lambda: Trace_ELBO(
        num_particles=3, vectorize_particles=True, max_plate_nesting=1
    ),
    "mean field": TraceMeanField_ELBO,
    "renyi": lambda: RenyiELBO(alpha=0.5, num_particles=3),
    "graph": TraceGraph_ELBO,
    "tempered": Trace_ELBO,
}
FURTHER_LOSSES: dict[str, Callable[[], Any]] = {
    "iwae": lambda: Bound(3),
    "order 1/2": lambda: Bound(3, 0.5),
    "sticking the landing": lambda: Bound(1, 1.0, path_only=True),
    "doubly reparameterised": lambda: Bound(3, 0.0, path_only=True),
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
    if loss == "tempered":
        beta = torch.tensor(0.3, dtype=dtype)
        p, q = tempered(p, beta), tempered(q, beta)
    return p, q, (LOSSES | FURTHER_LOSSES)[loss]()


def batch(model: str, seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(NUM, *((32,) if model == "linear" else SHAPE), generator=generator, dtype=dtype)
    return (
        (x < 0.2).to(dtype) if model in ("bernoulli", "gated", "conv", "two layers") else x
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
    for seed in range(3):  # the second step is compared by the engine itself, too
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


COMBINATIONS = [
    (m, g, loss)
    for m in MODELS
    for g in (GUIDES if m != "two sites" else ["amortized"])
    for loss in LOSSES
    # a KL term that Pyro does not know in closed form
    if not (m == "two sites" and loss == "mean field")
]
COMBINATIONS += [("linear", "exact", loss) for loss in LOSSES]
COMBINATIONS += [
    ("bernoulli", guide, loss)
    for guide in list(FURTHER_GUIDES)[1:]
    for loss in ("trace", "trace, vectorised")
]
COMBINATIONS += [
    ("two layers", "two layers", loss)
    for loss in (*LOSSES, *FURTHER_LOSSES)
    if loss != "mean field"
]
COMBINATIONS += [("bernoulli", "amortized", loss) for loss in FURTHER_LOSSES]


@pytest.mark.parametrize(
    ("model", "guide", "loss", "dtype"),
    [(*c, torch.float64) for c in COMBINATIONS]
    + [(*c, torch.float32) for c in COMBINATIONS if c[1] == "amortized"],
)
def test_captured_loss_and_gradients_are_pyro_s(
    model: str, guide: str, loss: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every model x guide x objective, the graph run one operation at a time."""
    monkeypatch.setattr(
        "pyro_vae.graphs.compiled.compile_graph", lambda graph, inputs: graph.module
    )
    assert_parity(model, guide, loss, dtype)


@pytest.mark.parametrize(
    ("model", "guide", "loss", "dtype"),
    [(m, "amortized", "trace", dtype) for m in MODELS for dtype in TOLERANCE]
    + [("bernoulli", g, "mean field", torch.float32) for g in GUIDES]
    + [
        ("bernoulli", "amortized", loss, torch.float32)
        for loss in LOSSES
        if loss not in ("trace", "mean field")
    ],
)
def test_compiled_loss_and_gradients_are_pyro_s(
    model: str, guide: str, loss: str, dtype: torch.dtype
) -> None:
    """Each model, guide and objective once through Inductor."""
    assert_parity(model, guide, loss, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_a_thousand_steps_end_in_the_same_place(dtype: torch.dtype) -> None:
    ends = []
    for engine in (CompiledSVI, SVI):
        p, q, loss = programs("bernoulli", "amortized", "trace", dtype)
        optim = JointOptim(ADAM, trainable_parameters(p, q, *batch("bernoulli", 0, dtype)).values())
        svi = engine(p, q, optim, loss)
        torch.manual_seed(5)
        losses = [float(svi.step(*batch("bernoulli", seed, dtype))) for seed in range(1000)]
        ends.append((losses, [v.detach() for m in (p, q) for v in m.parameters()]))
    (a, end_a), (b, end_b) = ends
    assert sum(a[-100:]) < 0.95 * sum(a[:100])  # it has learnt something on the way
    exact = dtype == torch.float64
    assert a == pytest.approx(b, rel=1e-9 if exact else 1e-3)
    for got, expected in zip(end_a, end_b, strict=True):
        assert (got - expected).norm() <= (1e-9 if exact else 1e-3) * expected.norm()


def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run graphs one operation at a time: what a test asks of the engine needs no compiler."""
    monkeypatch.setattr(
        "pyro_vae.graphs.compiled.compile_graph", lambda graph, inputs: graph.module
    )


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
    monkeypatch.setattr("pyro_vae.graphs.capturing._COMPILED", {})
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


def test_a_bias_before_a_normalisation_is_no_reason_to_fall_back() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(32, 8), nn.BatchNorm1d(8), nn.ReLU())
    encoder.out_features = 8  # type: ignore[assignment]
    svi = CompiledSVI(
        VAE(SHAPE, DIM, (8,)),
        Amortized(MeanField(DIM), encoder),
        ADAM,
        Trace_ELBO(),
        fallback=False,
    )
    for seed in range(10):
        svi.step(*batch("bernoulli", seed, torch.float32))
    assert encoder[2].num_batches_tracked == 10


def test_evaluation_is_compared_with_pyro_too(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    svi = CompiledSVI(
        numpy_noise(), Amortized(MeanField(DIM), MLP(SHAPE, (8,))), ADAM, Trace_ELBO()
    )
    x, index = batch("bernoulli", 0, torch.float32)
    svi.evaluate_loss(x, index)
    with pytest.warns(UserWarning, match="differs from what the graph computes"):
        svi.evaluate_loss(x, index)


def test_the_user_s_validation_and_gradients_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    p, q = VAE(SHAPE, DIM, (8,)), Amortized(MeanField(DIM), MLP(SHAPE, (8,)))
    x, index = batch("bernoulli", 0, torch.float32)
    with pytest.raises(ValueError, match="within the support"):
        CompiledSVI(p, q, ADAM, Trace_ELBO()).step(x * 0.5, index)
    p.decoder.head.bias.grad = torch.ones_like(p.decoder.head.bias)
    CompiledSVI(p, q, ADAM, Trace_ELBO()).evaluate_loss(x, index)
    assert torch.equal(p.decoder.head.bias.grad, torch.ones_like(p.decoder.head.bias))


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


def test_bad_arguments() -> None:
    p, q = VAE(SHAPE, DIM, (8,)), Amortized(MeanField(DIM), MLP(SHAPE, (8,)))
    with pytest.raises(ValueError, match="loss: got 'elbo'"):
        CompiledSVI(p, q, ADAM, "elbo")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"optim: got 0\.1"):
        CompiledSVI(p, q, 0.1, Trace_ELBO())  # type: ignore[arg-type]
