"""What is the same on a GPU; each test runs on the CPU, too, so that it is known to run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor

from pyro_vae import (
    MLP,
    VAE,
    Amortized,
    CompiledSVI,
    Dataset,
    Importance,
    MeanField,
    Split,
    fit,
    log_evidence,
)
from pyro_vae.inference.cuda import Replayed
from pyro_vae.inference.optim import JointOptim
from pyro_vae.programs.pair import opened
from tests.scenarios import eager

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]
SHAPE, DIM = (1, 4, 8), 2
GREY = torch.arange(70 * 32).remainder(251).to(torch.uint8).view(70, *SHAPE)


def programs() -> tuple[VAE, Amortized]:
    pyro.clear_param_store()
    torch.manual_seed(0)
    return VAE(SHAPE, DIM, (8,)), Amortized(MeanField(DIM), MLP(SHAPE, (8,)))


@pytest.mark.parametrize("device", DEVICES)
def test_scores_are_those_of_the_cpu(device: str) -> None:
    model, guide = programs()
    x = (GREY[:9] > 120).float()
    with opened(model, guide, x, seed=0) as pair:
        latents, log_guide = pair.sample(30)
        expected = *pair.score(latents), log_guide

    with opened(model.to(device), guide.to(device), x.to(device)) as pair:
        moved = {name: z.to(device) for name, z in latents.items()}
        found = *pair.score(moved), pair.log_guide(moved)
    for mine, other in zip(found, expected, strict=True):
        assert mine.device.type == device
        torch.testing.assert_close(mine.cpu(), other, rtol=1e-4, atol=1e-4)

    estimate = log_evidence(model, guide, x.to(device), Importance(400))
    assert estimate.log_px.device.type == "cpu" and estimate.log_px.isfinite().all()


@pytest.mark.parametrize("device", DEVICES)
def test_a_run_that_goes_on_is_the_run_at_once(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parted: tuple[int, ...] = (5, 8)  # on a GPU, enough steps for them to be recorded
    if device == "cpu":
        eager(monkeypatch)
        parted = (1, 2)
    split = Split("train", GREY, "dynamic")
    options: dict[str, Any] = {"engine": "compiled", "batch_size": 32, "warmup_epochs": 0.5}
    ends = []
    for name, lengths in (("whole", parted[1:]), ("parted", parted)):
        parts = programs()
        for number, epochs in enumerate(lengths):
            again = {"epochs": epochs, "resume": number > 0, "folder": tmp_path / name}
            data = Dataset("grey", split, None, split)
            run = fit(*parts, data, device=device, quiet=True, **options, **again)
        losses = [row["train_loss"] for row in run.history]
        ends.append((losses, [p.detach().cpu() for part in parts for p in part.parameters()]))
    assert ends[0][0] == ends[1][0] and all(map(torch.equal, ends[0][1], ends[1][1]))


@needs_gpu
def test_recorded_steps_on_cuda_are_the_compiled_ones() -> None:
    ends: list[list[Tensor]] = []
    for recording in (True, False):
        model, guide = (part.to("cuda") for part in programs())
        parameters = [p for part in (model, guide) for p in part.parameters()]
        optim = JointOptim(partial(torch.optim.Adam, lr=2.0**-6), parameters)
        svi = CompiledSVI(model, guide, optim, Trace_ELBO(), fallback=False)
        step: Any = svi.step
        if recording:
            granted = partial(_granted, svi, optim)
            step = Replayed(svi.step, svi.plain_step, granted, optim.refresh)
        for number in range(30):
            optim.optimizer.param_groups[0]["lr"] = 2.0 ** -(6 + number // 10)
            torch.manual_seed(number)
            loss = step((torch.rand(8, *SHAPE, device="cuda") < 0.3).float())
        ends.append([loss.clone(), *(p.detach() for p in parameters)])
        assert not recording or step._recorded
    assert all(map(torch.equal, *ends))


def _granted(svi: CompiledSVI, optim: JointOptim) -> Any:
    return optim.recordable() if svi.recordable() else None
