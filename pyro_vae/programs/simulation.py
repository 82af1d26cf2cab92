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
from pyro_vae.programs.choosing import mean_over_choices
from pyro_vae.programs.enumeration import is_marked
from pyro_vae.programs.evaluation import device_of, evaluation
from pyro_vae.programs.inputs import simulated_rows
from pyro_vae.programs.missing import missing_as
from pyro_vae.programs.pair import Latents, Pair
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


def predict(pair: Pair, latents: Latents, mean: bool = False) -> Tensor | None:
    """Draw data from p(x | z) `(S, N, *shape)` at latents `(S, ..., N, *event)`; None for several
    observed sites.

    Args:
        pair: the model, and data of the kind that it scores, whose values do not matter.
        latents: a choice that is not among them is drawn from its prior.
        mean: give the means in place of draws; a ValueError where there are none.
    """
    check_latents(latents)
    num_particles = next(iter(latents.values())).shape[0]
    return _predicted(Substitute(latents), pair, num_particles, tuple(latents), mean)


def check_latents(latents: Latents) -> None:
    """Raise a ValueError where there are none, at which data could be had."""
    if not latents:
        raise ValueError(
            "model: got no latents at which data could be drawn, or their means be had, since all"
            " are summed out: use discrete_posterior, impute or sample"
        )


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
    handler: Messenger, pair: Pair, num_particles: int, known: tuple[str, ...] = ()
) -> Tensor:
    """Means of p(x | z) `(S, N, *shape)` at the latents that a handler gives to the model's sites,
    over the choices that are summed out.

    Args:
        handler: such as a `Substitute`; it is put around the run, its S particles included.
        pair: as for `predict`.
        known: names of the latents that it gives.

    Raises:
        ValueError: none or several observed sites, or observations that have no mean.
    """
    found = _predicted(handler, pair, num_particles, known, mean=True)
    if found is None:
        program = poutine.uncondition(called(pair.model, "model"))
        run = run_particles(program, pair.x, pair.index, num_particles, pair.depth, handler)
        raise ValueError(_not_one(sample_sites(run), pair.x))
    return found


def _predicted(
    handler: Messenger, pair: Pair, num_particles: int, known: tuple[str, ...], mean: bool
) -> Tensor | None:
    """Draws or means `(S, N, *shape)` at the latents that a handler gives; None for none or several
    observed sites.
    """
    _refuse_above(pair, known)
    program = poutine.uncondition(called(pair.model, "model"))
    run = run_particles(program, pair.x, pair.index, num_particles, pair.depth, handler)
    sites = sample_sites(run)
    site = _observed(sites, num_particles * pair.x.numel())
    if site is None:
        return None

    found = _value(site, mean)
    if mean and any(is_marked(s) and s["name"] not in known for s in sites):
        found = mean_over_choices(site["name"], handler, pair, num_particles, known)
    found = found.movedim(-1 - site["fn"].event_dim, 1)  # the data plate behind the particles
    return found.reshape(num_particles, *pair.x.shape)


def _refuse_above(pair: Pair, known: tuple[str, ...]) -> None:
    """Raise a ValueError for a model whose choices cannot be drawn after its latents."""
    if pair.states == 1:  # asked once for all parts of the data
        return
    few = slice(2)
    names = above_choices(pair.model, pair.x[few], pair.index[few], known)
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
