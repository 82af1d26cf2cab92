"""The reference posterior of a few data, by the no-U-turn sampler: what a guide's answer is held
against.

NUTS knows nothing of the guide, is exact in the limit, and costs thousands of model gradients per
draw of the chains; so it judges a handful of data, where it can itself be judged: several chains
from draws of the prior, ArviZ's split R-hat and effective sample sizes for every unit, and the
number of divergent transitions. A guide is then compared unit by unit,

    shift = (E_q[z] - E[z | x]) / sd[z | x],    ratio = sd_q[z] / sd[z | x]

A mean-field guide of a correlated posterior has ratios below 1; a shift tells that the guide looks
elsewhere.

References:
    Hoffman, Gelman (2014). The No-U-Turn sampler: adaptively setting path lengths in Hamiltonian
        Monte Carlo. arXiv:1111.4246.
    Vehtari, Gelman, Simpson, Carpenter, Buerkner (2021). Rank-normalization, folding, and
        localization: an improved R-hat for assessing convergence of MCMC. arXiv:1903.08008.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import check_kind, check_progress, refuse
from pyro_vae.diagnostics.chains import posterior_draws
from pyro_vae.diagnostics.convergence import convergence
from pyro_vae.evidence.nuts import Sizes
from pyro_vae.graphs import Engine, check_engine
from pyro_vae.programs.calls import Program, called
from pyro_vae.programs.inputs import check_numbers
from pyro_vae.programs.pair import opened
from pyro_vae.progress import Progress
from pyro_vae.results import Result, counted

_R_HAT = 1.01
_ESS = 100.0  # per chain


@dataclass(frozen=True, repr=False)
class Reference(Result):
    """Draws of the latents of all data, by site name, and what tells whether they can be believed.

    Attributes:
        draws: `(C, S, *site)`, chains, draws, and the site's own shape, such as (N, d).
        r_hat: split R-hat of every unit, `(*site)`; 1 where the chains agree.
        ess: bulk effective sample size of every unit, `(*site)`, all chains together.
        num_divergent: divergent transitions after the warm-up.
        seconds: wall clock.
    """

    draws: dict[str, Tensor]
    r_hat: dict[str, Tensor]
    ess: dict[str, Tensor]
    num_divergent: int
    seconds: float

    @property
    def num_chains(self) -> int:
        """C."""
        return len(next(iter(self.draws.values())))

    @property
    def converged(self) -> bool:
        """Whether each R-hat is below 1.01, each ESS above 100 a chain, no transition divergent."""
        close = all((value < _R_HAT).all() for value in self.r_hat.values())
        enough = all((value > _ESS * self.num_chains).all() for value in self.ess.values())
        return bool(close and enough and not self.num_divergent)

    @property
    def verdict(self) -> str:
        """Whether the draws can be believed, in a sentence."""
        worst, least = _joined(self.r_hat).max(), _joined(self.ess).min()
        told = f"R-hat at most {worst:.3f}, ESS at least {least:,.0f}"
        state = "the chains have converged" if self.converged else "the chains have NOT converged"
        return f"{state}: {told}, {self.num_divergent} divergent transitions"

    def headline(self) -> str:
        chains, kept = next(iter(self.draws.values())).shape[:2]
        return f"reference posterior by NUTS, {counted(chains, 'chains')} of {kept:,} draws"

    def figures(self) -> Iterator[tuple[str, str]]:
        for name, draws in self.draws.items():
            told = f"shape {tuple(draws.shape[2:])}, R-hat at most {self.r_hat[name].max():.3f}"
            yield name, f"{told}, ESS at least {self.ess[name].min():,.0f}"
        yield "cost", f"{self.seconds:.1f} s"
        yield "verdict", self.verdict

    def summary(self) -> dict[str, Any]:
        """The worst R-hat and ESS, the divergent transitions, and whether the chains converged."""
        return {
            "r_hat": _joined(self.r_hat).max().item(),
            "ess": _joined(self.ess).min().item(),
            "num_divergent": self.num_divergent,
            "converged": self.converged,
            "seconds": self.seconds,
        }

    def columns(self) -> dict[str, Any]:
        """A row for each unit of each site: its moments and its health."""
        moments = {name: self.moments(name) for name in self.draws}
        parts = {
            "mean": {name: mean for name, (mean, _) in moments.items()},
            "sd": {name: sd for name, (_, sd) in moments.items()},
        }
        return _by_unit(parts | {"r_hat": self.r_hat, "ess": self.ess})

    def moments(self, name: str) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of every unit of a site, `(*site)`."""
        if name not in self.draws:
            refuse("name", name, f"one of {', '.join(self.draws)}")
        draws = self.draws[name].flatten(0, 1).double()
        return draws.mean(0), draws.std(0)


@dataclass(frozen=True, repr=False)
class Agreement(Result):
    """A guide against a reference posterior, by site name; every value `(*site)`.

    Attributes:
        shift: difference of the means in standard deviations of the posterior.
        shift_error: Monte Carlo standard error of it, by the chains' ESS and the guide's draws.
        ratio: the guide's standard deviation over the posterior's.
    """

    shift: dict[str, Tensor]
    shift_error: dict[str, Tensor]
    ratio: dict[str, Tensor]

    @property
    def mean_shift(self) -> float:
        """Root mean square of the shifts of all units."""
        return _joined(self.shift).square().mean().sqrt().item()

    @property
    def mean_ratio(self) -> float:
        """Geometric mean of the ratios of all units."""
        return _joined(self.ratio).log().mean().exp().item()

    @property
    def verdict(self) -> str:
        """How far the guide is from the reference, in a sentence."""
        means, sds = f"{self.mean_shift:.2f}", f"{self.mean_ratio:.2f}"
        return f"means off by {means} and standard deviations {sds} of the posterior's"

    def headline(self) -> str:
        units = counted(len(_joined(self.shift)), "units")
        return f"a guide against a reference posterior, {units}"

    def figures(self) -> Iterator[tuple[str, str]]:
        for name, shift in self.shift.items():
            error, ratio = self.shift_error[name], self.ratio[name]
            off = f"shift at most {shift.abs().max():.2f} (error {error.mean():.2f})"
            yield name, f"{off}, ratio {ratio.min():.2f} to {ratio.max():.2f}"
        yield "verdict", self.verdict

    def summary(self) -> dict[str, Any]:
        """Mean shift and mean ratio, and the number of units."""
        found = {"mean_shift": self.mean_shift, "mean_ratio": self.mean_ratio}
        return found | {"num_units": len(_joined(self.shift))}

    def columns(self) -> dict[str, Any]:
        """A row for each unit of each site."""
        parts = {"shift": self.shift, "shift_error": self.shift_error, "ratio": self.ratio}
        return _by_unit(parts)


def _joined(values: dict[str, Tensor]) -> Tensor:
    """All units of all sites in a row."""
    return torch.cat([value.flatten() for value in values.values()])


def _by_unit(parts: dict[str, dict[str, Tensor]]) -> dict[str, Any]:
    """Columns with a row for each unit of each site, of quantities by site."""
    first = next(iter(parts.values()))
    sites = [name for name, value in first.items() for _ in range(value.numel())]
    units = [unit for value in first.values() for unit in range(value.numel())]
    found: dict[str, Any] = {"site": sites, "unit": units}
    return found | {name: _joined(values) for name, values in parts.items()}


def reference_posterior(
    model: Program,
    x: Tensor,
    index: Tensor | None = None,
    *,
    num_chains: int = 4,
    num_samples: int = 500,
    num_warmup: int = 500,
    seed: int = 0,
    engine: Engine = "auto",
    progress: Progress | None = None,
) -> Reference:
    """Sample the posterior of all latents of the data in chains that start from the prior.

    All chains of all data move at once, each with a step size, scales and trees of its own. Where
    latents are not each datum's own, or the model cannot run many chains at once, Pyro's NUTS
    samples all latents as one vector, one chain after another; so it does with the engine "pyro".

    Args:
        model: Pyro program whose latents are continuous; its parameters are held.
        x: data `(N, *shape)`, few of them.
        index: rows of the dataset `(N,)`; 0..N-1 unless given.
        num_chains: C, at least 2, since R-hat compares them.
        num_samples: S, draws kept of each chain.
        num_warmup: transitions before them, in which the step size and the mass matrix adapt.
        seed: of the chains; the caller's random state is untouched.
        engine: "compiled" runs the model's graph, "pyro" Pyro's own NUTS, "auto" the graph where
            that pays and the model as it is elsewhere.
        progress: called with the share of the transitions that are done, from 0 to 1.

    Raises:
        ValueError: numbers out of range, data that the model cannot score, a model whose posterior
            NUTS cannot sample.

    Example:
        >>> from pyro_vae import LinearGaussian
        >>> model, x = LinearGaussian(5, 2), torch.randn(3, 5)
        >>> found = reference_posterior(model, x, num_samples=10, num_warmup=10)
        >>> found.draws["latent"].shape
        torch.Size([4, 10, 3, 2])
    """
    least = {"num_chains": (num_chains, 2), "num_samples": (num_samples, 4)}
    check_numbers(least | {"num_warmup": (num_warmup, 1), "seed": (seed, 0)})
    check_progress(progress)

    check_engine(engine)
    started = time.monotonic()
    with opened(model, None, x, index, seed=seed, check=False) as pair:
        sizes = Sizes(num_chains, num_samples, num_warmup)
        draws, divergent = posterior_draws(pair, sizes, engine, progress)

    found = convergence({name: value.double().cpu().numpy() for name, value in draws.items()})
    r_hat, ess = ({name: torch.as_tensor(value) for name, value in part.items()} for part in found)
    return Reference(draws, r_hat, ess, divergent, time.monotonic() - started)


def agreement(
    guide: Program,
    reference: Reference,
    x: Tensor,
    index: Tensor | None = None,
    *,
    num_draws: int = 4000,
    seed: int = 0,
) -> Agreement:
    """Compare a guide's means and standard deviations with a reference posterior of the same data.

    Args:
        guide: Pyro program with the reference's sites.
        reference: from `reference_posterior` for the same `x` and `index`.
        x: data `(N, *shape)`.
        index: rows of the dataset `(N,)`, for guides with parameters of each.
        num_draws: of the guide, from which its moments are estimated.
        seed: of these draws.

    Raises:
        ValueError: other sites or data than the reference's.
    """
    check_numbers({"num_draws": (num_draws, 2), "seed": (seed, 0)})
    called(guide, "guide")
    check_kind("reference", reference, Reference, "a Reference, as reference_posterior returns it")
    with opened(guide, guide, x, index, seed=seed, check=False) as pair:
        latents, _ = pair.sample(num_draws)
    if latents.keys() != reference.draws.keys():
        raise ValueError(
            f"guide: got sites {sorted(latents)}, expected the reference's"
            f" {sorted(reference.draws)}"
        )

    found = Agreement({}, {}, {})
    for name, values in latents.items():
        mean, std = reference.moments(name)
        if values.shape[-mean.dim() :] != mean.shape:
            raise ValueError(
                f"guide, x: got {len(x)} data and values of shape {tuple(values.shape[1:])} at"
                f" {name!r}, expected the reference's {tuple(mean.shape)}"
            )

        mine = values.reshape(num_draws, *mean.shape).double()
        found.shift[name] = (mine.mean(0) - mean) / std
        found.ratio[name] = mine.std(0) / std
        noise = 1 / reference.ess[name].to(mean) + found.ratio[name] ** 2 / num_draws
        found.shift_error[name] = noise.sqrt()
    return found
