"""Data that a model makes: from its prior, with the latents that made them, or at given latents."""

from __future__ import annotations

import torch
from pyro import poutine
from torch import Tensor

from pyro_vae.programs.calls import Program, called
from pyro_vae.programs.evaluation import device_of, evaluation
from pyro_vae.programs.inputs import simulated_rows
from pyro_vae.programs.sites import sample_sites
from pyro_vae.programs.traces import Substitute, run_particles


def simulate(
    model: Program, like: Tensor, index: Tensor | None = None, num_data: int | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    """Draw latents from the prior and data from the likelihood: an exact draw from the posterior of
    each of these data.

    Args:
        model: Pyro program with one observed site.
        like: data `(N, *shape)` of the kind that the model scores, whose values do not matter.
        index: rows of the dataset `(N,)`; 0, 1, ... unless given.
        num_data: how many to draw; N unless given, and then `index` is not.

    Returns:
        Latents by site name, each `(..., N, *event)`, and the data `(N, *shape)`.

    Raises:
        ValueError: a model with none or several observed sites, or one whose observations are not
            of the data's size.
    """
    if num_data is not None:
        like = like[torch.arange(num_data, device=like.device) % len(like)]
    program = called(model, "model")
    if index is None:
        index = torch.arange(len(like), device=like.device)

    with poutine.block(), torch.no_grad():
        sites = sample_sites(poutine.trace(poutine.uncondition(program)).get_trace(like, index))

    observed = [s for s in sites if s["infer"].get("was_observed")]
    if len(observed) != 1 or observed[0]["value"].numel() != like.numel():
        names = {s["name"]: tuple(s["value"].shape) for s in observed}
        raise ValueError(
            f"model: got observed sites {names}, expected one with the values"
            f" of x {tuple(like.shape)}"
        )

    latents = {s["name"]: s["value"] for s in sites if s is not observed[0]}
    x = observed[0]["value"].movedim(-1 - observed[0]["fn"].event_dim, 0)  # the data plate first
    return latents, x.reshape(like.shape)


def simulated(
    model: Program, like: Tensor, index: Tensor | None, num_data: int, seed: int
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Latents, data and their numbers, drawn by `simulate` from a model in evaluation state.

    Args:
        like: data of the kind that the model scores; simulated data take turns with their numbers.
        index: of these data; 0, 1, ... unless given.
    """
    like = like.to(device_of(model) or like.device)
    like, index = simulated_rows(like, index, torch.arange(num_data, device=like.device))
    with evaluation(model, device=like.device, seed=seed):
        return *simulate(model, like, index), index


def predict(
    model: Program, latents: dict[str, Tensor], like: Tensor, index: Tensor | None, depth: int
) -> Tensor | None:
    """Draw data from p(x | z) `(S, N, *shape)` at latents `(S, ..., N, *event)`; None for several
    observed sites.

    Args:
        like: data `(N, *shape)` of the kind that the model scores, whose values do not matter.
        depth: as `plate_depth` returns it.
    """
    num_particles = next(iter(latents.values())).shape[0]
    program = Substitute(latents)(poutine.uncondition(model))
    trace = run_particles(program, like, index, num_particles, depth)
    observed = [s for s in sample_sites(trace) if s["infer"].get("was_observed")]
    if len(observed) != 1 or observed[0]["value"].numel() != num_particles * like.numel():
        return None

    # the data plate behind the particles
    drawn = observed[0]["value"].movedim(-1 - observed[0]["fn"].event_dim, 1)
    return drawn.reshape(num_particles, *like.shape)
