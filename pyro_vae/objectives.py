"""What is minimised: Pyro's ELBOs, and programs tempered by beta.

`Trace_ELBO` and `TraceMeanField_ELBO` (analytic KL) are Pyro's own; their loss is minus the ELBO *summed* over the
minibatch. A KL weight beta (Higgins et al., 2017; annealed from 0 to 1 by Bowman et al., 2016) multiplies the
log-densities of all latent sites, in the model and in the guide:

    loss = distortion + beta * rate

With beta other than 1 the loss is no longer minus the ELBO and is never reported under that name.
"""

from __future__ import annotations

from typing import Any

from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_vae.traces import Program


class _ScaleLatents(Messenger):
    def __init__(self, beta: Tensor) -> None:
        super().__init__()
        self.beta = beta

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"]:
            msg["scale"] = msg["scale"] * self.beta


def tempered(program: Program, beta: Tensor) -> Program:
    """The program with all latent log-densities scaled by `beta`, a scalar tensor read at each run: change it in place.

    Temper the model and the guide alike; observed sites are untouched.
    """
    return _ScaleLatents(beta)(program)


def warmup(beta: float, progress: float, length: float) -> float:
    """Linear KL warm-up: `beta * progress / length` until `progress` (epochs done) reaches `length`, then `beta`."""
    return beta if progress >= length else beta * progress / length
