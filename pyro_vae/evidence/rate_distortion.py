"""The rate-distortion curve of a frozen decoder, along one annealing run and without an encoder.

At inverse temperature beta the chains are near p_beta(z | x), proportional to
p(z) e^(-beta d(x, z)), the distribution that a perfect encoder for the weight 1 / beta would
return. The distortion d is -log p(x | z), or any other of the data and their means, such as the
squared error. Its mean D and the rate R, with Z_beta = E_p[e^(-beta d(x, z))], are

    D(beta) = E[d(x, z)],    R(beta) = KL(p_beta || p(z)) = -log Z_beta - beta D(beta)

and annealing from the prior has an estimate of log Z_beta at every stage: a lower bound in
expectation, so that R is an upper one at the D that was found. The slope of the curve is
dD / dR = -1 / beta. Nothing ends at beta = 1: towards 0 the latent says nothing of x, and from 1 on
the curve goes where an auto-encoder goes.

References:
    Huang, Makhzani, Cao, Grosse (2020). Evaluating lossy compression rates of deep generative
        models. arXiv:2008.06653.
    Alemi, Poole, Fischer, Dillon, Saurous, Murphy (2018). Fixing a broken ELBO. arXiv:1711.00464.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import (
    check_callable,
    check_integer,
    check_kind,
    check_positive,
    check_progress,
)
from pyro_vae.evidence.annealed import Annealed, blocks, num_blocks
from pyro_vae.evidence.chains import LOGISTIC, Spacing, Stage, geometric
from pyro_vae.evidence.estimate import standard_error
from pyro_vae.evidence.weights import log_mean_exp
from pyro_vae.processes import gathered
from pyro_vae.programs.calls import Program
from pyro_vae.programs.distorted import Distortion, distorted
from pyro_vae.programs.evaluation import seed_noise
from pyro_vae.programs.pair import Pair, opened
from pyro_vae.progress import Progress
from pyro_vae.results import Result, counted, with_error

_SHOWN = 5  # points that are told
_DRAWS = 64  # of the prior, which say how far distortions spread
_DATA = 100  # data, at most, of which they do


@dataclass(frozen=True, repr=False)
class Curve(Result):
    """Points of the curve, from beta near 0 to the largest.

    Attributes:
        beta: inverse temperatures `(G,)`.
        rate: of each datum, `(G, N)` nats.
        distortion: of each datum, `(G, N)`; where it is -log p(x | z), rate + distortion at
            beta = 1 is minus the estimate of log p(x).
        method: how it was annealed.
        unit: of the distortion, nats for -log p(x | z), else the name of its function.
    """

    beta: Tensor
    rate: Tensor
    distortion: Tensor
    method: Annealed
    unit: str = "nats"

    def headline(self) -> str:
        points, data = counted(len(self.beta), "points"), counted(self.rate.shape[1], "data")
        other = "" if self.unit == "nats" else f" (distortion: {self.unit})"
        return f"rate-distortion curve, {points}, means over {data}, nats per datum{other}"

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
            "unit": self.unit,
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
    distortion: Distortion | None = None,
    max_beta: float = 1.0,
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
        distortion: a function of data and their means `(..., D)`, such as `squared_error`, that
            returns one number for each, `(...)`; -log p(x | z) unless given.
        max_beta: where the curve ends. Beyond 1, or with another distortion, temperatures are
            spread geometrically from a knee at one over the distortion's spread under the prior;
            else as those of `log_evidence`.
        num_points: G, of the curve, evenly spread over the temperatures; at most as many as these.
        method: how to anneal; `Annealed(start="prior")` unless given.
        progress: called with the share of the work that is done, from 0 to 1.

    Raises:
        ValueError: what `Annealed` raises, or one that starts from a guide; a distortion that the
            model's observations do not fit.

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
    check_positive("max_beta", max_beta)
    if distortion is not None:
        check_callable("distortion", distortion, "a function of data and means, or None")
    check_progress(progress)
    chosen = set(torch.linspace(most, 0, num_points + 1).round().int().tolist()[:-1])

    own = {}
    with opened(model, None, x, index) as pair:
        if distortion is not None:
            few = pair.few(2)
            pair = replace(pair, model=distorted(model, few.x, few.index, distortion))
        usual = distortion is None and max_beta == 1
        spacing = LOGISTIC if usual else _spacing(pair, max_beta, method.seed)

        for block in blocks(method, pair, progress=progress, spacing=spacing):
            betas, *curves = zip(*_points(block.stages, chosen), strict=True)
            parts = [torch.stack(curve)[:, : block.size].cpu() for curve in curves]
            own[block.number] = betas, *parts
        found = gathered(own, num_blocks(method, pair))

    (betas, *_), *both = zip(*found, strict=True)
    rate, cost = (torch.cat(parts, 1) for parts in both)
    name = "nats" if distortion is None else getattr(distortion, "__name__", "its own unit")
    unit = name.strip("<>").replace("_", " ")
    return Curve(torch.tensor(betas, dtype=torch.double), rate, cost, method, unit)


def _spacing(pair: Pair, most: float, seed: int) -> Spacing:
    """Temperatures whose knee is where the prior's draws begin to be told apart."""
    few = pair.few(_DATA)
    seed_noise(seed, 3)
    log_likelihood = few.score(few.sample(_DRAWS)[0])[1].double()
    spread = log_likelihood.std(0).nan_to_num(0.0, 0.0, 0.0).mean().item()
    return geometric(most, most if spread * most <= 1 else 1 / spread)


def _points(stages: Iterator[Stage], chosen: set[int]) -> Iterator[tuple[float, Tensor, Tensor]]:
    """beta, rate and distortion `(B,)` after the chosen temperatures."""
    for number, stage in enumerate(stages, start=1):
        if number in chosen:
            log_likelihood = (stage.point.log_joint - stage.point.log_start).double()
            distortion = -(torch.softmax(stage.log_w, 0) * log_likelihood).sum(0)
            yield stage.beta, -log_mean_exp(stage.log_w) - stage.beta * distortion, distortion
