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
from pyro import poutine
from torch import Tensor

from pyro_vae.arguments import MAX_PARTICLES, check_index, check_integer, check_rows
from pyro_vae.programs.calls import Program as Program
from pyro_vae.programs.calls import called, in_one_line
from pyro_vae.programs.enumeration import summing
from pyro_vae.programs.missing import observing
from pyro_vae.programs.parts import default_index
from pyro_vae.programs.refusals import check_names, refuse_no_density
from pyro_vae.programs.refusals import refuse_points as refuse_points
from pyro_vae.programs.running import Substitute as Substitute
from pyro_vae.programs.running import constrained as constrained
from pyro_vae.programs.running import guide_sites as guide_sites
from pyro_vae.programs.running import in_data_plate
from pyro_vae.programs.running import latent_sites as latent_sites
from pyro_vae.programs.running import model_sites as model_sites
from pyro_vae.programs.running import num_states as num_states
from pyro_vae.programs.running import paired_sites as paired_sites
from pyro_vae.programs.running import plate_depth as plate_depth
from pyro_vae.programs.running import prior as prior
from pyro_vae.programs.running import run_both as run_both
from pyro_vae.programs.running import run_particles as run_particles
from pyro_vae.programs.running import without_choices as without_choices
from pyro_vae.programs.sites import (
    check_value_shape,
    log_density,
    sample_sites,
)


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
    model, guide = observing(model, guide, x)

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
    scored = log_joint(model, latents, x, index, depth, num_particles)
    return latents, Particles(*scored, log_guide)


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

    refuse_no_density(guide, sites)
    latents = {s["name"]: s["value"] for s in sites if not s["infer"].get("is_auxiliary")}
    choices = {s["name"]: s["infer"]["_of_prior"] for s in sites if "_of_prior" in s["infer"]}
    if choices:  # of a prior, and summed out of it
        latents = {name: value for name, value in latents.items() if name not in choices}
        model = next(iter(choices.values()))
        return latents, log_joint(model, latents, x, index, depth, num_particles)[0]
    return latents, _total(sites, x, num_particles, depth, drawn=True)[0]


def log_joint(
    model: Program,
    latents: dict[str, Tensor],
    x: Tensor,
    index: Tensor | None,
    depth: int,
    num_particles: int = 1,
) -> tuple[Tensor, Tensor]:
    """log p(z) and log p(x | z), `(S, B)` each, at latents `(S, ..., B, *event)` by site name.

    Both are -inf where a latent is outside of its site's support: what the likelihood makes of such
    a latent is nothing. Discrete latents that are marked to be enumerated, and not given, are
    summed out (`enumeration.py`).

    Args:
        num_particles: S, where no latents are given that would tell.

    Raises:
        ValueError: latents of other sites than the model's, or of another shape than the model's
            sites have.
    """
    if latents:
        num_particles = next(iter(latents.values())).shape[0]

    def run(program: Program) -> poutine.Trace:
        return run_particles(Substitute(latents)(program), x, index, num_particles, depth)

    sites = sample_sites(summing(model, latents, depth, run))
    own = [s for s in sites if not s["is_observed"]]
    check_names(sites, latents)
    for site in own:
        check_value_shape(site, num_particles, len(x), depth)
    log_prior, inside = _total(own, x, num_particles, depth)
    log_likelihood, _ = _total([s for s in sites if s["is_observed"]], x, num_particles, depth)

    if any(hasattr(site["fn"], "of_states") for site in own):  # outside for all states, say
        log_likelihood = torch.where(log_prior == -math.inf, -math.inf, log_likelihood)
    if inside is None:
        return log_prior, log_likelihood
    return torch.where(inside, log_prior, -math.inf), torch.where(inside, log_likelihood, -math.inf)


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
    if not site["is_observed"]:
        return (
            f"site {name!r}: not inside a plate of size {num_data} at dim -1, one draw for all"
            " data, of which none has a log p(x) of its own; expected every choice of a datum"
            " inside `with pyro.plate('data', x.shape[0], dim=-1)`, or the set as one datum:"
            " pv.whole(model), pv.whole(guide) and x[None]"
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
