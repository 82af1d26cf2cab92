"""Runs of programs under poutine: their traces and sites, with particles and without.

A run with particles is inside one more plate, of size S, to the left of all of the program's own.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import nullcontext
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_vae.programs.calls import Program, called, in_one_line
from pyro_vae.programs.enumeration import (
    Alert,
    Summed,
    Unsummed,
    is_marked,
    states_held,
)
from pyro_vae.programs.evaluation import isolated_noise
from pyro_vae.programs.parts import default_index, some
from pyro_vae.programs.sites import is_line, plates_of, sample_sites, support_name
from pyro_vae.programs.tracing import traced

_ROOM = 4  # plates of a model that its guide has not


class Substitute(poutine.messenger.Messenger):
    """Give the latent sites of a model their values, without calling them observed."""

    def __init__(self, values: dict[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.values and not msg["is_observed"]:
            msg["value"] = self.values[msg["name"]]
            msg["done"] = True


def num_states(
    model: Program, x: Tensor, index: Tensor | None = None, known: Collection[str] = ()
) -> int:
    """The joint states of the model's marked choices that a run holds at a time for one particle of
    one datum; 1 without such choices, those that are known apart.
    """
    sites = model_sites(model, x, index)
    if not any(is_marked(site) and site["name"] not in known for site in sites):
        return 1
    values = {s["name"]: s["value"] for s in sites if not s["is_observed"] and not is_marked(s)}
    with isolated_noise(x.device), torch.no_grad(), poutine.block():
        return states_held(Substitute(values)(called(model)), known, x, index, _depth(sites))


def above_choices(
    model: Program, x: Tensor, index: Tensor | None = None, known: Collection[str] = ()
) -> list[str]:
    """The model's latents that depend on its marked choices, where its observations do, too: of
    such latents alone data cannot be drawn. Of choices that are known nothing hangs.
    """
    sites = model_sites(model, x, index)
    chosen = [s["name"] for s in sites if is_marked(s) and s["name"] not in known]
    if not chosen:
        return []
    values = {s["name"]: s["value"] for s in sites if not s["is_observed"]}
    values = {name: value for name, value in values.items() if name not in chosen}
    with isolated_noise(x.device), torch.no_grad(), poutine.block():
        given = Summed(model, known, _depth(sites))
        ran = sample_sites(poutine.trace(Substitute(values)(given)).get_trace(x, index))
    hanging = [site for site in ran if hasattr(site["fn"], "of_states")]
    if not any(site["is_observed"] for site in hanging):
        return []
    return [site["name"] for site in hanging if not site["is_observed"]]


def _depth(sites: list[Any]) -> int:
    """How deep the plates of sites are nested."""
    frames = [frame for site in sites for frame in plates_of(site) if frame.vectorized]
    return max([1, *(-frame.dim for frame in frames)])


class _Own(Messenger):
    """Note at a model's marked choices whose prior they are drawn from."""

    def __init__(self, model: Program) -> None:
        super().__init__()
        self.model = model

    def _pyro_sample(self, msg: Any) -> None:
        if is_marked(msg):
            msg["infer"]["_of_prior"] = self.model


def prior(model: Program) -> Program:
    """The guide that answers with the model's own prior, whatever x is; without its choices that
    are summed out.
    """
    own = poutine.block(
        poutine.uncondition(model),
        hide_fn=lambda site: bool((site["infer"] or {}).get("was_observed")),
    )
    return _Own(model)(own)


def constrained(model: Program, x: Tensor, index: Tensor | None = None) -> dict[str, str]:
    """The supports, by site name, of those latents of the model that are not any real numbers."""
    sites = latent_sites(model, x, index)
    return {site["name"]: support_name(site) for site in sites if not is_line(site)}


def latent_sites(model: Program, x: Tensor, index: Tensor | None = None) -> list[Any]:
    """The latent sites of one run of the model, without those that are summed out."""
    sites = model_sites(model, x, index)
    return [site for site in sites if not site["is_observed"] and not is_marked(site)]


def model_sites(model: Program, x: Tensor, index: Tensor | None = None) -> list[Any]:
    """All sites of one run of the model; noise and parameters are left as they were.

    Args:
        index: 0..N-1 unless given, as everywhere.
    """
    index = default_index(x) if index is None else index
    with in_one_line(x), isolated_noise(x.device), torch.no_grad(), poutine.block():
        return sample_sites(traced(called(model, "model"), x, index))


def plate_depth(model: Program, guide: Program, x: Tensor, index: Tensor | None = None) -> int:
    """Number of plate dimensions that the programs use, found by running them once, on two data
    where these will do.
    """
    rows = torch.arange(len(x), device=x.device) if index is None else index
    few, rows = some(x, rows, 2, guide)  # type: ignore[assignment]

    return _depth(_all_sites(model, guide, few, rows))


def guide_sites(guide: Program, x: Tensor, index: Tensor | None = None) -> list[Any]:
    """The latent sites of one run of the guide, without particles."""
    with poutine.block():
        sites = sample_sites(traced(called(guide, "guide"), x, index))
    return [site for site in sites if not (site["infer"] or {}).get("_of_prior")]


def paired_sites(
    model: Program, guide: Program, x: Tensor, index: Tensor | None = None, scored: bool = True
) -> dict[str, tuple[Any, Any]]:
    """The sites of the guide and of the model, run on the guide's draw, for each latent that is
    chosen anew for each datum.

    Each pair has its log-densities computed, where `scored`.
    """
    with poutine.block():
        guide_trace, model_trace = run_both(model, guide, x, index)
    if scored:
        guide_trace.compute_log_prob()
        model_trace.compute_log_prob()

    theirs = {s["name"]: s for s in sample_sites(model_trace) if not s["is_observed"]}
    pairs = {}
    for site in sample_sites(guide_trace):
        name = site["name"]
        if name in theirs and in_data_plate(site, len(x)):
            pairs[name] = (site, theirs[name])
    return pairs


def in_data_plate(site: Any, num_data: int) -> bool:
    """Whether a site of a trace is inside the plate of so many data."""
    frames = site["cond_indep_stack"]
    return any(f.vectorized and f.dim == -1 and f.size == num_data for f in frames)


def run_particles(
    program: Program,
    x: Tensor,
    index: Tensor | None,
    num_particles: int,
    depth: int,
    under: Messenger | None = None,
) -> poutine.Trace:
    """The trace of one run with S particles; `depth` as `plate_depth` returns it.

    Args:
        under: a handler around the run, its particles included.
    """
    particles = pyro.plate("_particles", num_particles, dim=-1 - depth)
    with poutine.block(), under or nullcontext(), particles:
        return traced(called(program), x, index)


def run_both(
    model: Program, guide: Program, x: Tensor, index: Tensor | None
) -> tuple[poutine.Trace, poutine.Trace]:
    """The traces of one run of the guide, and of the model on its latents, its marked choices
    summed out where the guide has them not.
    """
    theirs, mine = called(model, "model"), called(guide, "guide")
    guide_trace = traced(mine, x, index)
    return guide_trace, run_on(guide_trace, theirs, x, index)


def run_on(
    guide_trace: poutine.Trace, model: Program, x: Tensor, index: Tensor | None
) -> poutine.Trace:
    """The trace of one run of the model on the latents of a guide's; see `run_both`."""
    known = [name for name, site in guide_trace.nodes.items() if site["type"] == "sample"]

    def run(program: Program) -> poutine.Trace:
        return traced(poutine.replay(program, trace=guide_trace), x, index)

    try:
        return run(Alert(known)(model))
    except Unsummed:  # no trial run, which would draw noise: plates that the guide has not get room
        deep = _depth(list(guide_trace.nodes.values())) + _ROOM
        return run(Summed(model, known, deep))


def without_choices(
    model: Program, guide: Program, x: Tensor, index: Tensor | None = None
) -> Program:
    """The model with its marked choices summed out, those that the guide draws apart; the model
    itself where it has no others.
    """
    with isolated_noise(x.device), torch.no_grad():
        known = [site["name"] for site in guide_sites(guide, x, index)]
        return summed(model, x, index, known)


def summed(model: Program, x: Tensor, index: Tensor | None, known: Collection[str]) -> Program:
    """The model with its marked choices summed out, those that are known apart; the model where it
    has no others.
    """
    sites = model_sites(model, x, index)
    if not any(is_marked(site) and site["name"] not in known for site in sites):
        return model
    return Summed(model, known, _depth(sites))


def _all_sites(model: Program, guide: Program, x: Tensor, index: Tensor | None) -> list[Any]:
    """The sites of one run of the guide and of the model on its latents; noise and parameters are
    left as they were.
    """
    with isolated_noise(x.device), torch.no_grad(), poutine.block():
        guide_trace, model_trace = run_both(model, guide, x, index)
    return sample_sites(guide_trace) + sample_sites(model_trace)
