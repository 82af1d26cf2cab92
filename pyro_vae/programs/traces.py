"""Log-densities of Pyro programs, per particle and per datum.

A model and a guide are run with S particles (`running.py`). Whatever their sites are called, each
site's log-density is then of shape (S, ..., B), and summed to (S, B):

    log_weights = log p(x, z_s) - log q(z_s | x),   never scaled, never summed over the data.

Their exponential has mean p(x) exactly, so the log of their average is a lower bound of log p(x) in
expectation. Scales (`poutine.scale`, subsampling) are left out on purpose: they belong to an
objective, not to a density.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from pyro.poutine.guide import GuideMessenger
from torch import Tensor

from pyro_vae.arguments import MAX_PARTICLES, check_index, check_integer, check_rows
from pyro_vae.programs.calls import Program as Program
from pyro_vae.programs.calls import called, in_one_line
from pyro_vae.programs.parts import default_index
from pyro_vae.programs.running import Substitute as Substitute
from pyro_vae.programs.running import constrained as constrained
from pyro_vae.programs.running import guide_sites as guide_sites
from pyro_vae.programs.running import in_data_plate
from pyro_vae.programs.running import latent_sites as latent_sites
from pyro_vae.programs.running import paired_sites as paired_sites
from pyro_vae.programs.running import plate_depth as plate_depth
from pyro_vae.programs.running import prior as prior
from pyro_vae.programs.running import run_both as run_both
from pyro_vae.programs.running import run_particles as run_particles
from pyro_vae.programs.sites import check_value_shape, is_point, log_density, sample_sites


class Particles(NamedTuple):
    """Log-densities of S particles of each datum, `(S, B)` nats each."""

    log_prior: Tensor
    log_likelihood: Tensor
    log_guide: Tensor

    @property
    def log_weights(self) -> Tensor:
        """log p(x, z) - log q(z | x), `(S, B)`."""
        return self.log_prior + self.log_likelihood - self.log_guide


def particles(
    model: Program, guide: Program, x: Tensor, index: Tensor | None = None, num_particles: int = 1
) -> Particles:
    """Draw `num_particles` latents per datum from the guide and score them, in one vectorised run
    of each program.

    Args:
        model, guide: Pyro programs `program(x, index)`.
        x: data `(B, *shape)`.
        index: rows of the dataset `(B,)`; 0..B-1 unless given (a table's own numbers, of a guide
            that has one for B data).
        num_particles: S.

    Returns:
        Log-densities `(S, B)` in nats, differentiable where the programs are.

    Raises:
        ValueError: a site of one program has no counterpart in the other, or lies outside the data
            plate.
    """
    called(model, "model")
    called(guide, "guide")
    check_rows("x", x)
    check_integer("num_particles", num_particles, 1, MAX_PARTICLES)
    if index is not None:
        check_index("index", index, len(x))
    index = default_index(x, guide) if index is None else index

    with in_one_line(x, num_particles):
        return draw_and_score(model, guide, x, index, num_particles)[1]


def draw_and_score(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor | None,
    num_particles: int,
    depth: int | None = None,
) -> tuple[dict[str, Tensor], Particles]:
    """The latents of `particles`, by site name, and their log-densities, of arguments that have
    been looked at; `depth` as `plate_depth` returns it, where it is known.
    """
    depth = plate_depth(model, guide, x, index) if depth is None else depth
    latents, log_guide = sample_guide(guide, x, index, num_particles, depth)
    return latents, Particles(*log_joint(model, latents, x, index, depth), log_guide)


def log_weights(
    model: Program, guide: Program, x: Tensor, index: Tensor | None = None, num_particles: int = 1
) -> Tensor:
    """log p(x, z_s) - log q(z_s | x) for S particles of each datum, `(S, B)` nats; see `particles`.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian
        >>> model = LinearGaussian(5, 2)
        >>> x = torch.randn(3, 5)
        >>> torch.allclose(log_weights(model, ExactGuide(model), x)[0], model.log_px(x), atol=1e-4)
        True
    """
    return particles(model, guide, x, index, num_particles).log_weights


def sample_guide(
    guide: Program, x: Tensor, index: Tensor | None, num_particles: int, depth: int
) -> tuple[dict[str, Tensor], Tensor]:
    """Latents by site name, each `(S, ..., B, *event)`, and log q `(S, B)`; `depth` as
    `plate_depth` returns it.
    """
    trace = run_particles(guide, x, index, num_particles, depth)
    sites = sample_sites(trace)

    # what autoguides make of these is a point
    drawn = [s for s in sites if s["infer"].get("is_auxiliary")] or sites
    refuse_points([s["name"] for s in drawn if is_point(s["fn"])])

    observed = [site["name"] for site in sites if site["is_observed"]]
    if observed:
        hint = ""
        if isinstance(guide, GuideMessenger):
            hint = " (Pyro's AutoMessengers run the model: use AutoNormal)"
        raise ValueError(
            f"guide: got observed sites {observed}, expected a guide to sample latents only{hint}"
        )

    _refuse_noise(sites)
    latents = {s["name"]: s["value"] for s in sites if not s["infer"].get("is_auxiliary")}
    return latents, _total(sites, x, num_particles, depth, drawn=True)[0]


def _refuse_noise(sites: list[Any]) -> None:
    """Raise a ValueError for auxiliary sites of a guide that are more than what its points, as
    those of autoguides, are made of.
    """
    auxiliary = [s for s in sites if s["infer"].get("is_auxiliary")]
    points = [s for s in sites if s not in auxiliary and is_point(s["fn"])]
    if sum(s["value"].numel() for s in auxiliary) > sum(s["value"].numel() for s in points):
        raise ValueError(
            f"guide: its auxiliary sites {[s['name'] for s in auxiliary]} are drawn beside its"
            " latents, and log q(z | x) is an integral over them, expected the model's latents"
            " alone: give the model these sites too, or draw the noise outside of pyro.sample"
        )


def refuse_points(names: list[str]) -> None:
    """Raise a ValueError where the guide's sites of these names are points."""
    if names:
        raise ValueError(
            f"guide: the sites {names} are Delta, a point has no density to weigh: use a"
            " distribution, such as AutoNormal (of an AutoLaplaceApproximation what its"
            " laplace_approximation(x) returns)"
        )


def log_joint(
    model: Program, latents: dict[str, Tensor], x: Tensor, index: Tensor | None, depth: int
) -> tuple[Tensor, Tensor]:
    """log p(z) and log p(x | z), `(S, B)` each, at latents `(S, ..., B, *event)` by site name.

    Both are -inf where a latent is outside of its site's support: what the likelihood makes of such
    a latent is nothing.

    Raises:
        ValueError: latents of other sites than the model's, or of another shape than the model's
            sites have.
    """
    if not latents:
        raise ValueError("guide: got no latent site, expected one for each latent of the model")

    num_particles = next(iter(latents.values())).shape[0]
    sites = sample_sites(run_particles(Substitute(latents)(model), x, index, num_particles, depth))
    unobserved = {s["name"] for s in sites if not s["is_observed"]}
    if unobserved != latents.keys():
        raise ValueError(
            f"guide: got latent sites {sorted(latents)}, expected the model's {sorted(unobserved)}:"
            f" both programs must use the same names{_of_points(sites, latents)}"
        )

    own = [s for s in sites if not s["is_observed"]]
    for site in own:
        check_value_shape(site, num_particles, len(x), depth)
    log_prior, inside = _total(own, x, num_particles, depth)
    log_likelihood, _ = _total([s for s in sites if s["is_observed"]], x, num_particles, depth)

    if inside is None:
        return log_prior, log_likelihood
    return torch.where(inside, log_prior, -math.inf), torch.where(inside, log_likelihood, -math.inf)


def _of_points(sites: list[Any], latents: dict[str, Tensor]) -> str:
    """What helps where the guide lacks sites of the model that are points."""
    own = [s for s in sites if not s["is_observed"] and s["name"] not in latents]
    names = [s["name"] for s in own if is_point(s["fn"])]
    return f" ({names} are Delta: pyro.deterministic needs no answer)" if names else ""


def _total(
    sites: list[Any], x: Tensor, num_particles: int, depth: int, drawn: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Sum of the sites' unscaled log-densities over everything but particles and data, `(S, B)`.

    And whether all their values are in the sites' supports, `(S, B)`; None where they must be.
    """
    dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
    total = x.new_zeros((), dtype=dtype)
    outside = None

    for site in sites:
        if len(x) > 1 and not in_data_plate(site, len(x)):
            raise ValueError(_misplaced(site, len(x)))
        log_prob, inside = log_density(site, drawn)
        total = total + _per_datum(log_prob, depth)
        if inside is not None:
            missed = _per_datum((~inside).to(total.dtype), depth)
            outside = missed if outside is None else outside + missed

    shape = (num_particles, len(x))
    return total.expand(shape), None if outside is None else (outside == 0).expand(shape)


def _misplaced(site: Any, num_data: int) -> str:
    """What is to be said of a site that is not inside the plate of so many data."""
    name, frames = site["name"], site["cond_indep_stack"]
    sizes = [frame.size for frame in frames if frame.vectorized and frame.dim == -1]
    if sizes:
        return (
            f"site {name!r}: inside a plate of size {sizes[0]} at dim -1, expected {num_data}, the"
            " number of data: a guide that was made for the data of its first run, such as"
            " AutoNormal, answers for no others: make a new one"
        )

    if site["infer"].get("is_auxiliary"):
        return (
            f"guide: its site {name!r} is one draw for all {num_data} data, which has no log q(z |"
            " x) of each: use AutoNormal, or Local.of(model, x, FullRank) for units of a datum that"
            " are tied together; or a single datum"
        )
    return (
        f"site {name!r}: not inside a plate of size {num_data} at dim -1, expected every choice of"
        " a datum inside `with pyro.plate('data', x.shape[0], dim=-1)`, or a single datum"
    )


def _per_datum(values: Tensor, depth: int) -> Tensor:
    """Values of a site `(S, ..., B)` summed over the plates between particles and data, counting
    those it is not in.
    """
    middle = (1,) * (depth + 1 - values.dim())
    values = values.reshape(values.shape[:1] + middle + values.shape[1:])
    return values.sum(dim=tuple(range(1, depth))) if depth > 1 else values
