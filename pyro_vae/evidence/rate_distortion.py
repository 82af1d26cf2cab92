"""The rate-distortion curve of a frozen decoder, along one annealing run and without an encoder.

At inverse temperature beta the chains are near p_beta(z | x), proportional to p(z) p(x | z)^beta,
the distribution that a perfect encoder for the weight 1 / beta would return. Its distortion D and
rate R, with Z_beta = E_p[p(x | z)^beta], are

    D(beta) = -E[log p(x | z)],    R(beta) = KL(p_beta || p(z)) = -log Z_beta - beta D(beta)

and annealing from the prior has an estimate of log Z_beta at every stage: a lower bound in
expectation, so that R is an upper one at the D that was found. The slope of the curve is
dD / dR = -1 / beta.

References:
    Huang, Makhzani, Cao, Grosse (2020). Evaluating lossy compression rates of deep generative
        models. arXiv:2008.06653.
    Alemi, Poole, Fischer, Dillon, Saurous, Murphy (2018). Fixing a broken ELBO. arXiv:1711.00464.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import check_integer, check_kind, check_progress
from pyro_vae.evidence.annealed import Annealed, blocks
from pyro_vae.evidence.chains import Stage
from pyro_vae.evidence.estimate import standard_error
from pyro_vae.evidence.weights import log_mean_exp
from pyro_vae.programs.calls import Program
from pyro_vae.programs.pair import opened
from pyro_vae.progress import Progress
from pyro_vae.results import Result, counted, with_error

_SHOWN = 5  # points that are told


@dataclass(frozen=True, repr=False)
class Curve(Result):
    """Points of the curve, from beta near 0 to 1, in nats.

    Attributes:
        beta: inverse temperatures `(G,)`.
        rate, distortion: of each datum, `(G, N)`; at beta = 1, rate + distortion is minus the
            estimate of log p(x).
        method: how it was annealed.
    """

    beta: Tensor
    rate: Tensor
    distortion: Tensor
    method: Annealed

    def headline(self) -> str:
        points, data = counted(len(self.beta), "points"), counted(self.rate.shape[1], "data")
        return f"rate-distortion curve, {points}, means over {data}, nats per datum"

    def figures(self) -> Iterator[tuple[str, str]]:
        places = torch.linspace(0, len(self.beta) - 1, min(_SHOWN, len(self.beta)))
        for place in places.round().int().tolist():
            told = []
            for name, values in (("rate", self.rate), ("distortion", self.distortion)):
                mean, error = values[place].mean().item(), standard_error(values[place])
                told.append(f"{name} {with_error(mean, error)}")
            yield f"beta {self.beta[place]:.3g}", ", ".join(told)
        bound = "at each beta an upper bound of the rate at that distortion, in expectation"
        yield "verdict", bound

    def summary(self) -> dict[str, Any]:
        """beta, mean rate and mean distortion of every point."""
        return {
            "beta": self.beta.tolist(),
            "rate": self.rate.mean(1).tolist(),
            "distortion": self.distortion.mean(1).tolist(),
            "num_data": self.rate.shape[1],
            "seed": self.method.seed,
        }

    def columns(self) -> dict[str, Tensor]:
        """A row for each point: means over the data and their standard errors."""
        found = {"beta": self.beta}
        for name, values in (("rate", self.rate), ("distortion", self.distortion)):
            found[name] = values.mean(1)
            found[f"{name}_error"] = torch.tensor([standard_error(row) for row in values])
        return found


def rate_distortion_curve(
    model: Program,
    x: Tensor,
    index: Tensor | None = None,
    *,
    num_points: int = 50,
    method: Annealed | None = None,
    progress: Progress | None = None,
) -> Curve:
    """Trace the rate and the distortion of the best encoder at each weight of the KL term, by
    annealing from the prior.

    Args:
        model: Pyro program whose latents are continuous.
        x: data `(N, *shape)`.
        index: rows of the dataset `(N,)`.
        num_points: G, of the curve, evenly spread over the temperatures; at most as many as these.
        method: how to anneal; `Annealed(start="prior")` unless given.
        progress: called with the share of the work that is done, from 0 to 1.

    Raises:
        ValueError: what `Annealed` raises, or one that starts from a guide.

    Example:
        >>> from pyro_vae import LinearGaussian
        >>> model, x = LinearGaussian(5, 2), torch.randn(3, 5)
        >>> quick = Annealed(num_temperatures=20, start="prior")
        >>> rate_distortion_curve(model, x, num_points=4, method=quick).rate.shape
        torch.Size([4, 3])
    """
    method = Annealed(start="prior") if method is None else method
    check_kind("method", method, Annealed, "an Annealed, or None")
    if method.uses_guide:
        raise ValueError("method: got one that starts from a guide, expected start='prior'")

    most = method.num_temperatures
    check_integer("num_points", num_points, 1, most)
    check_progress(progress)
    chosen = set(torch.linspace(most, 0, num_points + 1).round().int().tolist()[:-1])

    found = []
    with opened(model, None, x, index) as pair:
        for block in blocks(method, pair, progress=progress):
            betas, *curves = zip(*_points(block.stages, chosen), strict=True)
            found.append([torch.stack(curve)[:, : block.size].cpu() for curve in curves])
    rate, distortion = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
    return Curve(torch.tensor(betas, dtype=torch.double), rate, distortion, method)


def _points(stages: Iterator[Stage], chosen: set[int]) -> Iterator[tuple[float, Tensor, Tensor]]:
    """beta, rate and distortion `(B,)` after the chosen temperatures."""
    for number, stage in enumerate(stages, start=1):
        if number in chosen:
            log_likelihood = (stage.point.log_joint - stage.point.log_start).double()
            distortion = -(torch.softmax(stage.log_w, 0) * log_likelihood).sum(0)
            yield stage.beta, -log_mean_exp(stage.log_w) - stage.beta * distortion, distortion
