"""Data that a model makes: from its prior, with the latents that made them, or at given latents; as
they are drawn, or the means of what is drawn.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_vae.arguments import shown
from pyro_vae.programs.calls import Program, called, in_one_line
from pyro_vae.programs.evaluation import device_of, evaluation
from pyro_vae.programs.inputs import simulated_rows
from pyro_vae.programs.missing import missing_as
from pyro_vae.programs.running import above_choices
from pyro_vae.programs.sites import are_codes, is_point, mean_of, sample_sites
from pyro_vae.programs.traces import Substitute, run_particles
from pyro_vae.programs.tracing import traced


def simulate(
    model: Program,
    like: Tensor,
    index: Tensor | None = None,
    num_data: int | None = None,
    *,
    mean: bool = False,
    under: Messenger | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """Draw latents from the prior and data from the likelihood: an exact draw from the posterior of
    each of these data.

    Args:
        model: Pyro program with one observed site.
        like: data `(N, *shape)` of the kind that the model scores, whose values do not matter.
        index: rows of the dataset `(N,)`; 0, 1, ... unless given.
        num_data: how many to draw; N unless given, and then `index` is not.
        mean: give the data's means at these latents in place of draws.
        under: a handler around the run.

    Returns:
        Latents by site name, each `(..., N, *event)`, and the data `(N, *shape)`.

    Raises:
        ValueError: a model with none or several observed sites, or one whose observations are not
            of the data's size, or have no mean that could be given.
    """
    if num_data is not None:
        like = like[torch.arange(num_data, device=like.device) % len(like)]
    program = called(model, "model")
    if index is None:
        index = torch.arange(len(like), device=like.device)

    with in_one_line(like), poutine.block(), under or nullcontext(), torch.no_grad():
        sites = sample_sites(traced(poutine.uncondition(program), like, index))

    observed = _observed(sites, like.numel())
    if observed is None:
        raise ValueError(_not_one(sites, like))
    latents = {s["name"]: s["value"] for s in sites if s is not observed}
    x, event = _value(observed, mean), observed["fn"].event_dim
    if x.dim() > event:
        x = x.movedim(-1 - event, 0)  # the data plate first; outside of it all data are an event
    return latents, x.reshape(like.shape)


def simulated(
    model: Program, like: Tensor, index: Tensor | None, num_data: int, seed: int
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Latents, data and their numbers, drawn by `simulate` from a model in evaluation state.

    Args:
        like: data of the kind that the model scores; simulated data take turns with their numbers,
            and with what is missing in them (NaN).
        index: of these data; 0, 1, ... unless given.
    """
    like = like.to(device_of(model) or like.device)
    like, index = simulated_rows(like, index, torch.arange(num_data, device=like.device))
    with evaluation(model, device=like.device, seed=seed):
        latents, x = simulate(model, like, index)
    return latents, missing_as(like, x), index


def predict(
    model: Program,
    latents: dict[str, Tensor],
    like: Tensor,
    index: Tensor | None,
    depth: int,
    mean: bool = False,
) -> Tensor | None:
    """Draw data from p(x | z) `(S, N, *shape)` at latents `(S, ..., N, *event)`; None for several
    observed sites.

    Args:
        like: data `(N, *shape)` of the kind that the model scores, whose values do not matter.
        depth: as `plate_depth` returns it.
        mean: give the means in place of draws; a ValueError where there are none.
    """
    num_particles = next(iter(latents.values())).shape[0]
    program = Substitute(latents)(poutine.uncondition(model))
    _refuse_above(model, like, index)
    sites = sample_sites(run_particles(program, like, index, num_particles, depth))
    observed = _observed(sites, num_particles * like.numel())
    return None if observed is None else _by_particle(observed, mean, num_particles, like)


def code_values(model: Program, like: Tensor, index: Tensor | None) -> Tensor:
    """Which values of a datum are codes of categories, bools `(D,)`, at latents of the prior.

    Args:
        like, index: data `(N, *shape)` of the kind that the model scores, and their numbers.
    """
    program = poutine.uncondition(called(model, "model"))
    sites = sample_sites(poutine.trace(program).get_trace(like, index))
    observed, size = _observed(sites, like.numel()), like[0].numel()
    found = torch.as_tensor(False if observed is None else are_codes(observed["fn"]))
    shape = like.shape[1:] if found.dim() <= like.dim() - 1 else (size,)
    return found.to(like.device).expand(shape).reshape(size)


def means_under(
    handler: Messenger,
    model: Program,
    like: Tensor,
    index: Tensor | None,
    num_particles: int,
    depth: int,
) -> Tensor:
    """Means of p(x | z) `(S, N, *shape)` at the latents that a handler gives to the model's sites.

    Args:
        handler: such as a `Substitute`; it is put around the run, its S particles included.
        like, index, depth: as for `predict`.

    Raises:
        ValueError: none or several observed sites, or observations that have no mean.
    """
    _refuse_above(model, like, index)
    program = poutine.uncondition(called(model, "model"))
    sites = sample_sites(run_particles(program, like, index, num_particles, depth, handler))
    observed = _observed(sites, num_particles * like.numel())
    if observed is None:
        raise ValueError(_not_one(sites, like))
    return _by_particle(observed, True, num_particles, like)


def _refuse_above(model: Program, like: Tensor, index: Tensor | None) -> None:
    """Raise a ValueError for a model whose choices cannot be drawn after its latents."""
    few = slice(2)
    names = above_choices(model, like[few], None if index is None else index[few])
    if names:
        raise ValueError(
            f"model: its latents {names} depend on discrete ones that are summed out, and so do its"
            " data, which cannot be drawn at those latents alone: draw the discrete ones in the"
            " guide, or use sample, which draws all from the prior"
        )


def _observed(sites: list[Any], size: int) -> Any:
    """The one site that was observed, with so many values; None where that is not how it is."""
    found = _all_observed(sites)
    return found[0] if len(found) == 1 and found[0]["value"].numel() == size else None


def _value(site: Any, mean: bool) -> Tensor:
    """What a site has drawn, or the mean of it."""
    if not mean:
        return site["value"]
    found = mean_of(site["fn"])
    if found is None:
        raise ValueError(
            f"model: its observations {site['name']!r} have no mean that could be shown:"
            " expected a distribution of numbers that knows its mean (draws of it can be had by"
            " sample(..., kind='draw'))"
        )
    return found.expand(site["value"].shape)


def _by_particle(site: Any, mean: bool, num_particles: int, like: Tensor) -> Tensor:
    # the data plate behind the particles
    found = _value(site, mean).movedim(-1 - site["fn"].event_dim, 1)
    return found.reshape(num_particles, *like.shape)


def _all_observed(sites: list[Any]) -> list[Any]:
    """The sites that were observed, without the points that `poutine.reparam` makes of latents."""
    found = []
    for site in sites:
        inner = getattr(site["fn"], "base_dist", site["fn"])  # reparam masks its points
        if site["infer"].get("was_observed") and not is_point(inner):
            found.append(site)
    return found


def _not_one(sites: list[Any], like: Tensor) -> str:
    """What is to be said of a model that has not one observed site of the size of the data."""
    found = _all_observed(sites)
    factors = [site["name"] for site in found if isinstance(site["fn"], dist.Unit)]
    if factors:
        return (
            f"model: its factors {factors} are weights, of which no data can be drawn, expected one"
            f" observed site with the values of x {tuple(like.shape)} and no factors"
        )
    shapes = {site["name"]: tuple(site["value"].shape) for site in found}
    return (
        f"model: got observed sites {shown(shapes)}, expected one with the values of x"
        f" {tuple(like.shape)}: put all of them into one site"
    )
