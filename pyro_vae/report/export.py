"""What a guide or NUTS says of some data, as ArviZ's container: for its summaries and plots, and
for a netCDF file.

A guide's draws are no draws of the posterior, and the groups tell them apart:

    guide                  draws of q(z | x), in one chain
    guide_stats            for each of them: log_weight = log p(x, z) - log q(z | x), log_guide,
                           log_px_given_z
    posterior              the same draws resampled by their weights, datum by datum: p(z | x) as
                           far as k-hat allows
    weights                for each datum: pareto_k, ess and log_px, which say how far that is
    posterior_predictive   data drawn from p(x | z) at draws of `posterior`, to be set beside
                           `observed_data`

ArviZ's summaries and plots read `posterior`, or the group that they are told
(`arviz.summary(data, group="guide")`). Their effective sample size counts a draw that comes twice
as two; `weights/ess` is the number. There is no group `log_likelihood` on purpose: `arviz.loo` and
`arviz.compare` would take the latent of a datum for a parameter of all data. A datum that is left
out has no such latent, so their figures would mean nothing. `weights/log_px` compares models.

Dimensions are chain, draw, datum, then a site's own, `<site>_dim_0` and so on, as ArviZ would call
them; the same for NUTS, so that a plot can set one beside the other. k-hat of the data is drawn by
`arviz.plot_khat(data["weights"]["pareto_k"])` in ArviZ 0.23 and `arviz.plot_khat(data["weights"])`
in 1.x.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import check_index, check_kind, check_rows, is_integer, refuse
from pyro_vae.data.binarise import draw_seed
from pyro_vae.diagnostics.reference import Reference
from pyro_vae.evidence.weights import ess, log_mean_exp, pareto_k, resampled
from pyro_vae.programs.calls import Program, called
from pyro_vae.programs.evaluation import isolated_noise
from pyro_vae.programs.inputs import caveat_of, check_numbers
from pyro_vae.programs.pair import Pair, opened
from pyro_vae.programs.simulation import predict
from pyro_vae.programs.traces import Particles, guide_sites
from pyro_vae.report.arviz_data import to_arviz

_ROWS = 16_384  # latents scored in one run of the model
_PREDICTED = 100  # most data drawn for each datum
_SAMPLE = ("chain", "draw", "datum")
_DIMS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("log_px_given_z", "log_weight", "log_guide"), _SAMPLE),
    **dict.fromkeys(("pareto_k", "ess", "log_px"), ("datum",)),
}
_TOLD = {
    "guide": "draws of the guide q(z | x), not of the posterior",
    "guide_stats": "log-densities of each draw in the group guide; log_px_given_z is no"
    " log-likelihood for loo or compare: each datum has a latent of its own",
    "posterior": "draws of the guide resampled by their importance weights, datum by datum: draws"
    " of p(z | x) where weights/pareto_k is below 0.7, and else nearer to it than the guide's, no"
    " more",
    "weights": "pareto_k and ess of the guide's importance weights; log_px is a lower bound of"
    " log p(x) in expectation",
    "posterior_predictive": "data drawn from p(x | z) at the first draws of the group posterior",
    "observed_data": "the data that were scored",
}
_CHAINS = {"posterior": "chains of NUTS", "observed_data": "the data that were scored"}


def draws_to_arviz(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor | None = None,
    *,
    num_draws: int = 1000,
    seed: int = 0,
) -> Any:
    """Draw from the guide for each datum, and put the draws, their weights and the data into
    ArviZ's container.

    The groups are `guide` and `posterior`, a variable `(1, S, N, *site)` for each site;
    `guide_stats`, `log_weight`, `log_guide` and `log_px_given_z`, all `(1, S, N)` nats; `weights`,
    `pareto_k`, `ess` and `log_px` `(N,)`, where `log_px` is a lower bound of log p(x) in
    expectation; `observed_data`, the data as `x`; `posterior_predictive`, `x`
    `(1, at most 100, N, *shape)`, left out for a model of several observed sites. Their attributes
    say what they hold.

    Args:
        model, guide: Pyro programs `program(x, index)`.
        x: data `(N, *shape)`, binarised already where the model is of binary data.
        index: rows of the dataset `(N,)`, which name the data in the container; 0..N-1 unless
            given.
        num_draws: S, draws per datum; k-hat needs 25.
        seed: of the draws; the caller's random state is untouched.

    Returns:
        An InferenceData (ArviZ 0.23) or DataTree (1.x); `write_netcdf` writes it.

    Raises:
        ValueError: an argument out of range, data that the model cannot score, programs that do not
            match, or a site called as one of the variables above.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian
        >>> model = LinearGaussian(5, 2)
        >>> data = draws_to_arviz(model, ExactGuide(model), torch.randn(3, 5), num_draws=50)
        >>> dict(data["posterior"]["latent"].sizes)
        {'chain': 1, 'draw': 50, 'datum': 3, 'latent_dim_0': 2}
        >>> data["weights"]["log_px"].shape, data["posterior_predictive"]["x"].shape
        ((3,), (1, 50, 3, 5))
    """
    check_numbers({"num_draws": (num_draws, 1), "seed": (seed, 0)})
    called(guide, "guide")
    with opened(model, guide, x, index, seed=seed) as pair:
        x, index = pair.x, pair.index
        # beside the guide's, which it leaves alone
        noise = torch.Generator().manual_seed(draw_seed(seed, "resampling"))
        places = pair.blocks(max(1, _ROWS // num_draws))
        parts = [_draw(pair.take(rows), num_draws, noise) for rows in places]

    groups: dict[str, dict[str, Tensor]] = {}
    for group, values in parts[0].items():
        groups[group] = {}
        for name in values:
            groups[group][name] = torch.cat([part[group][name] for part in parts], 1)[None]
    log_w = groups["guide_stats"]["log_weight"][0]
    groups["weights"] = {
        "pareto_k": pareto_k(log_w),
        "ess": ess(log_w),
        "log_px": log_mean_exp(log_w),
    }

    caveat = f"; {caveat_of(model)}" if caveat_of(model) else ""
    told = _TOLD | {name: _TOLD[name] + caveat for name in ("guide_stats", "weights")}
    return _container(groups, told, x, index)


def reference_to_arviz(
    reference: Reference,
    x: Tensor,
    index: Tensor | None = None,
    *,
    axes: Mapping[str, int] | None = None,
) -> Any:
    """Put the chains of a reference posterior and its data into ArviZ's container, groups
    `posterior` and `observed_data`.

    Args:
        reference: from `reference_posterior` for the same data.
        x: data `(N, *shape)`.
        index: rows of the dataset `(N,)`, which name the data in the container; 0..N-1 unless
            given.
        axes: which dimension of a site's own shape is the data's, by site name: needed only where
            an inner plate is of size N too. The first of size N unless given.

    Returns:
        An InferenceData (ArviZ 0.23) or DataTree (1.x), `posterior` with variables
        `(C, S, N, *site)`.

    Raises:
        ValueError: other data than the reference's, or a site that is called `x`.

    Example:
        >>> from pyro_vae import LinearGaussian, reference_posterior
        >>> model, x = LinearGaussian(5, 2), torch.randn(3, 5)
        >>> found = reference_posterior(model, x, num_chains=2, num_samples=10, num_warmup=10)
        >>> dict(reference_to_arviz(found, x)["posterior"]["latent"].sizes)
        {'chain': 2, 'draw': 10, 'datum': 3, 'latent_dim_0': 2}
    """
    check_kind("reference", reference, Reference, "a Reference, as reference_posterior returns it")
    check_rows("x", x)
    if index is None:
        index = torch.arange(len(x))
    check_index("index", index, len(x))

    check_axes(axes or {}, reference.draws)
    sites = {}
    for name, draws in reference.draws.items():
        shape = draws.shape[2:]
        fitting = [dim for dim, size in enumerate(shape) if size == len(x)]
        axis = (axes or {}).get(name, fitting[0] if fitting else 0)
        if not 0 <= axis < len(shape) or shape[axis] != len(x):
            raise ValueError(
                f"x, axes: got {len(x)} data, expected those of the reference, of"
                f" site shape {tuple(shape)}"
            )
        sites[name] = draws.movedim(2 + axis, 2)
    return _container({"posterior": sites}, _CHAINS, x, index)


def check_axes(axes: Mapping[str, int], sites: Mapping[str, Tensor]) -> None:
    """Raise a ValueError for what are no dimensions of these sites, by their names."""
    known = isinstance(axes, Mapping) and all(
        name in sites and is_integer(axis) for name, axis in axes.items()
    )
    if not known:
        refuse("axes", axes, f"dimensions by the names of sites, out of {', '.join(sites)}")


def _draw(pair: Pair, num_draws: int, noise: torch.Generator) -> dict[str, dict[str, Tensor]]:
    """The groups of some data, `(S, B, ...)` each, on the CPU; log-densities in float64."""
    plates = {}
    for site in guide_sites(pair.guide, pair.x, pair.index):
        plates[site["name"]] = max(1, site["value"].dim() - site["fn"].event_dim)
    latents, log_guide = pair.sample(num_draws)
    scores = Particles(*pair.score(latents), log_guide)
    scores = Particles(*(part.double().cpu() for part in scores))
    stats = {
        "log_weight": scores.log_weights,
        "log_guide": scores.log_guide,
        "log_px_given_z": scores.log_likelihood,
    }

    device, depth = pair.x.device, pair.depth
    rows = resampled(stats["log_weight"], noise).to(device)
    each = torch.arange(len(pair), device=device)
    sites, chosen, again = {}, {}, {}
    for name, z in latents.items():
        # (S, B, plates, *event), plates of size 1 where the site is in none
        by_datum = z.movedim(depth, 1)
        by_weight = by_datum[rows, each]
        shape = (num_draws, len(pair), *by_datum.shape[2 + depth - plates[name] :])
        sites[name], chosen[name] = by_datum.reshape(shape).cpu(), by_weight.reshape(shape).cpu()
        again[name] = by_weight[:_PREDICTED].movedim(1, depth)

    with isolated_noise(device):
        torch.manual_seed(int(torch.randint(2**62, (), generator=noise)))
        predicted = predict(pair, again)
    found = {"guide": sites, "guide_stats": stats, "posterior": chosen}
    return found if predicted is None else found | {"posterior_predictive": {"x": predicted.cpu()}}


def _container(
    groups: Mapping[str, Mapping[str, Tensor]], told: Mapping[str, str], x: Tensor, index: Tensor
) -> Any:
    """All groups as NumPy arrays; sites `(C, S, N, *site)`, data `(N, *shape)`."""
    sites = groups["posterior"]
    dims = {name: (*_SAMPLE, *_own(name, z, 3)) for name, z in sites.items()}
    ours = {name: _DIMS[name] for group in groups.values() for name in group if name in _DIMS}
    ours |= {
        "x": ("datum", *_own("x", x, 1)),
        "posterior_predictive/x": (*_SAMPLE, *_own("x", x, 1)),
    }

    used = {dim for names in (*dims.values(), *ours.values()) for dim in names}
    taken = sites.keys() & (ours.keys() | used)
    if taken:
        raise ValueError(
            f"model: got sites {sorted(taken)}, expected names that mean"
            " nothing else in the container"
        )

    arrays, attrs = {}, {}
    for name, part in {**groups, "observed_data": {"x": x}}.items():
        arrays[name] = {key: value.detach().cpu().numpy() for key, value in part.items()}
        attrs[name] = {"description": told[name]}
    return to_arviz(arrays, dims | ours, {"datum": index.tolist()}, attrs)


def _own(name: str, values: Tensor, skip: int) -> list[str]:
    return [f"{name}_dim_{number}" for number in range(values.dim() - skip)]
