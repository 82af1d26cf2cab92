"""The state in which programs are evaluated: eval mode, without gradients, and with the caller's random state kept."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from torch import nn


def device_of(*programs: Any) -> torch.device | None:
    """Where the parameters of the programs lie; None where they have none."""
    modules = (p for p in programs if isinstance(p, nn.Module))
    return next((parameter.device for module in modules for parameter in module.parameters()), None)


@contextmanager
def evaluation(*programs: Any, device: torch.device | str = "cpu", seed: int | None = None) -> Iterator[None]:
    """Evaluate programs: modules in eval mode, no gradients, no validation, and the caller's random state kept.

    Args:
        seed: seeds torch's generators inside the block.
    """
    modules = [m for p in programs if isinstance(p, nn.Module) for m in p.modules()]
    training = [m for m in modules if m.training]
    for module in training:
        module.training = False
    try:
        with (
            isolated_noise(torch.device(device)),
            torch.no_grad(),
            pyro.validation_enabled(False),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", message=".*requires_grad=False")  # a frozen net is meant to be frozen
            if seed is not None:
                torch.manual_seed(seed)
            yield
    finally:
        for module in training:
            module.training = True


def isolated_noise(device: torch.device) -> Any:
    """A context that leaves torch's generators, on the CPU and on this device, as they were."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])
