"""Bidirectional Monte Carlo (BDMC): log p(x) between two bounds, on data that the model has made
itself.

Latents and data drawn together make the latents an exact draw of the posterior, from which chains
can run backwards:

    forward annealing  <=  log p(x)  <=  reverse annealing     (each in expectation)

What lies between them bounds the error of forward annealing *on these data*. It says something of
real data as far as the model finds them alike; whether it does is looked at side by side, in the
ELBO, the rate and the chains' acceptance.

References: Grosse, Ghahramani, Adams (2015); Wu, Burda, Salakhutdinov, Grosse (2017).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vae.arguments import check_progress
from pyro_vae.evidence.annealed import Annealed, check_setting, run
from pyro_vae.evidence.chains import Setting
from pyro_vae.evidence.estimate import standard_error
from pyro_vae.evidence.importance import by_importance
from pyro_vae.evidence.scores import Engine
from pyro_vae.programs.calls import called
from pyro_vae.programs.evaluation import device_of, evaluation
from pyro_vae.programs.inputs import check_like, check_numbers, simulated_rows
from pyro_vae.programs.parts import takes_parts
from pyro_vae.programs.simulation import simulate
from pyro_vae.programs.traces import Program

# difference of two means, in standard deviations over the data, at which data are not called alike
_FAR = 0.5


@dataclass(frozen=True)
class Sandwich:
    """The two bounds on simulated data.

    Attributes:
        x: the data `(N, *shape)`.
        index: the rows `(N,)` that programs got with them.
        forward: lower bounds.
        reverse: upper bounds.
    """

    x: Tensor
    index: Tensor
    forward: Annealed
    reverse: Annealed

    @property
    def gaps(self) -> Tensor:
        """Upper less lower bound of each datum, `(N,)` nats; below 0 by noise alone."""
        return self.reverse.log_px - self.forward.log_px

    @property
    def gap(self) -> float:
        """Mean gap: the most, in expectation, that forward annealing is low on such data."""
        return self.gaps.mean().item()

    @property
    def gap_error(self) -> float:
        """Standard error of `gap` over the data, the chains' noise included."""
        return standard_error(self.gaps)


def sandwich(
    model: Program,
    like: Tensor,
    index: Tensor | None = None,
    *,
    guide: Program | None = None,
    num_data: int = 100,
    num_temperatures: int = 1000,
    num_chains: int = 16,
    num_leapfrog: int = 5,
    seed: int = 0,
    engine: Engine = "auto",
    progress: Callable[[int], None] | None = None,
) -> Sandwich:
    """Simulate data from the model, and bound log p(x) of each from below and from above.

    Args:
        model: Pyro program whose latents are real-valued, with one observed site.
        like: data `(N, *shape)` of the kind that the model scores, whose values do not matter.
        index: rows of the dataset `(N,)` of these; simulated data take turns with them.
        guide: where the path starts; the model's prior unless given. One that answers for any x.
        num_data: how many to simulate.
        num_temperatures, num_chains, num_leapfrog, engine: as of `by_annealing`.
        seed: of the data and the chains.
        progress: called with the number of data done after each block of either direction.

    Raises:
        ValueError: what `by_annealing` and `simulate` raise, or a guide with parameters per datum.

    Example:
        >>> from pyro_vae import LinearGaussian
        >>> model, like = LinearGaussian(5, 2), torch.zeros(1, 5)
        >>> found = sandwich(model, like, num_data=4, num_temperatures=20)
        >>> found.gaps.shape
        torch.Size([4])
    """
    setting = Setting(num_temperatures, num_chains, num_leapfrog)
    check_numbers({"num_data": (num_data, 1)})
    check_setting(setting, seed, engine)
    check_progress(progress)
    check_like(model, like)
    if guide is not None:
        called(guide, "guide")
    if hasattr(guide, "num_rows") or (guide is not None and not takes_parts(guide, like)):
        raise ValueError(
            "guide: got a table with a row per datum, expected a guide that"
            " answers for data it has not seen"
        )
    like = like.to(device_of(model) or like.device)
    like, index = simulated_rows(like, index, torch.arange(num_data, device=like.device))
    with evaluation(model, device=like.device, seed=seed):
        latents, x = simulate(model, like, index)
    forward = run(model, guide, x, index, setting, seed=seed, engine=engine, progress=progress)
    reverse = run(
        model, guide, x, index, setting, exact=latents, seed=seed, engine=engine, progress=progress
    )
    return Sandwich(x, index, forward, reverse)


@dataclass(frozen=True)
class Likeness:
    """Real and simulated data side by side.

    Attributes:
        means: by quantity, its mean on real and on simulated data.
        distances: by quantity, their difference in standard deviations over the data.
    """

    means: dict[str, tuple[float, float]]
    distances: dict[str, float]

    @property
    def alike(self) -> bool:
        """Whether every difference is below half a standard deviation."""
        return all(abs(distance) < _FAR for distance in self.distances.values())

    def __str__(self) -> str:
        told = [
            f"{name} {real:.2f} and {simulated:.2f} ({self.distances[name]:+.2f} sd)"
            for name, (real, simulated) in self.means.items()
        ]
        return f"{'alike' if self.alike else 'not alike'}: real and simulated {', '.join(told)}"


def likeness(
    model: Program,
    guide: Program,
    real: Tensor,
    sandwich: Sandwich,
    annealed: Annealed | None = None,
    *,
    index: Tensor | None = None,
    num_particles: int = 100,
    seed: int = 0,
) -> Likeness:
    """Compare real data with a sandwich's by the guide's ELBO and rate, and by the acceptance of
    the chains.

    Args:
        model, guide: Pyro programs; the guide answers for any x.
        real: data `(N, *shape)`.
        sandwich: of the same model.
        annealed: of the real data, with the sandwich's setting; without it acceptance is left out.
        index: rows of the dataset `(N,)` of the real data.
        num_particles: of each datum for its ELBO and rate.
        seed: of these particles.
    """
    pairs = [
        by_importance(model, guide, x, rows, num_particles=num_particles, seed=seed)
        for x, rows in ((real, index), (sandwich.x, sandwich.index))
    ]
    found = {name: (getattr(pairs[0], name), getattr(pairs[1], name)) for name in ("elbo", "rate")}
    if annealed is not None:
        found["acceptance"] = (annealed.acceptance, sandwich.forward.acceptance)
    means = {name: (a.mean().item(), b.mean().item()) for name, (a, b) in found.items()}
    spread = {
        name: math.sqrt((_variance(a) + _variance(b)) / 2 + 1e-12) for name, (a, b) in found.items()
    }
    return Likeness(means, {name: (a - b) / spread[name] for name, (a, b) in means.items()})


def _variance(values: Tensor) -> float:
    return values.var().item() if len(values) > 1 else 0.0
