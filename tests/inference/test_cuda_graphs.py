"""Training steps as CUDA graphs, on a fake of the GPU that refuses what a recording refuses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor
from torch.optim.lr_scheduler import ExponentialLR

from pyro_vae import (
    MLP,
    VAE,
    Amortized,
    CompiledSVI,
    Dataset,
    MeanField,
    Recipe,
    Split,
    fit,
)
from pyro_vae.inference import cuda
from pyro_vae.inference.cuda import Replayed
from pyro_vae.inference.optim import JointOptim, _AdamGroup
from pyro_vae.inference.trained import Trained
from pyro_vae.objectives.free_bits import FreeBits
from tests.inference.fake_cuda import FakeCuda, gpu
from tests.scenarios import eager

__all__ = ["gpu"]  # a fixture

SHAPE, DIM, EPOCHS = (1, 2, 8), 2, 4
# as exact in float32, which the GPU's rate is, as in float64
RATE = 2.0**-6
# minibatches of 8, 8, 8 and 3
GREY = torch.arange(27 * 16).remainder(251).to(torch.uint8).view(27, *SHAPE)


@pytest.fixture(autouse=True)
def few_before_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_WARM_UP", 2)
    eager(monkeypatch)


def trained(**changes: Any) -> tuple[list[float], list[Tensor]]:
    """Losses and parameters of a short run."""
    pyro.clear_param_store()
    torch.manual_seed(0)
    model, guide = VAE(SHAPE, DIM, (4,)), Amortized(MeanField(DIM), MLP(SHAPE, (4,)))
    split = Split("train", GREY, "dynamic")
    options: dict[str, Any] = {
        "optimizer": partial(torch.optim.Adam, lr=RATE),
        "loss": TraceMeanField_ELBO(),
        "warmup_epochs": 0.0,
        "batch_size": 8,
        "epochs": EPOCHS,
        "engine": "compiled",
    }
    recipe = Recipe(**options | changes)
    data = Dataset("grey", split, None, split)
    run = fit(model, guide, data, recipe, device="cpu", quiet=True)
    parameters = [p.detach().clone() for m in (model, guide) for p in m.parameters()]
    return [row["train_loss"] for row in run.history], parameters


def on_gpu(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> tuple[Any, FakeCuda]:
    with monkeypatch.context() as patch:
        fake = FakeCuda().install(patch)
        return trained(**changes), fake


def same(one: Any, other: Any) -> bool:
    return one[0] == other[0] and all(map(torch.equal, one[1], other[1]))


SETTINGS = {
    "a warm-up and a schedule": {
        "warmup_epochs": 2.5,
        "schedule": partial(ExponentialLR, gamma=0.5),
    },
    "free bits, clipped, AdamW": {
        "loss": FreeBits(0.2),
        "beta": 0.5,
        "clip_norm": 0.5,
        "optimizer": partial(torch.optim.AdamW, lr=RATE),
    },
}


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
def test_a_run_by_recordings_is_the_run_without(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, fake = on_gpu(monkeypatch, **changes)
    assert same(found, trained(**changes))
    # of three full minibatches an epoch and a short one, after two of each that ran as they are
    assert [graph.replays for graph in fake.graphs] == [3 * EPOCHS - 2, EPOCHS - 2]


def test_an_optimizer_that_reads_the_host_is_not_recorded(gpu: FakeCuda) -> None:
    of = Stepping()
    of.optim.optimizer = torch.optim.SGD(of.parameters, lr=RATE)
    for _ in range(4):
        of.step(torch.ones(3, *SHAPE))
    assert not gpu.graphs


def waits(gradients: list[Tensor]) -> None:
    torch.cuda.synchronize()


MEDDLING: dict[str, Callable[[list[Tensor]], object]] = {
    "item": lambda gradients: gradients[0].sum().item(),
    "float": lambda gradients: float(gradients[0].sum()),
    "bool": lambda gradients: bool((gradients[0] > 0).any()),
    "tolist": lambda gradients: gradients[0].tolist(),
    "numpy": lambda gradients: gradients[0].numpy(),
    "cpu": lambda gradients: gradients[0].cpu(),
    "nonzero": lambda gradients: gradients[0].nonzero(),
    "mask": lambda gradients: gradients[0][gradients[0] > 0],
    "equal": lambda gradients: torch.equal(gradients[0], gradients[0]),
    "from the host": lambda gradients: torch.tensor([1.0, 2.0], device=gradients[0].device),
    "wait": waits,
    "a generator": lambda gradients: torch.rand(3, generator=torch.Generator()),
    "noise kept": lambda gradients: torch.cuda.get_rng_state(),
}


class Scaled(VAE):
    """A model with a weight of its own, a number or a tensor."""

    weight: Any = 1.0

    def forward(self, x: Tensor, index: Tensor | None = None) -> Any:
        with pyro.poutine.scale(scale=self.weight):
            return super().forward(x, index)


class Stepping:
    """The engine outside of `fit`, by recordings or without."""

    def __init__(self, recording: bool = True) -> None:
        pyro.clear_param_store()
        torch.manual_seed(0)
        self.model = Scaled(SHAPE, DIM, (4,))
        guide = Amortized(MeanField(DIM), MLP(SHAPE, (4,)))
        self.parameters = [p for m in (self.model, guide) for p in m.parameters()]
        self.optim = JointOptim(partial(torch.optim.Adam, lr=RATE), self.parameters)
        self.svi = CompiledSVI(self.model, guide, self.optim, Trace_ELBO(), fallback=False)
        self.step: Any = self.replayed() if recording else self.svi.step

    def replayed(self) -> Replayed:
        return Replayed(self.svi.step, self.svi.plain_step, self.granted, self.optim.refresh)

    def granted(self) -> Any:
        return self.optim.recordable() if self.svi.recordable() else None


def test_what_a_recording_refuses_is_refused_in_a_step(
    gpu: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the equality above would not hold with any of these in a step: nothing is replayed."""
    of, x = Stepping(), torch.ones(3, *SHAPE)
    for _ in range(3):
        of.step(x)
    assert gpu.graphs[0].replays == 1

    monkeypatch.setattr(cuda, "_WARM_UP", 0)
    update = Trained.update
    for name, meddle in MEDDLING.items():

        def meddled(self: Trained, gradients: Any, meddle: Any = meddle) -> None:
            meddle(gradients)
            update(self, gradients)

        with monkeypatch.context() as patch:
            patch.setattr(Trained, "update", meddled)
            told = "not recorded as a CUDA graph: (operation not permitted|philox_cuda_state)"
            with pytest.warns(UserWarning, match=told):
                of.replayed()(x)
        assert not gpu.graphs[-1].replays, name
        assert not gpu.generator.broken and gpu.stream == "of the user", name


def test_a_parameter_that_is_frozen_is_seen(gpu: FakeCuda) -> None:
    """It is the same tensor, and gets no gradient any more: what was recorded is void."""
    ends = []
    for recording in (True, False):
        of = Stepping(recording)
        for number in range(8):
            of.model.decoder.head.bias.requires_grad_(number < 4)
            torch.manual_seed(number)
            loss = of.step(torch.ones(3, *SHAPE))
        ends.append(([loss.item()], [p.detach() for p in of.parameters]))
    assert same(*ends)
    assert [graph.replays for graph in gpu.graphs] == [2, 2]


def test_a_run_goes_on_where_a_step_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = trained(epochs=2)
    plain = CompiledSVI.plain_step

    def reading(self: CompiledSVI, *args: Any) -> Tensor:
        loss = plain(self, *args)
        assert loss.item() > 0
        return loss

    monkeypatch.setattr(CompiledSVI, "plain_step", reading)
    with pytest.warns(UserWarning, match="not permitted") as caught:
        found, fake = on_gpu(monkeypatch, epochs=2)
    assert same(found, expected) and len(caught) == len(fake.graphs) == 1


def stale_rate(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_AdamGroup, "refresh", lambda self: None)


def baked_rate(patch: pytest.MonkeyPatch) -> None:
    init = _AdamGroup.__init__

    def baked(self: _AdamGroup, *args: Any) -> None:
        init(self, *args)
        self.rate = None

    patch.setattr(_AdamGroup, "__init__", baked)


def stale_inputs(patch: pytest.MonkeyPatch) -> None:
    def replay(self: cuda.Recording, tensors: Any) -> Tensor:
        self.graph.replay()
        return self.loss

    patch.setattr(cuda.Recording, "replay", replay)


def no_replay(patch: pytest.MonkeyPatch) -> None:
    """As if recording a step took it."""
    patch.setattr(cuda.Recording, "replay", lambda self, tensors: self.loss)


def no_fault(patch: pytest.MonkeyPatch) -> None:
    """The test of the tests below."""


@pytest.mark.parametrize("fault", [no_fault, stale_rate, baked_rate, stale_inputs, no_replay])
def test_stale_memory_shows(fault: Any, gpu: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    for recording in (True, False):
        with monkeypatch.context() as patch:
            (fault if recording else no_fault)(patch)
            of = Stepping(recording)
            for number in range(6):
                of.optim.optimizer.param_groups[0]["lr"] = RATE / 2**number
                torch.manual_seed(number)
                loss = of.step(torch.full((3, *SHAPE), float(number % 2)))
        ends.append(([loss.item()], [p.detach() for p in of.parameters]))
    assert len(gpu.graphs) == 1
    assert same(*ends) == (fault is no_fault)


def test_what_lies_on_the_host_is_not_recorded(
    gpu: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scale on the CPU is a number of the launch: changed, a replay would not see it."""
    of = Stepping()
    of.model.weight = host = torch.tensor(1.0)  # no buffer: `to` leaves it where it is
    for _ in range(2):
        of.svi.step(torch.ones(3, *SHAPE))
    assert of.svi.recordable()

    # the fake says of everything that it is on the GPU
    monkeypatch.setattr(Tensor, "is_cuda", property(lambda tensor: tensor is not host))
    of.svi.step(torch.ones(5, *SHAPE))
    assert of.svi.settled() and not of.svi.recordable()


def test_a_change_between_two_sizes_is_seen_by_both(gpu: FakeCuda) -> None:
    """What the programs are is compared at each step, of one size or the other: a recording of the
    other is as void.
    """
    ends = []
    for recording in (True, False):
        of = Stepping(recording)
        losses = []
        for number in range(16):
            if number == 8:
                of.model.weight = 0.5
            torch.manual_seed(number)
            losses.append(of.step(torch.ones(3 + 2 * (number % 2), *SHAPE)).item())
        ends.append((losses, [p.detach() for p in of.parameters]))
    assert same(*ends)
    assert len(gpu.graphs) == 4  # two sizes, before and after
