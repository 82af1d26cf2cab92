"""What programs are refused for, at the sites of a run: what has no density, and what has no
counterpart.
"""

from __future__ import annotations

from typing import Any

from pyro.poutine.guide import GuideMessenger
from torch import Tensor

from pyro_vae.programs.calls import Program
from pyro_vae.programs.sites import is_discrete, is_point


def refuse_no_density(guide: Program, sites: list[Any]) -> None:
    """Raise a ValueError for a guide whose sites, of one run, are points, or observed ones."""
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


def check_names(sites: list[Any], latents: dict[str, Tensor]) -> None:
    """Raise a ValueError where a model has other latents than those that were given."""
    unobserved = {site["name"] for site in sites if not site["is_observed"]}
    summed = any(hasattr(site["fn"], "of_states") for site in sites)
    if unobserved == latents.keys() and (latents or summed):
        return

    left = [s for s in sites if s["name"] in unobserved - latents.keys()]
    discrete = [site["name"] for site in left if is_discrete(site)]
    if discrete:
        raise ValueError(
            f"guide: got no latent sites {discrete}, which are discrete in the model: mark them"
            ' infer={"enumerate": "parallel"} there, and they are summed out; or draw them in the'
            " guide"
        )
    if not latents:
        raise ValueError("guide: got no latent site, expected one for each latent of the model")

    points = [site["name"] for site in left if is_point(site["fn"])]
    told = f" ({points} are Delta: pyro.deterministic needs no answer)" if points else ""
    raise ValueError(
        f"guide: got latent sites {sorted(latents)}, expected the model's {sorted(unobserved)}:"
        f" both programs must use the same names{told}"
    )
