"""What a guide or NUTS says of some data, as ArviZ's container: for its summaries and plots, and for a netCDF file.

A guide's draws are no draws of the posterior. They go in as they are, in one chain, and their weights lie beside them,

    sample_stats/log_weight = log p(x, z) - log q(z | x),      by draw and datum
    weights/pareto_k, ess, log_px,                             by datum: whether these weights can correct the draws

so a summary of `posterior` is one of q; weighted by softmax(log_weight) over the draws it is one of p(z | x), where k-hat
allows. (`arviz.loo` knows nothing of the weights: with a latent for each datum it would be the harmonic mean estimate of
log p(x), and that from draws of q. `weights/log_px` is the number.)

Dimensions are chain, draw, datum, then a site's own, `<site>_dim_0` and so on, as ArviZ would call them; the same for NUTS,
so that a plot can set one beside the other. k-hat of the data is drawn by `arviz.plot_khat(data["weights"]["pareto_k"])`
in ArviZ 0.23 and `arviz.plot_khat(data["weights"])` in 1.x.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arviz_data import to_arviz
from pyro_vae.diagnostics.reference import Reference
from pyro_vae.evidence.checks import check_inputs, check_numbers
from pyro_vae.modes import evaluation
from pyro_vae.traces import Particles, Program, check_programs, guide_sites, log_joint, plate_depth, sample_guide
from pyro_vae.weights import ess, log_mean_exp, pareto_k

_ROWS = 16_384  # latents scored in one run of the model
_SAMPLE = ("chain", "draw", "datum")
_DIMS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("obs", "log_weight", "log_guide"), _SAMPLE),
    **dict.fromkeys(("pareto_k", "ess", "log_px"), ("datum",)),
}


def draws_to_arviz(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor | None = None,
    *,
    num_draws: int = 1000,
    seed: int = 0,
) -> Any:
    """Draw from the guide for each datum, and put the draws, their weights and the data into ArviZ's container.

    The groups are `posterior`, a variable `(1, S, N, *site)` for each site; `log_likelihood`, log p(x | z) as `obs`, and
    `sample_stats`, `log_weight` and `log_guide`, all `(1, S, N)` nats; `weights`, `pareto_k`, `ess` and `log_px` `(N,)`,
    of which `log_px` is a lower bound of log p(x) in expectation; `observed_data`, the data as `x`.

    Args:
        model, guide: Pyro programs `program(x, index)`.
        x: data `(N, *shape)`, binarised already where the model is of binary data.
        index: rows of the dataset `(N,)`, which name the data in the container; 0..N-1 unless given.
        num_draws: S, draws per datum; k-hat needs 25.
        seed: of the draws; the caller's random state is untouched.

    Returns:
        An InferenceData (ArviZ 0.23) or DataTree (1.x); `write_netcdf` writes it.

    Raises:
        ValueError: an argument out of range, data that the model cannot score, programs that do not match, or a site
            called as one of the variables above.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian
        >>> model = LinearGaussian(5, 2)
        >>> data = draws_to_arviz(model, ExactGuide(model), torch.randn(3, 5), num_draws=50)
        >>> dict(data["posterior"]["latent"].sizes)
        {'chain': 1, 'draw': 50, 'datum': 3, 'latent_dim_0': 2}
        >>> data["weights"]["log_px"].shape
        (3,)
    """
    check_numbers({"num_draws": (num_draws, 1), "seed": (seed, 0)})
    x, index = check_inputs(model, guide, x, index)
    with evaluation(model, guide, device=x.device, seed=seed):
        check_programs(model, guide, x, index)
        batches = torch.arange(len(x), device=x.device).split(max(1, _ROWS // num_draws))
        depth = plate_depth(model, guide, x, index)
        parts = [_draw(model, guide, x[rows], index[rows], num_draws, depth) for rows in batches]
    sites = {name: torch.cat([latents[name] for latents, _ in parts], 1)[None] for name in parts[0][0]}
    draws = Particles(*(torch.cat(part, 1) for part in zip(*(scores for _, scores in parts), strict=True)))
    log_w = draws.log_weights
    groups = {
        "log_likelihood": {"obs": draws.log_likelihood[None]},
        "sample_stats": {"log_weight": log_w[None], "log_guide": draws.log_guide[None]},
        "weights": {"pareto_k": pareto_k(log_w), "ess": ess(log_w), "log_px": log_mean_exp(log_w)},
    }
    return _container(sites, groups, x, index)


def reference_to_arviz(
    reference: Reference, x: Tensor, index: Tensor | None = None, *, axes: Mapping[str, int] | None = None
) -> Any:
    """Put the chains of a reference posterior and its data into ArviZ's container, groups `posterior` and `observed_data`.

    Args:
        reference: from `reference_posterior` for the same data.
        x: data `(N, *shape)`.
        index: rows of the dataset `(N,)`, which name the data in the container; 0..N-1 unless given.
        axes: which dimension of a site's own shape is the data's, by site name: needed only where an inner plate is of
            size N too. The first of size N unless given.

    Returns:
        An InferenceData (ArviZ 0.23) or DataTree (1.x), `posterior` with variables `(C, S, N, *site)`.

    Raises:
        ValueError: other data than the reference's, or a site that is called `x`.

    Example:
        >>> from pyro_vae import LinearGaussian, reference_posterior
        >>> x = torch.randn(3, 5)
        >>> found = reference_posterior(LinearGaussian(5, 2), x, num_chains=2, num_samples=10, num_warmup=10)
        >>> dict(reference_to_arviz(found, x)["posterior"]["latent"].sizes)
        {'chain': 2, 'draw': 10, 'datum': 3, 'latent_dim_0': 2}
    """
    index = torch.arange(len(x)) if index is None else index
    if index.shape != (len(x),):
        raise ValueError(f"index: got shape {tuple(index.shape)}, expected a row for each of {len(x)} data")
    sites = {}
    for name, draws in reference.draws.items():
        shape = draws.shape[2:]
        axis = (axes or {}).get(name, next((d for d, size in enumerate(shape) if size == len(x)), 0))
        if not 0 <= axis < len(shape) or shape[axis] != len(x):
            raise ValueError(f"x: got {len(x)} data, expected those of the reference, of site shape {tuple(shape)}")
        sites[name] = draws.movedim(2 + axis, 2)
    return _container(sites, {}, x, index)


def _draw(
    model: Program, guide: Program, x: Tensor, index: Tensor, num_draws: int, depth: int
) -> tuple[dict[str, Tensor], Particles]:
    """Latents by site name, each `(S, B, *site)`, and their log-densities in float64, on the CPU."""
    plates = {s["name"]: max(1, s["value"].dim() - s["fn"].event_dim) for s in guide_sites(guide, x, index)}
    latents, log_guide = sample_guide(guide, x, index, num_draws, depth)
    scores = Particles(*log_joint(model, latents, x, index, depth), log_guide)
    sites = {}
    for name, z in latents.items():
        z = z.movedim(depth, 1)  # (S, B, plates, *event), plates of size 1 where the site is in none
        sites[name] = z.reshape(num_draws, len(x), *z.shape[2 + depth - plates[name] :]).cpu()
    return sites, Particles(*(part.double().cpu() for part in scores))


def _container(
    sites: Mapping[str, Tensor], groups: Mapping[str, Mapping[str, Tensor]], x: Tensor, index: Tensor
) -> Any:
    """All groups as NumPy arrays; sites `(C, S, N, *site)`, data `(N, *shape)`."""
    dims = {name: (*_SAMPLE, *_own(name, z, 3)) for name, z in sites.items()}
    ours = {name: _DIMS[name] for group in groups.values() for name in group} | {"x": ("datum", *_own("x", x, 1))}
    taken = sites.keys() & (ours.keys() | {dim for names in (*dims.values(), *ours.values()) for dim in names})
    if taken:
        raise ValueError(f"model: got sites {sorted(taken)}, expected names that mean nothing else in the container")
    found = {"posterior": sites, **groups, "observed_data": {"x": x}}
    arrays = {name: {key: value.detach().cpu().numpy() for key, value in part.items()} for name, part in found.items()}
    return to_arviz(arrays, dims | ours, {"datum": index.tolist()})


def _own(name: str, values: Tensor, skip: int) -> list[str]:
    return [f"{name}_dim_{number}" for number in range(values.dim() - skip)]
