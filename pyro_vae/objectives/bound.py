"""The Renyi bound, the importance-weighted bound among it, with two kinds of gradient."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from pyro.infer.util import torch_item
from torch import Tensor

from pyro_vae.arguments import MAX_PARTICLES, check_flag, check_integer, check_number
from pyro_vae.objectives.densities import backward, check_plates, latents, log_density, score_of
from pyro_vae.programs.traces import Program


class Bound(Trace_ELBO):
    """The Renyi bound of order alpha by S particles, and through it the ELBO and the
    importance-weighted bound:

        L = 1 / (1 - alpha)  log  mean_s  w_s^(1 - alpha),    w_s = p(x, z_s) / q(z_s | x)

    alpha = 1 is the ELBO, alpha = 0 the importance-weighted bound (IWAE); with alpha >= 0, L is a
    lower bound of log p(x) in expectation. Scaled weights bound nothing, so beta other than 1, or
    subsampling, is a ValueError.

    With `path_only` the gradient in the guide's parameters goes through the draws alone:

    * For the ELBO the score of q is zero on average, and is left out (sticking the landing).
    * For the other bounds the score is traded for more path: the path of particle s counts
      w~_s (alpha + (1 - alpha) w~_s), with w~ the normalised weights (doubly reparameterised).

    The variance falls, to zero where q is exact. The price is a second run of the guide, and a
    second backward pass unless alpha is 1; every latent of the guide must be reparameterised.

    Args:
        num_particles: S.
        alpha: order.
        path_only: see above.

    References:
        Burda, Grosse, Salakhutdinov (2016). Importance weighted autoencoders. arXiv:1509.00519.
        Li, Turner (2016). Rényi divergence variational inference. arXiv:1602.02311.
        Roeder, Wu, Duvenaud (2017). Sticking the landing: simple, lower-variance gradient
            estimators for variational inference. arXiv:1703.09194.
        Tucker, Lawson, Gu, Maddison (2019). Doubly reparameterized gradient estimators for Monte
            Carlo objectives. arXiv:1810.04152.
    """

    def __init__(self, num_particles: int = 1, alpha: float = 0.0, path_only: bool = False) -> None:
        check_integer("num_particles", num_particles, 1, MAX_PARTICLES)
        check_number("alpha", alpha, least=0)
        check_flag("path_only", path_only)
        super().__init__(num_particles=num_particles, vectorize_particles=True)
        self.alpha, self.path_only = alpha, path_only

    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Any:
        """Minus the bound, summed over the minibatch."""
        with torch.no_grad():
            return torch_item(-self._bound(self._weigh(model, guide, args, kwargs)[2]).sum())

    def loss_and_grads(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Any:
        """Minus the bound, summed over the minibatch; adds its gradients to the parameters'."""
        model_trace, guide_trace, log_w = self._weigh(model, guide, args, kwargs)
        weights = torch.softmax((1 - self.alpha) * log_w.detach(), 0)

        if self.path_only:
            _check_paths(guide_trace)
            vectorized = self._vectorized_num_particles(guide)
            score = score_of(vectorized, guide_trace, args, kwargs, self.num_particles)
            self._path_gradients(model_trace, guide_trace, log_w, log_w + score, weights)
        else:
            backward(-(weights * log_w).sum())

        return torch_item(-self._bound(log_w.detach()).sum())

    def _path_gradients(
        self, model_trace: Any, guide_trace: Any, log_w: Tensor, path: Tensor, weights: Tensor
    ) -> None:
        """Add the gradients through the draws alone.

        `path` `(S, B)` has the gradient of log w without the score.
        """
        if self.alpha == 1 or self.num_particles == 1:
            backward(-(weights * path).sum())
            return

        mine, theirs = _parameters(guide_trace), _parameters(model_trace)
        if {id(p) for p in mine} & {id(p) for p in theirs}:
            raise ValueError(
                "path_only: the model and the guide share parameters, expected each to have its own"
            )

        counts = weights * (self.alpha + (1 - self.alpha) * weights)
        _add_gradients(-(counts * path).sum(), mine, retain=True)
        _add_gradients(-(weights * log_w).sum(), theirs)

    def _bound(self, log_w: Tensor) -> Tensor:
        if self.alpha == 1:
            return log_w.mean(0)
        power = 1 - self.alpha
        return (torch.logsumexp(power * log_w, 0) - math.log(len(log_w))) / power

    def _weigh(
        self, model: Program, guide: Program, args: Any, kwargs: Any
    ) -> tuple[Any, Any, Tensor]:
        """The traces, and the log-weights `(S, B)`."""
        ((model_trace, guide_trace),) = self._get_traces(model, guide, args, kwargs)
        check_plates(model_trace, guide_trace)
        log_p = log_density(model_trace, self.num_particles)
        log_q = log_density(guide_trace, self.num_particles)
        return model_trace, guide_trace, log_p - log_q


def _check_paths(guide_trace: poutine.Trace) -> None:
    blocked = [site["name"] for site in latents(guide_trace) if not site["fn"].has_rsample]
    if blocked:
        raise ValueError(
            f"path_only: the guide's sites {blocked} are not reparameterised: use"
            " ScoreFunction, or Trace_ELBO"
        )


def _parameters(trace: poutine.Trace) -> list[Tensor]:
    nodes: dict[str, Any] = trace.nodes
    params = [s["value"].unconstrained() for s in nodes.values() if s["type"] == "param"]
    return [p for p in params if p.requires_grad]


def _add_gradients(loss: Tensor, params: list[Tensor], retain: bool = False) -> None:
    if not params or not loss.requires_grad:
        return
    gradients = torch.autograd.grad(loss, params, retain_graph=retain, allow_unused=True)
    for p, gradient in zip(params, gradients, strict=True):
        if gradient is not None:
            p.grad = gradient if p.grad is None else p.grad + gradient
