"""The ELBO with free nats, and the rate of each unit."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer import Trace_ELBO
from pyro.infer.util import torch_item
from torch import Tensor
from torch.distributions import Independent, kl_divergence

from pyro_vae.arguments import check_number
from pyro_vae.objectives.densities import backward, is_one, latents, log_density
from pyro_vae.processes import part, summed_
from pyro_vae.programs.sites import shares_density
from pyro_vae.programs.traces import Program


class FreeBits(Trace_ELBO):
    """The ELBO with free nats: units whose mean rate over the minibatch is below `nats` are not
    pressed any further.

        loss = distortion + beta sum_u max(nats, rate_u)

    with rate_u the mean over the minibatch of KL(q_u || p_u). u runs over the units of a latent
    where both prior and guide are independent over them, and else over whole latents. The loss is
    not minus the ELBO: it is larger where the rate of a unit is below `nats`.

    Args:
        nats: free nats per unit.

    References:
        Kingma, Salimans, Jozefowicz, Chen, Sutskever, Welling (2016). Improving variational
            inference with inverse autoregressive flow. arXiv:1606.04934.
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
        backward(loss)
        return torch_item(loss)

    def _loss(self, model: Program, guide: Program, args: Any, kwargs: Any) -> Tensor:
        ((model_trace, guide_trace),) = self._get_traces(model, guide, args, kwargs)
        priors = {site["name"]: site for site in latents(model_trace)}
        observed = log_density(model_trace, 1, skip=priors.keys())[0]

        loss = -observed.sum()
        for name, site in priors.items():
            rate = unit_rates(guide_trace.nodes[name], site)  # (B, units)
            pressed = self._pressed(rate)
            loss = loss + (pressed if is_one(site["scale"]) else _weight(site) * pressed)

        return loss

    def _pressed(self, rate: Tensor) -> Tensor:
        """The sum over units, and over the data `(B, units)`, of the mean rate or the free nats."""
        own = part()
        if own is None:
            return len(rate) * rate.mean(0).clamp(min=self.nats).sum()

        # of a minibatch that is dealt out to processes the mean is over all of it
        mine = rate.detach().sum(0) if own.counts else torch.zeros_like(rate[0])
        above = summed_(mine) / own.whole > self.nats
        return len(rate) * torch.where(above, rate.mean(0), self.nats).sum()

    def unpressed(self) -> FreeBits:
        """The loss without free nats, which is a sum over the data."""
        other = copy.copy(self)
        other.nats = -math.inf
        return other


def unit_rates(mine: Any, prior: Any) -> Tensor:
    """KL of each unit `(B, units)` where both sites are independent over units; else log q - log p
    at the draw, `(B, 1)`.

    The rates are never scaled: weighting a latent is left to the objective.
    """
    q, p = mine["fn"], prior["fn"]
    if shares_density(mine):
        raise ValueError(
            f"guide: its site {mine['name']!r} is drawn together with others, and has no rate of"
            " its own; expected sites that are independent of each other, or another loss"
        )
    if isinstance(q, Independent) and isinstance(p, Independent) and q.event_shape == p.event_shape:
        try:
            kl = kl_divergence(q.base_dist, p.base_dist)
            batch = kl.shape[: kl.dim() - len(q.event_shape)]
            units = kl.reshape(*batch, -1).movedim(-1, 0)  # (units, ..., B)
            return _masked(units, mine).flatten(1).T
        except NotImplementedError:
            pass

    log_q = _masked(mine["unscaled_log_prob"], mine)
    log_p = _masked(prior["unscaled_log_prob"], prior)
    return (log_q - log_p).reshape(-1, 1)


def _weight(site: Any) -> Any:
    """The KL weight of a latent, one for all data."""
    scale = site["scale"]
    if isinstance(scale, Tensor) and scale.numel() > 1:
        raise ValueError(
            f"loss: the site {site['name']!r} is scaled by {tuple(scale.shape)} numbers,"
            " expected one for all data"
        )
    return scale


def _masked(values: Tensor, site: Any) -> Tensor:
    return scale_and_mask(values, mask=site["mask"])
