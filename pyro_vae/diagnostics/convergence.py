"""Whether the chains of a sampler agree, by ArviZ (either version)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def convergence(draws: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split R-hat and bulk effective sample size of every unit `(*site)`, from draws
    `(chains, draws, *site)` by name.

    NaN, or infinite, where chains do not move.

    References:
        Vehtari, Gelman, Simpson, Carpenter, Buerkner (2021). Rank-normalization, folding, and
            localization: an improved R-hat for assessing convergence of MCMC. arXiv:1903.08008.
    """
    import arviz  # a second, which only a reference needs
    import xarray

    arrays = {}
    for name, values in draws.items():
        dims = ("chain", "draw", *(f"{name}_{number}" for number in range(values.ndim - 2)))
        arrays[name] = xarray.DataArray(values, dims=dims)
    whole = xarray.Dataset(arrays)
    with np.errstate(divide="ignore", invalid="ignore"):  # of chains that do not move
        r_hat, ess = arviz.rhat(whole), arviz.ess(whole)
    return {name: r_hat[name].values for name in draws}, {name: ess[name].values for name in draws}
