"""The state in which programs are evaluated: eval mode, without gradients, and with the caller's
random state kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import pyro
import torch
from torch import nn

from pyro_vae.graphs.reach import Reach


def modules_of(*programs: Any) -> list[nn.Module]:
    """All modules that the programs run, submodules included, as far as their code shows them (see
    `Reach`).

    A program is a module, or a function, a method, a partial or a Pyro handler that reaches modules
    by a closure, a global that its code names, an argument that is bound, or an attribute.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
        >>> len(modules_of(net.forward))
        3
    """
    known, key = _KNOWN.get(), tuple(map(id, programs))
    if known is not None and key in known:
        return known[key]
    own = [p for p in programs if isinstance(p, nn.Module)]
    reached = Reach(programs).modules
    found = list(dict.fromkeys(m for module in (*own, *reached) for m in module.modules()))
    if known is not None:
        known[key] = found
    return found


@contextmanager
def modules_remembered() -> Iterator[None]:
    """Look for the modules of the same programs once, where nobody else's code runs in between but
    the programs': a walk takes as long as several steps of training.
    """
    token = _KNOWN.set({})
    try:
        yield
    finally:
        _KNOWN.reset(token)


_KNOWN: ContextVar[dict[tuple[int, ...], list[nn.Module]] | None] = ContextVar(
    "known", default=None
)


def device_of(*programs: Any) -> torch.device | None:
    """Where the parameters of the programs lie; None where they have none."""
    own = [p for p in programs if isinstance(p, nn.Module)]
    for look in (lambda: own, lambda: modules_of(*programs)):
        for module in look():
            for parameter in module.parameters():
                return parameter.device
    return None


@contextmanager
def in_eval_mode(*programs: Any) -> Iterator[list[nn.Module]]:
    """All modules of the programs in eval mode, and as they were at the end."""
    modules = modules_of(*programs)
    training = [m for m in modules if m.training]
    for module in training:
        module.training = False
    try:
        yield modules
    finally:
        for module in training:
            module.training = True


@contextmanager
def evaluation(
    *programs: Any, device: torch.device | str = "cpu", seed: int | None = None
) -> Iterator[None]:
    """Evaluate programs: their modules in eval mode, no gradients, no validation, and the caller's
    random state kept.

    Args:
        seed: seeds torch's generators inside the block.
    """
    with (
        in_eval_mode(*programs),
        isolated_noise(torch.device(device)),
        torch.no_grad(),
        pyro.validation_enabled(False),
        warnings.catch_warnings(),
    ):
        # a frozen net is meant to be frozen
        warnings.filterwarnings("ignore", message=".*requires_grad=False")
        if seed is not None:
            torch.manual_seed(seed)
        yield


def seed_noise(*numbers: int) -> None:
    """Seed torch's generators from several numbers, such as a seed and the number of a block."""
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]))


def isolated_noise(device: torch.device) -> Any:
    """A context that leaves torch's generators, on the CPU and on this device, as they were."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])
