"""Discrete latents that are summed out, given the others: drawn, or averaged over.

    k ~ p(k | x, z)        and        E[x | z] = sum_k p(k | z) E[x | z, k]

Both are gradients of a sum over states (`sums.py`), whatever the choices depend on: the
probability of a state is that of log p(x, z) in log p(k), and the mean that of

    log sum_k p(k | z) exp(t E[x | z, k])        in t, at t = 0.

Several choices are drawn one after the other, each given those before it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_vae.programs.enumeration import Summed
from pyro_vae.programs.pair import Latents, Pair
from pyro_vae.programs.running import run_particles
from pyro_vae.programs.sums import Tilt
from pyro_vae.programs.traces import log_joint


def with_choices(pair: Pair, latents: Latents, num_particles: int) -> Latents:
    """Latents `(S, ..., B, *event)`, and a draw of p(k | x, z) of each choice of the model that is
    not among them; S tells how many where there are no latents.
    """
    found = dict(latents)
    if pair.states == 1:
        return found
    while True:
        tilts: dict[str, Tilt] = {}
        tilted = Summed(pair.model, tuple(found), pair.depth, tilts)
        with torch.enable_grad():
            log_p = sum(log_joint(tilted, found, pair.x, pair.index, pair.depth, num_particles))
            if not tilts:
                return found
            assert isinstance(log_p, Tensor)
            name, tilt = next(iter(tilts.items()))
            (slope,) = torch.autograd.grad(log_p.sum(), tilt.zeros)
        found[name] = _drawn(tilt, slope, pair.depth)


def _drawn(tilt: Tilt, slope: Tensor, depth: int) -> Tensor:
    """A state of each particle, datum and row, `(S, ..., B, *event)`, by a gradient at the zeros of
    a tilt; any state where no state is possible.
    """
    left = -1 - depth
    others = [d for d in range(-slope.dim(), left) if d != tilt.states]
    slope = slope.sum(others, keepdim=True) if others else slope
    shares = slope.movedim(tilt.states, -1)
    shares = shares.reshape(shares.shape[left - 1 :]).clamp(min=0)  # (S, ..., B, K)
    shares = torch.where((shares.sum(-1, keepdim=True) > 0), shares, 1.0)

    number = torch.multinomial(shares.reshape(-1, shares.shape[-1]), 1)
    return tilt.values[number.reshape(shares.shape[:-1])]


def mean_over_choices(
    name: str, handler: Messenger, pair: Pair, num_particles: int, known: tuple[str, ...]
) -> Tensor:
    """E[x | z] of an observed site, `(S, ..., B, *event)`, at the latents that a handler gives.

    Args:
        name: of the site, whose distributions have means.
        handler: put around the run, its particles included.
        num_particles: S.
        known: names of the choices that the handler gives.
    """
    asked = _Asked(name, num_particles, pair.depth)
    program = Summed(asked(pair.model), known, pair.depth)
    with torch.enable_grad():
        trace = run_particles(program, pair.x, pair.index, num_particles, pair.depth, handler)
        site: Any = trace.nodes[name]
        total = site["fn"].log_prob(site["value"]).sum()
        return torch.autograd.grad(total, asked.zeros)[0]


class _Asked(Messenger):
    """Puts exp(t E[x | z, k]) in the place of an observed site's density; `zeros` are the t."""

    zeros: Tensor

    def __init__(self, name: str, num_particles: int, depth: int) -> None:
        super().__init__()
        self.name, self.num_particles, self.depth = name, num_particles, depth

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] != self.name:
            return
        sizes = {frame.dim: frame.size for frame in msg["cond_indep_stack"] if frame.vectorized}
        plates = [sizes.get(dim, 1) for dim in range(-self.depth, 0)]
        mean = msg["fn"].mean.detach()
        shape = (self.num_particles, *plates, *msg["fn"].event_shape)
        self.zeros = mean.new_zeros(shape, requires_grad=True)
        msg["fn"], msg["mask"] = _Linear(mean, self.zeros, msg["fn"].event_dim), None


class _Linear(TorchDistribution):
    """What has the log-density t E[x], whatever x is."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    knows_support = True

    def __init__(self, mean: Tensor, slopes: Tensor, event_dim: int) -> None:
        self.means, self.slopes = mean, slopes
        shape = torch.broadcast_shapes(mean.shape, slopes.shape)
        size = len(shape) - event_dim
        super().__init__(shape[:size], shape[size:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> _Linear:
        means = self.means.expand(*batch_shape, *self.event_shape)
        return _Linear(means, self.slopes, len(self.event_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        each = self.means * self.slopes
        return each.flatten(len(self.batch_shape)).sum(-1) if self.event_shape else each
