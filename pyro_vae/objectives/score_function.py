"""The ELBO with the score-function gradient, which needs no reparameterisation."""

from __future__ import annotations

from typing import Any

import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from pyro.infer.util import torch_item

from pyro_vae.arguments import MAX_PARTICLES, check_flag, check_integer
from pyro_vae.objectives.densities import backward, check_plates, log_density, score_of
from pyro_vae.programs.traces import Program


class ScoreFunction(Trace_ELBO):
    """The ELBO by S particles with the score-function gradient (REINFORCE) in the guide's
    parameters:

        mean_s  (log w_s - b_s)  d log q(z_s | x)

    with b_s the mean of the other particles' log w, or 0. It needs no reparameterisation, so it is
    there for discrete latents. Its variance grows with the number of latents; the baseline takes
    away what does not depend on z.

    Args:
        num_particles: S; at least 2 with the baseline.
        baseline: whether b_s is subtracted.

    References:
        Williams (1992). Simple statistical gradient-following algorithms for connectionist
            reinforcement learning. doi:10.1007/BF00992696.
        Mnih, Rezende (2016). Variational inference for Monte Carlo objectives. arXiv:1602.06725.
        Kool, van Hoof, Welling (2019). Buy 4 REINFORCE samples, get a baseline for free! ICLR
            workshop on deep reinforcement learning meets structured prediction.
    """

    def __init__(self, num_particles: int = 1, baseline: bool = False) -> None:
        check_flag("baseline", baseline)
        check_integer("num_particles", num_particles, 1 + baseline, MAX_PARTICLES)
        super().__init__(num_particles=num_particles, vectorize_particles=True)
        self.baseline = baseline

    def loss_and_grads(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Any:
        """Minus the ELBO, summed over the minibatch; adds its gradients to the parameters'."""
        if self.max_plate_nesting == float("inf"):
            self._guess_max_plate_nesting(model, guide, args, kwargs)
        guide, model = self._vectorized_num_particles(guide), self._vectorized_num_particles(model)

        with torch.no_grad():
            drawn = poutine.trace(guide).get_trace(*args, **kwargs)
        log_q = score_of(guide, drawn, args, kwargs, self.num_particles)

        replayed = poutine.replay(model, trace=drawn)
        model_trace = poutine.trace(replayed).get_trace(*args, **kwargs)
        check_plates(model_trace, drawn)
        model_trace.compute_log_prob()
        log_p = log_density(model_trace, self.num_particles)

        log_w = (log_p - log_q).detach()
        gain = log_w
        if self.baseline:
            gain = log_w - (log_w.sum(0) - log_w) / (self.num_particles - 1)
        backward(-(log_p + gain * log_q).mean(0).sum())
        return torch_item(-log_w.mean(0).sum())
