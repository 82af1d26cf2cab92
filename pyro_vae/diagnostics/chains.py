"""Chains of the no-U-turn sampler on a model's posterior: all of them at once, datum by datum, or
Pyro's own NUTS.

Pyro's moves all latents as one vector, one chain after another: it runs whatever model Pyro runs,
with latents that the data share too, and is what the other one is held against. Of its leapfrog
steps on two images of `experiments/mnist_gated` (1.5 ms) the model takes 1.0 ms and the tree, in
Python, the rest: a graph of the potential would make it 2.7 times as fast at most.
"""

from __future__ import annotations

import torch
from pyro.infer import MCMC, NUTS
from pyro.infer.autoguide.initialization import init_to_sample
from torch import Tensor

from pyro_vae.evidence.nuts import Lanes, Sizes, nuts
from pyro_vae.graphs import Engine, Guard
from pyro_vae.programs.calls import first_line, in_one_line
from pyro_vae.programs.coordinates import Coordinates, Place, refuse_masked
from pyro_vae.programs.pair import Pair
from pyro_vae.programs.parameters import as_density
from pyro_vae.programs.traces import latent_sites
from pyro_vae.progress import Progress, counting, shares

_LEAPFROG = 31  # steps of a transition, about

Found = tuple[dict[str, Tensor], int]
"""Draws by site name `(C, S, *site)`, and the number of transitions that have diverged."""


def posterior_draws(
    pair: Pair, sizes: Sizes, engine: Engine = "auto", progress: Progress | None = None
) -> Found:
    """Chains on the posterior of the latents of all data of a pair, as `reference_posterior` has
    them.

    Raises:
        ValueError: a model whose posterior NUTS cannot sample; with the engine "compiled", one that
            has no graph, or whose latents are not each datum's own.
    """
    refuse_masked(latent_sites(pair.model, pair.x, pair.index))
    layout = None if engine == "pyro" else _layout(pair, engine)
    if layout is None:
        return _by_pyro(pair, sizes, progress)

    calls, rows = sizes.num_transitions * _LEAPFROG, sizes.num_chains * len(pair)
    guard = Guard(engine, calls, rows, level=9)
    with in_one_line(pair.x, sizes.num_chains):
        z, divergent = nuts(pair, layout, sizes, guard, progress)
        values = layout.unpack(z)[0]
    return {place.name: _as_site(values[place.name], place) for place in layout.places}, divergent


def _layout(pair: Pair, engine: Engine) -> Coordinates | None:
    """Of the latents of each datum; None where they are not each datum's own, or the model does not
    run with several chains at once.
    """
    few = pair.few(2)
    try:
        with in_one_line(few.x, 2):
            layout = Coordinates.of(few.model, few.x, few.index, pair.depth)
            Lanes(few, layout, 2, Guard("pyro")).drawn()
    except ValueError:
        if engine == "compiled":
            raise
        return None
    return layout


def _as_site(values: Tensor, place: Place) -> Tensor:
    """Draws `(C, S, *middle, N, *event)` in the shape of the site's own values."""
    outer = -min([-1, *place.plates])  # its outermost plate, the data's being the first
    unused = len(place.middle) + 1 - outer
    return values.flatten(1, 1 + unused).detach()


def _by_pyro(pair: Pair, sizes: Sizes, progress: Progress | None) -> Found:
    """By Pyro's NUTS, chain by chain, all latents as one vector."""
    chains, divergent = [], 0
    for told in shares(progress, *[1] * sizes.num_chains):
        kernel = NUTS(as_density(pair.model), init_strategy=init_to_sample)
        hook = counting(sizes.num_transitions, told)
        mcmc = MCMC(kernel, sizes.num_samples, sizes.num_warmup, hook_fn=hook, disable_progbar=True)
        try:
            with torch.enable_grad():
                mcmc.run(pair.x, pair.index)
        except (ValueError, RuntimeError, NotImplementedError) as error:
            raise ValueError(
                f"model: NUTS cannot sample its posterior: {first_line(error)}"
            ) from error
        chains.append(mcmc.get_samples())
        divergent += sum(len(steps) for steps in mcmc.diagnostics()["divergences"].values())

    joined = {name: torch.stack([chain[name] for chain in chains]) for name in chains[0]}
    return {name: value.detach() for name, value in joined.items()}, divergent
