"""The generators of a run, on the CPU and, by a fake, on a GPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pyro_vae.inference import noise


def test_generators_go_on_where_they_stood() -> None:
    own = torch.Generator().manual_seed(3)
    kept = {"noise": own.get_state(), "torch_noise": noise.state(torch.device("cpu"))}
    drawn = torch.rand(3), torch.rand(3, generator=own)
    torch.rand(5), torch.rand(5, generator=own)
    noise.put_back(own, kept)
    assert torch.equal(torch.rand(3), drawn[0])
    assert torch.equal(torch.rand(3, generator=own), drawn[1])


def test_a_run_of_a_gpu_keeps_the_noise_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    put: list[Any] = []
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.tensor([7]))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: put.append(state))
    device = torch.device("cuda")
    kept = {"noise": torch.tensor([5]), "torch_noise": noise.state(device)}
    own = SimpleNamespace(device=device, set_state=put.append)
    noise.put_back(own, kept)  # type: ignore[arg-type]
    assert [state.item() for state in put] == [5, 7]


@pytest.mark.parametrize(("begun", "now"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_run_of_one_device_does_not_go_on_on_another(begun: str, now: str) -> None:
    states = {"cpu": torch.get_rng_state()} | ({"cuda": torch.zeros(1)} if begun == "cuda" else {})
    own = SimpleNamespace(device=torch.device(now))
    told = f"begun with its noise on '{begun}'.* got device '{now}', expected device='{begun}'"
    with pytest.raises(ValueError, match=told):
        noise.put_back(own, {"torch_noise": states})  # type: ignore[arg-type]
