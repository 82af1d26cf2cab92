"""Is a guide right under its own model? Simulation-based calibration, expected coverage, and a
verdict.

Latents and data drawn together, (z*, x) ~ p(z, x), make z* an exact draw from the posterior of x.
So if q(z | x) is that posterior, z* is one more of its draws, and for any quantity f the rank of
the truth is uniform:

    r = #{l : f(z_l, x) < f(z*, x)},  z_1, ..., z_L ~ q(. | x)   =>   r ~ Uniform{0, ..., L}

with ties broken at random. f is each latent unit, log p(x, z), log p(x | z) and log q(z | x). A
guide that returns the prior passes the units and fails the likelihood; the ranks of log q tell how
often its highest-density regions hold the truth. The ECDF of the ranks of each quantity is held to
a simultaneous band (`uniformity.py`). All of this is about data of the *model*: a guide that passes
may be wrong on real data that the model would not draw.

References:
    Talts, Betancourt, Simpson, Vehtari, Gelman (2018). Validating Bayesian inference algorithms
        with simulation-based calibration. arXiv:1804.06788.
    Modrak, Moon, Kim, Buerkner, Huurre, Faltejskova, Gelman, Vehtari (2023). Simulation-based
        calibration checking for Bayesian computation: the choice of test quantities shapes
        sensitivity. arXiv:2211.02383.
    Hermans, Delaunoy, Rozet, Wehenkel, Begy, Louppe (2022). A trust crisis in simulation-based
        inference? Your posterior approximations can be unfaithful. arXiv:2110.06581.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_vae.arguments import check_level, check_progress
from pyro_vae.diagnostics.ranks import DENSITIES, Calibration
from pyro_vae.programs.calls import Program
from pyro_vae.programs.checks import check_programs
from pyro_vae.programs.evaluation import device_of, evaluation, isolated_noise, seed_noise
from pyro_vae.programs.inputs import check_any_x, check_like, check_numbers, simulated_rows
from pyro_vae.programs.missing import check_missing, missing_as, observing
from pyro_vae.programs.pair import Latents, Pair
from pyro_vae.programs.simulation import simulate
from pyro_vae.programs.traces import num_states
from pyro_vae.progress import Progress, over

_ROWS = 20_000  # latents drawn and scored in one run


def check_calibration(
    model: Program,
    guide: Program,
    like: Tensor,
    index: Tensor | None = None,
    *,
    num_simulations: int = 1000,
    num_draws: int = 99,
    seed: int = 0,
    alpha: float = 0.05,
    progress: Progress | None = None,
) -> Calibration:
    """Rank the truth of simulated data among a guide's draws, unit by unit and by log-density.

    Args:
        model, guide: Pyro programs `program(x, index)`; the guide must answer for any x and know
            its density at any latent.
        like: data `(N, *shape)` of the kind that the model scores, whose values do not matter.
        index: rows of the dataset `(N,)` of these; simulated data take turns with them.
        num_simulations: R, data that are simulated; what deviates by less than about 1 / sqrt(R)
            goes unseen.
        num_draws: L, of the guide for each.
        seed: of both; the caller's random state is untouched.
        alpha: chance of flagging a guide that is right, at most.
        progress: called with the share of the work that is done, from 0 to 1.

    Raises:
        ValueError: numbers out of range, a guide with parameters per datum or auxiliary sites,
            programs that do not match, or a quantity that is not finite.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian
        >>> model, like = LinearGaussian(5, 2), torch.zeros(1, 5)
        >>> check_calibration(model, ExactGuide(model), like, num_simulations=100).verdict
        'calibrated: no deviation of 5 quantities at the 5% level (100 simulations)'
    """
    least = {"num_simulations": (num_simulations, 20), "num_draws": (num_draws, 5)}
    check_numbers(least | {"seed": (seed, 0)})
    check_level("alpha", alpha)
    check_progress(progress)
    check_like(model, like)
    check_any_x(guide, like)
    like = like.to(device_of(model, guide) or like.device)

    counts: list[dict[str, Tensor]] = []
    with evaluation(model, guide, device=like.device):
        two = torch.arange(2, device=like.device)
        states = num_states(model, *simulated_rows(like, index, two))
        size = max(1, _ROWS // (states * (num_draws + 1)))
        places = torch.arange(num_simulations, device=like.device).split(size)
        for number, rows in enumerate(over(places, len(places), progress)):
            seed_noise(seed, number)
            truth, pair = _simulated(model, guide, *simulated_rows(like, index, rows))
            if number == 0:
                check_missing(pair.model, pair.guide, pair.x, pair.index)
                check_programs(pair.model, pair.guide, pair.x, pair.index)
                pair.check_sites()
            values = _quantities(pair, truth, num_draws)
            found = {name: _below_and_equal(name, value).cpu() for name, value in values.items()}
            counts.append(found)

    ties = torch.Generator().manual_seed(seed)
    ranks = {}
    for name in counts[0]:
        below, equal = torch.cat([part[name] for part in counts], -1)
        chance = torch.rand(len(below), generator=ties, dtype=torch.float64)
        ranks[name] = below + (chance * (equal + 1)).long()
    return Calibration(ranks, num_draws, seed, alpha)


def _simulated(model: Program, guide: Program, like: Tensor, index: Tensor) -> tuple[Latents, Pair]:
    """Latents drawn from the prior, and the programs on the data that they made."""
    truth, made = simulate(model, like, index)
    x = missing_as(like, made)
    return truth, Pair(*observing(model, guide, x), x, index)


def _quantities(pair: Pair, truth: Latents, num_draws: int) -> dict[str, Tensor]:
    """Test quantities at the truth and at the guide's draws, in this order, `(1 + L, B)` each.

    Truth and draws are scored in one run of each program, so that rounding treats them alike. A
    guide may be noisy beyond its sites, as the steps of a semi-amortized one are. It must be the
    same q in both of its runs: they begin with the same noise.
    """
    depth = pair.depth
    with isolated_noise(pair.x.device):
        draws, _ = pair.sample(num_draws)
    latents = {name: _joined(truth[name], draw) for name, draw in draws.items()}
    log_guide = pair.log_guide(latents)
    log_prior, log_likelihood = pair.score(latents)

    values: dict[str, Tensor] = {}
    for name, latent in latents.items():
        units = latent.movedim(depth, 1).reshape(1 + num_draws, len(pair), -1)  # (1 + L, B, units)
        values |= {f"{name}[{number}]": unit for number, unit in enumerate(units.unbind(-1))}
    densities = (log_prior + log_likelihood, log_likelihood, log_guide)
    return values | dict(zip(DENSITIES, densities, strict=True))


def _joined(truth: Tensor, draws: Tensor) -> Tensor:
    """The truth `(..., B, *event)` before the draws `(L, ..., B, *event)`."""
    truth = truth.reshape((1,) * (draws.dim() - truth.dim()) + truth.shape)
    return torch.cat([truth.to(draws.dtype), draws])


def _below_and_equal(name: str, values: Tensor) -> Tensor:
    """How many draws lie below the truth, and how many tie, `(2, B)`, of values `(1 + L, B)`."""
    finite = torch.isfinite(values)
    if not finite.all():
        raise ValueError(
            f"{name}: got {int((~finite).sum())} of {values.numel()} values that are not"
            " finite, expected latents of the guide within the model's support, and"
            " densities that do not overflow"
        )
    return torch.stack([(values[1:] < values[0]).sum(0), (values[1:] == values[0]).sum(0)])
