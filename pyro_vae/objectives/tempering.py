"""The weight beta of the KL term: programs tempered by it, and its warm-up."""

from __future__ import annotations

from typing import Any

from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_vae.programs.traces import Program


class _ScaleLatents(Messenger):
    def __init__(self, beta: Tensor) -> None:
        super().__init__()
        self.beta = beta

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"]:
            msg["scale"] = msg["scale"] * self.beta


def tempered(program: Program, beta: Tensor) -> Program:
    """The program with all latent log-densities scaled by `beta`.

    `beta` is a scalar tensor that is read at each run: change it in place. Temper the model and the
    guide alike; observed sites are untouched.
    """
    return _ScaleLatents(beta)(program)


def warmup(beta: float, progress: float, length: float) -> float:
    """Linear KL warm-up: `beta * progress / length` until `progress` (epochs done) reaches
    `length`, then `beta`.
    """
    return beta if progress >= length else beta * progress / length
