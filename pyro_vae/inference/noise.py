"""The states of the random generators of a run, to a checkpoint and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def state(device: torch.device) -> dict[str, Tensor]:
    """Of torch's own generators, on the CPU and on the device of a run."""
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def put_back(noise: torch.Generator, kept: dict[str, Any]) -> None:
    """Put torch's generators, and the run's own, back where a checkpoint has them.

    Raises:
        ValueError: a run that was begun on another kind of device: noise of a GPU has no
            counterpart on the CPU.
    """
    begun, now = "cuda" if "cuda" in kept["torch_noise"] else "cpu", noise.device.type
    if begun != now:
        raise ValueError(
            f"resume: the run was begun with its noise on {begun!r}, where alone it goes on:"
            f" got device {now!r}, expected device={begun!r}"
        )
    noise.set_state(kept["noise"].cpu())
    torch.set_rng_state(kept["torch_noise"]["cpu"].cpu())
    if noise.device.type == "cuda":
        torch.cuda.set_rng_state(kept["torch_noise"]["cuda"].cpu(), noise.device)
