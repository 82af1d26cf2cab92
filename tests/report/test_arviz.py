"""ArviZ's own functions on draws and chains, in either version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import arviz
import numpy as np
import pytest
import torch

from pyro_vae import LinearGaussian, Reference
from pyro_vae.report.arviz_data import write_netcdf
from pyro_vae.report.export import reference_to_arviz
from tests.report.draws import NUM, OLD


@pytest.fixture
def axes() -> Iterator[Callable[[], list[Any]]]:
    """Matplotlib without a screen; gives the axes of the last figure."""
    from matplotlib import pyplot

    pyplot.switch_backend("Agg")
    yield lambda: [part for part in pyplot.gcf().axes if part.has_data()]
    pyplot.close("all")


def test_loo_and_compare_find_nothing_to_work_on(
    made: tuple[LinearGaussian, torch.Tensor, Any],
) -> None:
    for call in (
        lambda: arviz.loo(made[2]),
        lambda: arviz.compare({"one": made[2], "two": made[2]}),
    ):
        with pytest.raises(Exception, match=r"(?i)log.likelihood|ELPD"):
            call()
    assert (
        "log_likelihood" not in made[2].children
        if not OLD
        else "log_likelihood" not in made[2].groups()
    )


# ArviZ 0.23 with Matplotlib 3.11
@pytest.mark.filterwarnings("ignore:Passing a dict or None as alias_mapping")
def test_arviz_s_predictive_plot(made: tuple[LinearGaussian, torch.Tensor, Any], axes: Any) -> None:
    (arviz.plot_ppc if OLD else arviz.plot_ppc_dist)(made[2])
    assert axes()


def test_chains_of_a_reference(tmp_path: Path) -> None:
    model, x = LinearGaussian(5, 2), torch.randn(4, 5)
    draws = model.posterior(x).sample(torch.Size((3, 100)))
    reference = Reference({"latent": draws}, {}, {}, 0, 0.0)
    write_netcdf(
        reference_to_arviz(reference, x, torch.tensor([3, 1, 8, 5])), tmp_path / "chains.nc"
    )
    back = arviz.from_netcdf(tmp_path / "chains.nc")
    sizes = {"chain": 3, "draw": 100, "datum": 4, "latent_dim_0": 2}
    assert dict(back["posterior"]["latent"].sizes) == sizes
    np.testing.assert_array_equal(back["posterior"]["latent"].sel(datum=8), draws[:, :, 2])
    np.testing.assert_array_equal(back["observed_data"]["x"].sel(datum=5), x[3])
    table = arviz.summary(back)
    assert len(table) == 8 and "r_hat" in table.columns


def test_arviz_s_summary_and_psis(made: tuple[LinearGaussian, torch.Tensor, Any]) -> None:
    data = made[2]
    for group in ("posterior", "guide"):
        table = arviz.summary(data, kind="stats", round_to=6, group=group)
        means = table["mean"].astype(float).to_numpy().reshape(NUM, 2)
        np.testing.assert_allclose(means, data[group]["latent"].mean(("chain", "draw")), atol=1e-5)
    log_w = data["guide_stats"]["log_weight"]
    if OLD:
        khat = arviz.psislw(log_w.stack(__sample__=("chain", "draw")))[1]
    else:  # its argument is a log-likelihood, whose sign it changes
        khat = (-log_w).azstats.psislw(dim=["chain", "draw"], r_eff=1.0)[1]
    np.testing.assert_allclose(khat.values, data["weights"]["pareto_k"], atol=1e-9)


def test_arviz_s_plots_of_some_units_and_data(
    made: tuple[LinearGaussian, torch.Tensor, Any], axes: Any
) -> None:
    model, x, data = made
    arviz.plot_forest(data, var_names=["latent"], coords={"datum": [0, 3], "latent_dim_0": [1]})
    assert axes()
    arviz.plot_pair(data, var_names=["latent"], coords={"datum": [2]})
    assert axes()
    chains = Reference({"latent": model.posterior(x).sample(torch.Size((2, 100)))}, {}, {}, 0, 0.0)
    both = {"guide": data, "nuts": reference_to_arviz(chains, x)}
    told: dict[str, Any] = {"var_names": ["latent"], "coords": {"datum": [1]}}
    if OLD:
        arviz.plot_forest(list(both.values()), model_names=list(both), **told)
    else:
        arviz.plot_forest(both, **told)
    assert axes()


# ArviZ 0.23 wants an ELPDData
@pytest.mark.filterwarnings("ignore:support for DataArrays:FutureWarning")
# ArviZ 0.23 with Matplotlib 3.11
@pytest.mark.filterwarnings("ignore:Passing a dict or None as alias_mapping")
def test_arviz_s_plot_of_khat(made: tuple[LinearGaussian, torch.Tensor, Any], axes: Any) -> None:
    weights = made[2]["weights"]
    arviz.plot_khat(weights["pareto_k"] if OLD else weights)
    drawn = np.concatenate([np.asarray(part.get_offsets()) for part in axes()[0].collections])
    np.testing.assert_allclose(drawn[:, 1], weights["pareto_k"])
