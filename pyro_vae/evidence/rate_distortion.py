"""The rate-distortion curve of a frozen decoder, along one annealing run and without an encoder.

At inverse temperature beta the chains are near p_beta(z | x), proportional to p(z) p(x | z)^beta,
the distribution that a perfect encoder for the weight 1 / beta would return. Its distortion D and
rate R, with Z_beta = E_p[p(x | z)^beta], are

    D(beta) = -E[log p(x | z)],    R(beta) = KL(p_beta || p(z)) = -log Z_beta - beta D(beta)

and annealing from the prior has an estimate of log Z_beta at every stage: a lower bound in
expectation, so that R is an upper one at the D that was found. The slope of the curve is
dD / dR = -1 / beta.

References: Huang, Makhzani, Cao, Grosse (2020); Alemi et al. (2018).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vae.arguments import check_integer
from pyro_vae.evidence.annealed import blocks, check_setting
from pyro_vae.evidence.chains import Setting, Stage
from pyro_vae.evidence.scores import Engine
from pyro_vae.evidence.weights import log_mean_exp
from pyro_vae.programs.traces import Program


@dataclass(frozen=True)
class Curve:
    """Points of the curve, from beta near 0 to 1, in nats.

    Attributes:
        beta: inverse temperatures `(G,)`.
        rate, distortion: of each datum, `(G, N)`; at beta = 1, rate + distortion is minus the
            estimate of log p(x).
    """

    beta: Tensor
    rate: Tensor
    distortion: Tensor


def rate_distortion_curve(
    model: Program,
    x: Tensor,
    index: Tensor | None = None,
    *,
    num_points: int = 50,
    num_temperatures: int = 1000,
    num_chains: int = 16,
    num_leapfrog: int = 5,
    seed: int = 0,
    engine: Engine = "auto",
) -> Curve:
    """Trace the rate and the distortion of the best encoder at each weight of the KL term, by
    annealing from the prior.

    Args:
        model: Pyro program whose latents are real-valued.
        x: data `(N, *shape)`.
        index: rows of the dataset `(N,)`.
        num_points: G, of the curve, evenly spread over the temperatures; at most as many as these.
        num_temperatures, num_chains, num_leapfrog, seed, engine: as of `by_annealing`.

    Raises:
        ValueError: what `by_annealing` raises.

    Example:
        >>> from pyro_vae import LinearGaussian
        >>> model, x = LinearGaussian(5, 2), torch.randn(3, 5)
        >>> curve = rate_distortion_curve(model, x, num_points=4, num_temperatures=20)
        >>> curve.rate.shape
        torch.Size([4, 3])
    """
    setting = Setting(num_temperatures, num_chains, num_leapfrog)
    check_setting(setting, seed, engine)
    check_integer("num_points", num_points, 1, num_temperatures)
    chosen = set(torch.linspace(num_temperatures, 0, num_points + 1).round().int().tolist()[:-1])
    found = []
    for block in blocks(model, None, x, index, setting, seed=seed, engine=engine):
        betas, *curves = zip(*_points(block.stages, chosen), strict=True)
        found.append([torch.stack(curve)[:, : block.size].cpu() for curve in curves])
    rate, distortion = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
    return Curve(torch.tensor(betas, dtype=torch.double), rate, distortion)


def _points(stages: Iterator[Stage], chosen: set[int]) -> Iterator[tuple[float, Tensor, Tensor]]:
    """beta, rate and distortion `(B,)` after the chosen temperatures."""
    for number, stage in enumerate(stages, start=1):
        if number in chosen:
            log_likelihood = (stage.point.log_joint - stage.point.log_start).double()
            distortion = -(torch.softmax(stage.log_w, 0) * log_likelihood).sum(0)
            yield stage.beta, -log_mean_exp(stage.log_w) - stage.beta * distortion, distortion
