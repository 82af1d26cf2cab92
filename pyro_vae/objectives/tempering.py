"""The weight beta of the KL term: programs tempered by it, or without it, and its warm-up."""

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


class _LeaveOutLatents(Messenger):
    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"]:
            return
        if msg["fn"].has_rsample:
            msg["mask"] = False
        else:  # the score function is needed, and masked with the density
            msg["scale"] = msg["scale"] * 0.0


def without_rate(program: Program) -> Program:
    """The program without the log-densities of its latents: what beta 0 is.

    The density of a guide without a KL term grows until it overflows, and 0 times infinity is no
    number: what has the weight 0 is left out. Without a reparameterised draw it is scaled by 0, as
    the draw's gradient goes through it.
    """
    return _LeaveOutLatents()(program)


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
