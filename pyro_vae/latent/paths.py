"""Paths between two latents, as functions of t in [0, 1]: straight, or along a great circle.

    linear       z(t) = (1 - t) a + t b
    spherical    the direction turns from a to b at an even speed, the length goes from |a| to |b|

In many dimensions the prior's mass lies in a shell, which the middle of a straight path leaves and
a spherical one does not (White, 2016).

References:
    White (2016). Sampling generative networks. arXiv:1609.04468.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Path = Literal["linear", "spherical"]


def linear(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """The straight path from a to b `(P, d)` at `t` `(S,)`: `(S, P, d)`."""
    t = t[:, None, None]
    return (1 - t) * a + t * b


def spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """The path along a great circle from a to b `(P, d)` at `t` `(S,)`: `(S, P, d)`.

    From or to the zero vector, which has no direction, it is straight, and so it is between two
    opposite numbers. Opposite vectors are joined by one of the shortest ways round: over the axis
    on which a is the smallest.
    """
    if a.shape[-1] == 1:
        return linear(a, b, t)

    sizes = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    u, v = (z / size.clamp(min=1e-30) for z, size in zip((a, b), sizes, strict=True))
    cosine = (u * v).sum(-1, keepdim=True)
    across = v - cosine * u  # of length sin(angle), at right angles to u
    sine = across.norm(dim=-1, keepdim=True)

    opposite = (cosine < 0) & (sine < 1e-6)
    across = torch.where(opposite, _right_angle(u), across / sine.clamp(min=1e-30))
    angle = torch.where(opposite, torch.pi, torch.atan2(sine, cosine))

    turn = t[:, None, None] * angle
    turned = linear(*sizes, t) * (turn.cos() * u + turn.sin() * across)
    straight = (sizes[0] == 0) | (sizes[1] == 0)
    return torch.where(straight, linear(a, b, t), turned)


def _right_angle(u: Tensor) -> Tensor:
    """A unit vector at right angles to each of the unit vectors `(P, d)`, d > 1."""
    axis = torch.nn.functional.one_hot(u.abs().argmin(-1), u.shape[-1]).to(u)
    across = axis - (axis * u).sum(-1, keepdim=True) * u
    return across / across.norm(dim=-1, keepdim=True)
