"""How models and guides make a net, and tell later whether it was trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_callable, refuse, shown


def default_latent_dim(shape: Sequence[int]) -> int:
    """The default number of latent units: twice the root of the size of a datum, from 2 to 50."""
    return min(50, max(2, round(2 * math.sqrt(math.prod(shape)))))


def made(name: str, factory: Any, *arguments: Any) -> nn.Module:
    """The net that the class or function `factory` makes of these arguments; a ValueError calls it
    by the argument's `name`.
    """
    check_callable(name, factory, "a class of networks")
    try:
        net = None if isinstance(factory, nn.Module) else factory(*arguments)
    except (TypeError, AttributeError) as error:
        told = ", ".join(map(str, arguments))
        raise ValueError(
            f"{name}: {shown(factory)} cannot be called with ({told}): {error}"
        ) from error
    if not isinstance(net, nn.Module):
        refuse(name, factory, "a class of networks")
    return net


def last_parameter(net: nn.Module) -> Tensor:
    """A copy of a net's last parameter, by which one can tell later whether the net was trained, or
    loaded.
    """
    return next((p.detach().clone() for p in reversed(list(net.parameters()))), torch.zeros(0))
