"""Log-densities of a trace for each particle and datum, which the objectives are made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pyro import poutine
from torch import Tensor

from pyro_vae.programs.sites import sample_sites
from pyro_vae.programs.traces import Program


def latents(trace: poutine.Trace) -> list[Any]:
    """The sites of a trace that are sampled and not observed."""
    return [site for site in sample_sites(trace) if not site["is_observed"]]


def is_one(scale: Any) -> bool:
    """Whether a site is not scaled at all."""
    return isinstance(scale, float) and scale == 1.0


def log_density(trace: poutine.Trace, num_particles: int, skip: Iterable[str] = ()) -> Tensor:
    """Log-density of all sites that are sampled, `(S, B)`."""
    total: Any = 0.0
    for site in sample_sites(trace):
        if site["name"] in skip:
            continue
        if not is_one(site["scale"]):
            raise ValueError(
                f"loss: the site {site['name']!r} is scaled, and scaled weights bound nothing: use"
                " beta 1 without warm-up and no subsampling, or Trace_ELBO"
            )

        log_prob = site["log_prob"]
        data = log_prob.shape[-1:] or (1,)
        total = total + log_prob.reshape(num_particles, -1, *data).sum(1)
    return total


def check_plates(*traces: poutine.Trace) -> None:
    """Refuse a site that belongs to no single datum: its log-density would count for each datum."""
    found = {}
    for trace in traces:
        for site in sample_sites(trace):
            found[site["name"]] = _plate_size(site)

    sizes = {size for size in found.values() if size is not None}
    if len(sizes) > 1:
        raise ValueError(
            f"loss: the sites are in plates of sizes {found} at dim -1, expected one"
            " of the data; or Trace_ELBO"
        )

    outside = [name for name, size in found.items() if size is None]
    if outside and sizes != {1}:
        raise ValueError(
            f"loss: the sites {outside} are outside the plate of the data at dim -1, and a bound of"
            " each datum would count them once for every datum: use Trace_ELBO, or put them inside"
            " `with pyro.plate('data', len(x), dim=-1)`"
        )


def _plate_size(site: Any) -> int | None:
    """The size of the plate at dim -1 that a site is in, the particles' plate apart."""
    for frame in site["cond_indep_stack"]:
        if frame.dim == -1 and frame.name != "num_particles_vectorized":
            return frame.size
    return None


def score_of(
    guide: Program, drawn: poutine.Trace, args: Any, kwargs: Any, num_particles: int
) -> Tensor:
    """log q at the draws as constants, `(S, B)`, whose gradient is the score."""
    values = {site["name"]: site["value"].detach() for site in latents(drawn)}
    trace = poutine.trace(poutine.condition(guide, data=values)).get_trace(*args, **kwargs)
    trace.compute_log_prob()
    return log_density(trace, num_particles)


def backward(loss: Tensor) -> None:
    """Add the gradients of a loss, if it depends on any parameter."""
    if loss.requires_grad:
        loss.backward()
