"""Where a guide puts each datum, and what that place looks like.

The centre of a guide is its run in which each latent takes the mean of its own distribution, given
those before it: the posterior mean of a Gaussian guide. What has no mean, a flow or a category, is
drawn.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from pyro_vae.programs.moving import Tempered
from pyro_vae.programs.pair import Latents, Pair
from pyro_vae.programs.simulation import check_latents, means_under
from pyro_vae.programs.sites import sample_sites
from pyro_vae.programs.traces import Substitute, run_both, run_particles

Centre = Literal["mean", "draw"]
"""Whether latents are the guide's means, or (one of them at least) a draw of it."""

_ROWS = 4096  # latents of a run


def centres(pair: Pair) -> tuple[Latents, Centre]:
    """The guide's latents of each datum, by site name, `(1, ..., N, *event)`; and what they are."""
    parts: list[Latents] = []
    left: set[str] = set()
    for rows in pair.blocks(_ROWS):
        part, handler = pair.take(rows), Tempered(0.0)
        trace = run_particles(part.guide, part.x, part.index, 1, pair.depth, handler)
        own = [s for s in sample_sites(trace) if not s["infer"].get("is_auxiliary")]
        parts.append({site["name"]: site["value"] for site in own})
        left |= handler.left

    check_latents(parts[0])
    found = {name: torch.cat([part[name] for part in parts], pair.depth) for name in parts[0]}
    return found, "draw" if left else "mean"


def decoded(pair: Pair, latents: Latents) -> Tensor:
    """Means of p(x | z) `(S, N, *shape)` at latents `(S, ..., N, *event)`, on the CPU."""
    number = len(next(iter(latents.values())))
    found = []
    for rows in torch.arange(number).split(max(1, _ROWS // len(pair))):
        handler = Substitute({name: value[rows] for name, value in latents.items()})
        means = means_under(handler, pair, len(rows), tuple(latents))
        found.append(means.cpu())
    return torch.cat(found)


def latent_sites(pair: Pair) -> list[Any]:
    """The model's latent sites on a few data, in its order."""
    few = pair.few(2)
    trace = run_both(few.model, few.guide, few.x, few.index)[1]
    return [site for site in sample_sites(trace) if not site["is_observed"]]


def units_of(value: Tensor, depth: int) -> Tensor:
    """Latents `(S, ..., N, *event)` as `(S, N, units)`."""
    value = value.movedim(depth, 1)
    return value.reshape(*value.shape[:2], -1)


def unit_names(site: str, number: int) -> list[str]:
    """What the units of a site are called: the site, or "site[unit]" where there are several."""
    return [site] if number == 1 else [f"{site}[{unit}]" for unit in range(number)]


def value_columns(x: Tensor, lead: int = 1) -> dict[str, Tensor]:
    """A column for each value of data `(*lead, *shape)`, their first `lead` dimensions in a row."""
    flat = x.flatten(0, lead - 1).reshape(x.shape[:lead].numel(), -1)
    return {f"value_{place}": values for place, values in enumerate(flat.unbind(1))}


def told_of(values: Tensor) -> str:
    """Mean, spread and range of some values."""
    spread = f"mean {values.mean():.3g}, sd {values.std():.3g}" if values.numel() > 1 else ""
    return f"{spread}, from {values.min():.3g} to {values.max():.3g}".removeprefix(", ")
