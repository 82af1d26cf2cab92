"""What is minimised: Pyro's ELBOs, programs tempered by beta, and objectives of the particles'
log-weights.

`Trace_ELBO` and `TraceMeanField_ELBO` (analytic KL) are Pyro's own; their loss is minus the ELBO
*summed* over the minibatch. A KL weight beta (Higgins et al., 2017; annealed from 0 to 1 by Bowman
et al., 2016) multiplies the log-densities of all latent sites, in the model and in the guide:

    loss = distortion + beta * rate

With beta other than 1 the loss is no longer minus the ELBO and is never reported under that name.

`Bound` (IWAE, Renyi, sticking the landing, DReG), `ScoreFunction` and `FreeBits` are ELBOs as Pyro
knows them: any of them is the `loss` of `fit`, of `pyro.infer.SVI` and of `CompiledSVI`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.infer import Trace_ELBO
from pyro.infer.util import torch_item
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import Independent, kl_divergence

from pyro_vae.arguments import MAX_PARTICLES, check_flag, check_integer, check_number
from pyro_vae.programs.sites import sample_sites
from pyro_vae.programs.traces import Program


class _ScaleLatents(Messenger):
    def __init__(self, beta: Tensor) -> None:
        super().__init__()
        self.beta = beta

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"]:
            msg["scale"] = msg["scale"] * self.beta


def tempered(program: Program, beta: Tensor) -> Program:
    """The program with all latent log-densities scaled by `beta`, a scalar tensor read at each run:
    change it in place.

    Temper the model and the guide alike; observed sites are untouched.
    """
    return _ScaleLatents(beta)(program)


def warmup(beta: float, progress: float, length: float) -> float:
    """Linear KL warm-up: `beta * progress / length` until `progress` (epochs done) reaches
    `length`, then `beta`.
    """
    return beta if progress >= length else beta * progress / length


class Bound(Trace_ELBO):
    """The Renyi bound of order alpha by S particles, and through it the ELBO and the
    importance-weighted bound:

        L = 1 / (1 - alpha)  log  mean_s  w_s^(1 - alpha),    w_s = p(x, z_s) / q(z_s | x)

    alpha = 1 is the ELBO, alpha = 0 the importance-weighted bound (IWAE); with alpha >= 0 a lower
    bound of log p(x) in expectation. Weights are never scaled: with beta other than 1, or
    subsampling, there is no such bound: a ValueError.

    With `path_only` the gradient in the guide's parameters goes through the draws alone. The score
    of q, which is zero on average for the ELBO, is left out there (sticking the landing); in the
    other bounds it is traded for more path: the path of particle s counts w~_s (alpha + (1 - alpha)
    w~_s), with w~ the normalised weights (doubly reparameterised). The variance falls, to zero
    where q is exact, at the price of a second run of the guide, and a second backward pass unless
    alpha is 1. Every latent of the guide must be reparameterised for it.

    Args:
        num_particles: S.
        alpha: order.
        path_only: see above.

    References: Burda, Grosse, Salakhutdinov (2016); Li, Turner (2016); Roeder, Wu, Duvenaud (2017);
    Tucker, Lawson, Gu, Maddison (2019).
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
            path = log_w + _score(
                self._vectorized_num_particles(guide), guide_trace, args, kwargs, self.num_particles
            )
            counts = weights * (self.alpha + (1 - self.alpha) * weights)
            if self.alpha == 1 or self.num_particles == 1:
                _backward(-(weights * path).sum())
            else:
                mine, theirs = _parameters(guide_trace), _parameters(model_trace)
                if {id(p) for p in mine} & {id(p) for p in theirs}:
                    raise ValueError(
                        "path_only: the model and the guide share parameters,"
                        " expected each to have its own"
                    )
                _add_gradients(-(counts * path).sum(), mine, retain=True)
                _add_gradients(-(weights * log_w).sum(), theirs)
        else:
            _backward(-(weights * log_w).sum())
        return torch_item(-self._bound(log_w.detach()).sum())

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
        _check_plates(model_trace, guide_trace)
        log_w = _log_density(model_trace, self.num_particles) - _log_density(
            guide_trace, self.num_particles
        )
        return model_trace, guide_trace, log_w


class ScoreFunction(Trace_ELBO):
    """The ELBO by S particles with the score-function gradient (REINFORCE) in the guide's
    parameters:

        mean_s  (log w_s - b_s)  d log q(z_s | x)

    with b_s the mean of the other particles' log w, or 0. It needs no reparameterisation, which is
    its use; its variance grows with the number of latents, and the baseline takes away what does
    not depend on z.

    Args:
        num_particles: S; at least 2 with the baseline.
        baseline: whether b_s is subtracted.

    References: Williams (1992); Mnih, Rezende (2016); Kool, van Hoof, Welling (2019).
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
        log_q = _score(guide, drawn, args, kwargs, self.num_particles)
        model_trace = poutine.trace(poutine.replay(model, trace=drawn)).get_trace(*args, **kwargs)
        _check_plates(model_trace, drawn)
        model_trace.compute_log_prob()
        log_p = _log_density(model_trace, self.num_particles)
        log_w = (log_p - log_q).detach()
        gain = log_w
        if self.baseline:
            gain = log_w - (log_w.sum(0) - log_w) / (self.num_particles - 1)
        _backward(-(log_p + gain * log_q).mean(0).sum())
        return torch_item(-log_w.mean(0).sum())


class FreeBits(Trace_ELBO):
    """The ELBO with free nats: units whose mean rate over the minibatch is below `nats` are not
    pressed any further.

        loss = distortion + beta sum_u max(nats, rate_u)

    with rate_u the mean over the minibatch of KL(q_u || p_u). u runs over the units of a latent
    where prior and guide are independent there, and over whole latents else. Not the ELBO: the loss
    is larger where a unit is below.

    Args:
        nats: free nats per unit.

    References: Kingma, Salimans, Jozefowicz, Chen, Sutskever, Welling (2016).
    """

    def __init__(self, nats: float = 0.1) -> None:
        check_number("nats", nats, least=0)
        super().__init__()
        self.nats = nats

    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Any:
        """The loss, summed over the minibatch."""
        with torch.no_grad():
            return torch_item(self._loss(model, guide, args, kwargs))

    def loss_and_grads(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Any:
        """The loss, summed over the minibatch; adds its gradients to the parameters'."""
        loss = self._loss(model, guide, args, kwargs)
        _backward(loss)
        return torch_item(loss)

    def _loss(self, model: Program, guide: Program, args: Any, kwargs: Any) -> Tensor:
        ((model_trace, guide_trace),) = self._get_traces(model, guide, args, kwargs)
        latents = {site["name"]: site for site in _latents(model_trace)}
        observed = _log_density(model_trace, 1, skip=latents.keys())[0]
        loss = -observed.sum()
        for name, site in latents.items():
            rate = unit_rates(guide_trace.nodes[name], site)  # (B, units)
            pressed = len(rate) * rate.mean(0).clamp(min=self.nats).sum()
            loss = loss + (pressed if _is_one(site["scale"]) else _weight(site) * pressed)
        return loss


def _latents(trace: poutine.Trace) -> list[Any]:
    return [site for site in sample_sites(trace) if not site["is_observed"]]


def _is_one(scale: Any) -> bool:
    return isinstance(scale, float) and scale == 1.0


def _weight(site: Any) -> Any:
    """The KL weight of a latent, one for all data."""
    scale = site["scale"]
    if isinstance(scale, Tensor) and scale.numel() > 1:
        raise ValueError(
            f"loss: the site {site['name']!r} is scaled by {tuple(scale.shape)} numbers,"
            " expected one for all data"
        )
    return scale


def unit_rates(mine: Any, prior: Any) -> Tensor:
    """KL of each unit `(B, units)` where both are independent over units; else log q - log p at the
    draw, `(B, 1)`.

    Never scaled: the weight of a latent is the objective's affair.
    """
    q, p = mine["fn"], prior["fn"]
    if isinstance(q, Independent) and isinstance(p, Independent) and q.event_shape == p.event_shape:
        try:
            kl = kl_divergence(q.base_dist, p.base_dist)
            # (units, ..., B)
            units = kl.reshape(*kl.shape[: kl.dim() - len(q.event_shape)], -1).movedim(-1, 0)
            return _masked(units, mine).flatten(1).T
        except NotImplementedError:
            pass
    rate = _masked(mine["unscaled_log_prob"], mine) - _masked(prior["unscaled_log_prob"], prior)
    return rate.reshape(-1, 1)


def _masked(values: Tensor, site: Any) -> Tensor:
    return scale_and_mask(values, mask=site["mask"])


def _log_density(trace: poutine.Trace, num_particles: int, skip: Iterable[str] = ()) -> Tensor:
    """Log-density of all sites that are sampled, `(S, B)`."""
    total: Any = 0.0
    for site in sample_sites(trace):
        if site["name"] in skip:
            continue
        if not _is_one(site["scale"]):
            raise ValueError(
                f"loss: the site {site['name']!r} is scaled, and scaled weights bound nothing: use"
                " beta 1 without warm-up and no subsampling, or Trace_ELBO"
            )
        log_prob = site["log_prob"]
        total = total + log_prob.reshape(num_particles, -1, *log_prob.shape[-1:] or (1,)).sum(1)
    return total


def _check_plates(*traces: poutine.Trace) -> None:
    """Refuse a site that belongs to no one datum: its log-density would count for every datum."""
    found = {}
    for site in (site for trace in traces for site in sample_sites(trace)):
        frames = [
            f
            for f in site["cond_indep_stack"]
            if f.dim == -1 and f.name != "num_particles_vectorized"
        ]
        found[site["name"]] = frames[0].size if frames else None
    sizes = {size for size in found.values() if size is not None}
    if len(sizes) > 1:
        raise ValueError(
            f"loss: the sites are in plates of sizes {found} at dim -1, expected one"
            " of the data; or Trace_ELBO"
        )
    outside = [name for name, size in found.items() if size is None]
    if outside and sizes != {1}:
        raise ValueError(
            f"loss: the sites {outside} are outside the plate of the data at dim -1, and a bound of"
            " each datum would count them once for every datum: use Trace_ELBO, or put them inside"
            " `with pyro.plate('data', len(x), dim=-1)`"
        )


def _score(
    guide: Program, drawn: poutine.Trace, args: Any, kwargs: Any, num_particles: int
) -> Tensor:
    """log q at the draws as constants, `(S, B)`, whose gradient is the score."""
    values = {site["name"]: site["value"].detach() for site in _latents(drawn)}
    trace = poutine.trace(poutine.condition(guide, data=values)).get_trace(*args, **kwargs)
    trace.compute_log_prob()
    return _log_density(trace, num_particles)


def _check_paths(guide_trace: poutine.Trace) -> None:
    blocked = [site["name"] for site in _latents(guide_trace) if not site["fn"].has_rsample]
    if blocked:
        raise ValueError(
            f"path_only: the guide's sites {blocked} are not reparameterised: use"
            " ScoreFunction, or Trace_ELBO"
        )


def _parameters(trace: poutine.Trace) -> list[Tensor]:
    nodes: dict[str, Any] = trace.nodes
    params = [s["value"].unconstrained() for s in nodes.values() if s["type"] == "param"]
    return [p for p in params if p.requires_grad]


def _backward(loss: Tensor) -> None:
    if loss.requires_grad:
        loss.backward()


def _add_gradients(loss: Tensor, params: list[Tensor], retain: bool = False) -> None:
    if not params or not loss.requires_grad:
        return
    gradients = torch.autograd.grad(loss, params, retain_graph=retain, allow_unused=True)
    for p, gradient in zip(params, gradients, strict=True):
        if gradient is not None:
            p.grad = gradient if p.grad is None else p.grad + gradient
