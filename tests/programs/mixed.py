"""Programs with discrete latents that are summed out, and what their densities are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

MARK = {"enumerate": "parallel"}
PLACES, SHARES = (-2.0, 0.0, 3.0), (0.2, 0.5, 0.3)
MOVES = ((0.8, 0.1, 0.1), (0.3, 0.6, 0.1), (0.05, 0.05, 0.9))

Model = Callable[..., None]


def plate(x: Tensor) -> Any:
    return pyro.plate("data", len(x), dim=-1)


def clusters(x: Tensor, index: Any = None) -> None:
    """z | k ~ N(mu_k, 1),  x | z ~ N(z, 1/2)."""
    with plate(x):
        k = pyro.sample("k", dist.Categorical(x.new_tensor(SHARES)), infer=MARK)
        z = pyro.sample("z", dist.Normal(x.new_tensor(PLACES)[k], 1.0))
        pyro.sample("obs", dist.Normal(z, 0.5), obs=x[:, 0])


def clusters_exact(x: Tensor) -> Tensor:
    each = dist.Normal(x.new_tensor(PLACES), 1.25**0.5).log_prob(x)
    return torch.logsumexp(x.new_tensor(SHARES).log() + each, -1)


def alone(x: Tensor, index: Any = None) -> None:
    """Nothing but a choice: x | k ~ N(mu_k, 5/4)."""
    with plate(x):
        k = pyro.sample("k", dist.Categorical(x.new_tensor(SHARES)), infer=MARK)
        pyro.sample("obs", dist.Normal(x.new_tensor(PLACES)[k], 1.25**0.5), obs=x[:, 0])


def rows(x: Tensor, index: Any = None) -> None:
    """Two choices of a datum, one of each of its values, and a latent that depends on the first."""
    with plate(x):
        k = pyro.sample("k", dist.Categorical(x.new_tensor(SHARES)), infer=MARK)
        place = x.new_tensor(PLACES)[k]
        z = pyro.sample("z", dist.Normal(place, 1.0))
        up = pyro.sample("up", dist.Bernoulli(torch.sigmoid(place)), infer=MARK)
        with pyro.plate("rows", x.shape[1], dim=-2):
            far = pyro.sample("far", dist.Bernoulli(x.new_tensor(0.3)), infer=MARK)
            pyro.sample("obs", dist.Normal(z + up + 2 * far, 0.5), obs=x.T)


def rows_exact(x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """log p(z) and log p(x, z) `(S, B)`, by hand."""
    priors, joints = [], []
    for share, place in zip(x.new_tensor(SHARES), x.new_tensor(PLACES), strict=True):
        prior = share.log() + dist.Normal(place, 1.0).log_prob(z)
        priors.append(prior)
        for up in x.new_tensor([0.0, 1.0]):
            mean = (z + up)[..., None]
            near = dist.Normal(mean, 0.5).log_prob(x) + x.new_tensor(0.7).log()
            far = dist.Normal(mean + 2, 0.5).log_prob(x) + x.new_tensor(0.3).log()
            likelihood = torch.logaddexp(near, far).sum(-1)
            joints.append(prior + dist.Bernoulli(torch.sigmoid(place)).log_prob(up) + likelihood)
    return torch.logsumexp(torch.stack(priors), 0), torch.logsumexp(torch.stack(joints), 0)


def chain(x: Tensor, index: Any = None) -> None:
    """A hidden Markov model whose means are moved by a latent."""
    places, moves = x.new_tensor(PLACES), x.new_tensor(MOVES)
    with plate(x):
        shift = pyro.sample("shift", dist.Normal(x.new_zeros(()), 1.0))
        state: Any = None
        for step in pyro.markov(range(x.shape[1])):
            shares = x.new_tensor(SHARES) if state is None else moves[state]
            state = pyro.sample(f"state_{step}", dist.Categorical(shares), infer=MARK)
            pyro.sample(f"x_{step}", dist.Normal(places[state] + shift, 0.3), obs=x[:, step])


def chain_exact(x: Tensor, shift: Tensor) -> Tensor:
    """log p(x | shift) `(S, B)` by the forward algorithm."""
    means = x.new_tensor(PLACES) + shift[..., None]
    forward = x.new_tensor(SHARES).log()
    for step in range(x.shape[1]):
        if step:
            moves = x.new_tensor(MOVES).log()
            forward = torch.logsumexp(forward[..., :, None] + moves, -2)
        forward = forward + dist.Normal(means, 0.3).log_prob(x[:, step, None])
    return torch.logsumexp(forward, -1)


def answer(x: Tensor, index: Any = None) -> None:
    """A guide of z."""
    with plate(x):
        pyro.sample("z", dist.Normal(0.8 * x[:, 0], 0.8))


def nothing(x: Tensor, index: Any = None) -> None:
    """A guide where all latents are summed out."""
