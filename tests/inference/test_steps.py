"""Which engine takes the steps of `fit` and `fit_local`, and that it makes no difference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor, nn

from pyro_vae import (
    MLP,
    VAE,
    Amortized,
    Dataset,
    LinearGaussian,
    Local,
    MeanField,
    NonFiniteLoss,
    Recipe,
    Split,
    fit,
    fit_local,
)
from pyro_vae.graphs import Graph, engine
from pyro_vae.inference.compiled_svi import CompiledSVI
from pyro_vae.inference.failure import check_losses
from pyro_vae.inference.steps import sizes_to_compile
from pyro_vae.programs.naming import unique_name
from tests.scenarios import eager

SHAPE, DIM = (1, 4, 8), 2


def grey(num: int = 70) -> Dataset:
    pixels = (
        torch.randint(
            0, 256, (num, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)
        )
        // 3
    )
    split = Split("train", pixels, "dynamic")
    return Dataset("grey", split, None, split)


def programs() -> tuple[VAE, Amortized]:
    torch.manual_seed(0)
    return VAE(SHAPE, DIM, (8,)), Amortized(MeanField(DIM), MLP(SHAPE, (8,)))


def trained(
    name: str, folder: Path | None = None, num_data: int = 70, **changes: Any
) -> tuple[list[float], list[Tensor]]:
    model, guide = programs()
    options = {
        "epochs": 3,
        "batch_size": 32,
        "loss": TraceMeanField_ELBO(),
        "warmup_epochs": 2.0,
    } | changes
    run = fit(model, guide, grey(num_data), engine=name, quiet=True, folder=folder, **options)  # type: ignore[arg-type]
    return [r["train_loss"] for r in run.history], [
        p.detach() for m in (model, guide) for p in m.parameters()
    ]


# by the compiler a graph of one size of a minibatch, without it of two
@pytest.mark.parametrize(
    ("by", "num_data", "clip_norm"), [("Inductor", 64, None), ("operation", 70, 1.0)]
)
def test_both_engines_end_in_the_same_place(
    by: str, num_data: int, clip_norm: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "operation":
        eager(monkeypatch)
    a, b = (trained(name, num_data=num_data, clip_norm=clip_norm) for name in ("compiled", "pyro"))
    assert a[0] == pytest.approx(b[0], rel=1e-5)
    for got, expected in zip(a[1], b[1], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


def test_interrupted_and_resumed_equals_uninterrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager(monkeypatch)
    whole = trained("compiled", tmp_path / "whole")
    taken, step = 0, CompiledSVI.step

    def failing(self: CompiledSVI, *arguments: Any) -> Tensor:
        nonlocal taken
        taken += 1
        if taken == 5:  # in the middle of the second epoch
            raise KeyboardInterrupt
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(CompiledSVI, "step", failing)
        patch.setattr("pyro_vae.inference.svi._SAVE_EVERY", -1.0)  # a checkpoint at every step
        with pytest.raises(KeyboardInterrupt):
            trained("compiled", tmp_path / "cut")
    pyro.clear_param_store()
    cut = trained("compiled", tmp_path / "cut", resume=True)
    assert cut[0] == whole[0]
    assert all(map(torch.equal, cut[1], whole[1]))


@pytest.mark.parametrize(
    ("name", "epochs", "sizes"),
    [
        ("pyro", 10**6, set()),
        ("compiled", 1, {32, 6}),
        ("auto", 5500, set()),
        ("auto", 5600, {32}),
        ("auto", 11_600, {32, 6}),
    ],
)
def test_auto_compiles_what_is_used_often(name: Any, epochs: int, sizes: set[int]) -> None:
    assert sizes_to_compile(70, Recipe(epochs=epochs, batch_size=32, engine=name)) == sizes


def test_where_all_sizes_are_rare_the_commonest_is_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = []

    def compile_graph(graph: Graph, inputs: Sequence[Tensor]) -> Any:
        sizes.append(len(inputs[0]))
        return graph.module

    monkeypatch.setattr("pyro_vae.graphs.compiled.compile_graph", compile_graph)
    trained("compiled")  # minibatches of 32, and one of 6
    assert sizes == [32]


class Branch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(DIM, 32)

    def forward(self, x: Tensor, index: Tensor | None = None) -> None:
        pyro.module(unique_name(self), self)
        scale = 1.0 if x.mean() > 0.5 else 0.5
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Normal(torch.zeros(DIM), 1.0).to_event(1))
            pyro.sample(
                "obs", dist.Normal(self.net(z).unflatten(-1, SHAPE), scale).to_event(3), obs=x
            )


def test_auto_warns_once_and_goes_on_and_compiled_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyro_vae.graphs.engine.WORTH_IT", 1)
    guide = Amortized(MeanField(DIM), MLP(SHAPE, (8,)))
    with pytest.warns(
        UserWarning, match="stock SVI runs them: it looks at the value of a tensor"
    ) as caught:
        run = fit(Branch(), guide, grey(), epochs=2, batch_size=32, quiet=True)
    assert len(caught) == 1 and len(run.history) == 2
    with pytest.raises(ValueError, match="cannot be compiled: it looks at the value"):
        fit(
            Branch(),
            guide,
            grey(),
            epochs=2,
            batch_size=32,
            engine="compiled",
            quiet=True,
            folder=tmp_path,
        )
    fit(
        Branch(), guide, grey(), epochs=2, batch_size=32, engine="pyro", quiet=True, folder=tmp_path
    )  # nothing in the way


def test_svi_never_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyro_vae.graphs.engine.WORTH_IT", 1)
    monkeypatch.setattr(CompiledSVI, "step", lambda *_: pytest.fail("compiled"))
    trained("pyro")


def test_an_unknown_engine() -> None:
    with pytest.raises(
        ValueError, match="engine: got 'jit', expected one of 'auto', 'compiled', 'pyro'"
    ):
        Recipe(engine="jit")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="engine: got 'jit'"):
        fit_local(*programs(), torch.zeros(3, *SHAPE), engine="jit")  # type: ignore[arg-type]


def test_a_loss_that_is_read_late_still_names_its_step() -> None:
    # on a GPU the losses are looked at now and then: the first bad one is what is reported
    losses = torch.tensor([3.0, 2.0, torch.nan, torch.inf, 1.0])
    job = SimpleNamespace(
        losses=losses,
        recipe=Recipe(batch_size=2),
        params={"w": torch.tensor([torch.nan])},
        folder=None,
        train=SimpleNamespace(x=torch.zeros(10, 3)),
        optim=SimpleNamespace(optimizer=torch.optim.SGD([losses], lr=0.5)),
    )
    at: Any = SimpleNamespace(epoch=1, step=2, order=torch.arange(10))
    check_losses(job, at)  # type: ignore[arg-type]
    at.step = 5
    with pytest.raises(
        NonFiniteLoss, match=r"nan at epoch 2, step 3: the parameters \['w'\] became non-finite"
    ):
        check_losses(job, at)  # type: ignore[arg-type]


@pytest.mark.parametrize("compiled", [False, True])
def test_local_inference_by_either_engine(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    monkeypatch.setattr("pyro_vae.graphs.engine.WORTH_IT", 1 if compiled else 10**12)
    steps = []
    monkeypatch.setattr(
        CompiledSVI,
        "_update",
        lambda self, *g, _f=CompiledSVI._update: steps.append(1) or _f(self, *g),
    )
    model = LinearGaussian(5, 2, sigma=0.5, seed=1)
    x = model.sample(6)
    guide = fit_local(model, Local(MeanField(2), 6), x, num_steps=300, learning_rate=0.1).guide
    assert bool(steps) == compiled
    best = model.optimal_mean_field(x)
    torch.testing.assert_close(guide.q(torch.arange(6)).mean, best.mean, atol=0.1, rtol=0)
    assert all(p.requires_grad for p in model.parameters())


def test_a_rare_size_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[int] = []

    def noted(graph: Any, inputs: list[Tensor]) -> Any:
        compiled.append(len(inputs[0]))
        return graph.module

    monkeypatch.setattr("pyro_vae.graphs.compiled.compile_graph", noted)
    monkeypatch.setattr(engine, "WORTH_IT", 5_000)
    # 2 steps of 32 rows an epoch and 1 of 6: 8 (600 + 32) is enough, 4 (600 + 6) is not
    run = fit(*programs(), grey(), batch_size=32, epochs=4, engine="compiled", quiet=True)
    assert compiled == [32]

    stock = fit(*programs(), grey(), batch_size=32, epochs=4, engine="pyro", quiet=True)
    losses = [[row["train_loss"] for row in each.history] for each in (run, stock)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
