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
from pyro_vae.diagnostics.simulations import before, of_simulations, ranked
from pyro_vae.programs.calls import Program
from pyro_vae.programs.evaluation import isolated_noise
from pyro_vae.programs.inputs import check_numbers
from pyro_vae.programs.pair import Latents, Pair
from pyro_vae.progress import Progress


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

    asked = False

    def measure(truth: Latents, pair: Pair) -> dict[str, Tensor]:
        nonlocal asked
        if not asked:
            pair.check_sites()
            asked = True
        values = _quantities(pair, truth, num_draws)
        return {name: _below_and_equal(name, value).cpu() for name, value in values.items()}

    sizes = num_simulations, num_draws
    counts = of_simulations(model, guide, like, index, sizes, seed, progress, measure)

    ties = torch.Generator().manual_seed(seed)
    ranks = {}
    for name in counts[0]:
        below, equal = torch.cat([part[name] for part in counts], -1)
        ranks[name] = ranked(below, equal, ties)
    return Calibration(ranks, num_draws, seed, alpha)


def _quantities(pair: Pair, truth: Latents, num_draws: int) -> dict[str, Tensor]:
    """Test quantities at the truth and at the guide's draws, in this order, `(1 + L, B)` each.

    Truth and draws are scored in one run of each program, so that rounding treats them alike. A
    guide may be noisy beyond its sites, as the steps of a semi-amortized one are. It must be the
    same q in both of its runs: they begin with the same noise.
    """
    depth = pair.depth
    with isolated_noise(pair.x.device):
        draws, _ = pair.sample(num_draws)
    latents = {name: before(truth[name], draw) for name, draw in draws.items()}
    log_guide = pair.log_guide(latents)
    log_prior, log_likelihood = pair.score(latents)

    values: dict[str, Tensor] = {}
    for name, latent in latents.items():
        units = latent.movedim(depth, 1).reshape(1 + num_draws, len(pair), -1)  # (1 + L, B, units)
        values |= {f"{name}[{number}]": unit for number, unit in enumerate(units.unbind(-1))}
    densities = (log_prior + log_likelihood, log_likelihood, log_guide)
    return values | dict(zip(DENSITIES, densities, strict=True))


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
