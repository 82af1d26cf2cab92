"""The Renyi bound, the importance-weighted bound among it, of all particles or in groups, with two
kinds of gradient.

Whichever it is, the gradient is that of sum_s u_s log w_s for weights u_s of the particles that are
held constant; the model and the guide may have weights of their own.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from pyro.infer.util import torch_item
from torch import Tensor

from pyro_vae.arguments import MAX_PARTICLES, check_flag, check_integer, check_number, refuse
from pyro_vae.objectives.densities import backward, check_plates, latents, log_density, score_of
from pyro_vae.programs.traces import Program


class Bound(Trace_ELBO):
    """The Renyi bound of order alpha by S particles, and through it the ELBO and the
    importance-weighted bound:

        L = 1 / (1 - alpha)  log  mean_s  w_s^(1 - alpha),    w_s = p(x, z_s) / q(z_s | x)

    alpha = 1 is the ELBO, alpha = 0 the importance-weighted bound (IWAE); with alpha >= 0, L is a
    lower bound of log p(x) in expectation. Scaled weights bound nothing, so beta other than 1, or
    subsampling, is a ValueError.

    A tighter bound is not always better for the guide, whose gradient has less signal to its noise
    with more particles in the logarithm, where the model's has more. So the particles may be split,
    M groups of K = S / M, at alpha 0:

    * `Bound(M * K, groups=M)`: the mean of M bounds of K particles (MIWAE).
    * `Bound(M * K, guide_groups=M)`: the same for the guide alone, while the model follows the one
      bound of all particles (PIWAE). That one is the loss.
    * `Bound(S, mix=b)`: b times the ELBO and 1 - b times the bound (CIWAE).

    Each loss is minus a lower bound of log p(x) in expectation, not below the ELBO and not above
    the bound of all particles.

    With `path_only` the gradient in the guide's parameters goes through the draws alone:

    * For the ELBO the score of q is zero on average, and is left out (sticking the landing).
    * For the other bounds the score is traded for more path: the path of particle s counts
      w~_s (alpha + (1 - alpha) w~_s), with w~ the weights normalised in its group (doubly
      reparameterised).

    The variance falls, to zero where q is exact. The price is a second run of the guide, and a
    second backward pass unless the bound is an ELBO; every latent of the guide must be
    reparameterised. With `guide_groups` there is a second backward pass, too. Where there is one,
    the model and the guide may not share parameters.

    Args:
        num_particles: S.
        alpha: order.
        path_only: see above.
        groups: M; divides S.
        guide_groups: of the bound whose gradient the guide follows; `groups` unless given.
        mix: share of the ELBO, from 0 to 1.

    References:
        Burda, Grosse, Salakhutdinov (2016). Importance weighted autoencoders. arXiv:1509.00519.
        Li, Turner (2016). Rényi divergence variational inference. arXiv:1602.02311.
        Roeder, Wu, Duvenaud (2017). Sticking the landing: simple, lower-variance gradient
            estimators for variational inference. arXiv:1703.09194.
        Rainforth, Kosiorek, Le, Maddison, Igl, Wood, Teh (2018). Tighter variational bounds are not
            necessarily better. arXiv:1802.04537.
        Tucker, Lawson, Gu, Maddison (2019). Doubly reparameterized gradient estimators for Monte
            Carlo objectives. arXiv:1810.04152.
    """

    def __init__(
        self,
        num_particles: int = 1,
        alpha: float = 0.0,
        path_only: bool = False,
        *,
        groups: int = 1,
        guide_groups: int | None = None,
        mix: float = 0.0,
    ) -> None:
        check_integer("num_particles", num_particles, 1, MAX_PARTICLES)
        check_number("alpha", alpha, least=0)
        check_flag("path_only", path_only)
        _check_groups("groups", groups, num_particles)
        if guide_groups is not None:
            _check_groups("guide_groups", guide_groups, num_particles)
        check_number("mix", mix, least=0)
        if mix > 1:
            refuse("mix", mix, "a number from 0 to 1")
        _check_effect(alpha, groups, guide_groups, mix)

        super().__init__(num_particles=num_particles, vectorize_particles=True)
        self.alpha, self.path_only = alpha, path_only
        self.groups, self.guide_groups = groups, groups if guide_groups is None else guide_groups
        self.mix = mix

    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Any:
        """Minus the bound (the model's), summed over the minibatch."""
        with torch.no_grad():
            return torch_item(-self._bound(self._weigh(model, guide, args, kwargs)[2]).sum())

    def loss_and_grads(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Any:
        """Minus the bound (the model's), summed over the minibatch; adds the gradients to the
        parameters'.
        """
        model_trace, guide_trace, log_w = self._weigh(model, guide, args, kwargs)
        path = log_w
        if self.path_only:
            _check_paths(guide_trace)
            vectorized = self._vectorized_num_particles(guide)
            path = log_w + score_of(vectorized, guide_trace, args, kwargs, self.num_particles)

        weights = self._weights(log_w.detach(), self.groups)
        if self._one_for_both():
            backward(-(weights * path).sum())
        else:
            mine, theirs = _apart(guide_trace, model_trace)
            own = self._weights(log_w.detach(), self.guide_groups, self.path_only)
            _add_gradients(-(own * path).sum(), mine, retain=True)
            _add_gradients(-(weights * log_w).sum(), theirs)

        return torch_item(-self._bound(log_w.detach()).sum())

    def _one_for_both(self) -> bool:
        """Whether the weights of model and guide are the same ones."""
        is_elbo = self.alpha == 1 or self.mix == 1 or self.groups == self.num_particles
        return self.guide_groups == self.groups and (is_elbo or not self.path_only)

    def _weights(self, log_w: Tensor, groups: int, by_path: bool = False) -> Tensor:
        """What the gradient of each log-weight counts, `(S, B)`; `by_path` without the score."""
        power = 1 - self.alpha
        share = torch.softmax(power * log_w.unflatten(0, (groups, -1)), 1)
        if by_path:
            share = share * (self.alpha + power * share)
        return self.mix / len(log_w) + (1 - self.mix) / groups * share.flatten(0, 1)

    def _bound(self, log_w: Tensor) -> Tensor:
        """The bound that the model follows, `(B,)`."""
        elbo, power = log_w.mean(0), 1 - self.alpha
        if power == 0:
            return elbo

        each = log_w.unflatten(0, (self.groups, -1))
        bounds = (torch.logsumexp(power * each, 1) - math.log(each.shape[1])) / power
        bound = bounds.mean(0)
        if self.mix == 0:  # and not 0 times an ELBO that may be infinite
            return bound
        return self.mix * elbo + (1 - self.mix) * bound

    def _weigh(
        self, model: Program, guide: Program, args: Any, kwargs: Any
    ) -> tuple[Any, Any, Tensor]:
        """The traces, and the log-weights `(S, B)`."""
        ((model_trace, guide_trace),) = self._get_traces(model, guide, args, kwargs)
        check_plates(model_trace, guide_trace)
        log_p = log_density(model_trace, self.num_particles)
        log_q = log_density(guide_trace, self.num_particles)
        return model_trace, guide_trace, log_p - log_q


def _check_groups(name: str, value: int, num_particles: int) -> None:
    check_integer(name, value, 1, num_particles)
    if num_particles % value:
        refuse(name, value, f"a divisor of num_particles, {num_particles}")


def _check_effect(alpha: float, groups: int, guide_groups: int | None, mix: float) -> None:
    """Refuse what would change nothing, since the bound is the ELBO already."""
    if alpha == 1 and mix:
        refuse("mix", mix, "0 with alpha 1, the ELBO")
    if alpha != 1 and mix != 1:
        return

    cause = "alpha" if alpha == 1 else "mix"
    for name, value in (("groups", groups), ("guide_groups", guide_groups or 1)):
        if value != 1:
            refuse(name, value, f"1 with {cause} 1, the ELBO, which has no groups")


def _apart(
    guide_trace: poutine.Trace, model_trace: poutine.Trace
) -> tuple[list[Tensor], list[Tensor]]:
    """The parameters of the guide and those of the model."""
    mine, theirs = _parameters(guide_trace), _parameters(model_trace)
    if {id(p) for p in mine} & {id(p) for p in theirs}:
        raise ValueError(
            "path_only or guide_groups: the model and the guide share parameters, expected each to"
            " have its own"
        )
    return mine, theirs


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
