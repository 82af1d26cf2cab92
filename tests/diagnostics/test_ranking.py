"""Rankings: paired errors that hold, ties that are told, and agreement with ArviZ."""

from __future__ import annotations

import inspect
import math
import warnings

import arviz as az
import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.evidence import IntegratedEstimate
from pyro_vae.report.arviz_data import to_arviz
from tests.scenarios import linear_gaussian


def estimate(log_px: torch.Tensor) -> IntegratedEstimate:
    values = log_px.double()
    return IntegratedEstimate(values, torch.zeros_like(values), 0.0, 0.0, 0, num_points=0)


def test_the_order_the_differences_and_their_paired_errors() -> None:
    common = 10 * torch.randn(400)
    noise = torch.randn(400)
    found = pv.rank(
        {
            "low": estimate(common - 3),
            "high": estimate(common),
            "near": estimate(common - 0.02 + noise - noise.mean()),
        }
    )
    assert list(found.estimates) == ["high", "near", "low"] and found.leader == "high"
    mean, error = found.difference("near")
    assert mean == pytest.approx(0.02, abs=1e-5)
    assert error == pytest.approx(noise.std().item() / 20, rel=1e-5)
    # of the data alone it would be ten times as large
    assert found.estimates["high"].std_error > 8 * error
    assert found.is_resolved("low") and not found.is_resolved("near")
    assert found.verdict == "not resolved: high and near are level on these data, the others below"
    assert "(not resolved)" in repr(found)
    assert found.to_dataframe()["below_leader"].tolist()[0] == 0.0


def test_a_leader_is_told_by_chance_in_one_of_twenty_at_most() -> None:
    # three models as good as each other: any leader is an error
    repetitions, size = 2000, 50
    torch.manual_seed(1)
    values = torch.randn(repetitions, 3, size)
    told = 0
    for three in values:
        found = pv.rank({name: estimate(row) for name, row in zip("abc", three, strict=True)})
        told += all(found.is_resolved(name) for name in found.others)
    # the leader against each: at most 5%, and far from never would be too strict
    assert told / repetitions < 0.05 + 5 * math.sqrt(0.05 * 0.95 / repetitions), told


def test_two_equal_models_are_told_apart_in_one_of_twenty() -> None:
    repetitions, size = 2000, 50
    torch.manual_seed(2)
    told = 0
    for two in torch.randn(repetitions, 2, size):
        found = pv.rank({name: estimate(row) for name, row in zip("ab", two, strict=True)})
        told += found.is_resolved(found.others[0])
    rate, error = told / repetitions, math.sqrt(0.05 * 0.95 / repetitions)
    assert abs(rate - 0.05) < 5 * error, (rate, error)


def test_the_expected_difference_is_the_divergence() -> None:
    # data of the first model: E[log p_a - log p_b] = KL(p_a || p_b), in closed form
    model, _ = linear_gaussian(4)
    other, _ = linear_gaussian(4)
    with torch.no_grad():
        other.mean += 0.3
    torch.manual_seed(3)
    x = model.sample(4000) + 0.7 * torch.randn(4000, 5).double()
    found = pv.rank(
        {name: pv.log_evidence(m, None, x, pv.Exact()) for name, m in (("a", model), ("b", other))}
    )
    covariance = model.loading @ model.loading.T + 0.49 * torch.eye(5).double()
    shift = torch.full((5,), 0.3).double()
    divergence = (shift @ torch.linalg.solve(covariance, shift) / 2).item()
    mean, error = found.difference("b")
    assert found.leader == "a" and abs(mean - divergence) < 5 * error, (mean, divergence, error)
    assert found.verdict == "a leads"


def test_bounds_are_said_to_be_bounds() -> None:
    model, x = linear_gaussian(30)
    few = pv.Importance(num_particles=10)  # too few to vouch for anything
    exact = pv.log_evidence(model, None, x, pv.Exact())
    found = pv.rank({"exact": exact, "few": pv.log_evidence(model, pv.ExactGuide(model), x, few)})
    assert "lower bounds are compared (errors vouched for: few 0.0%)" in found.verdict


def test_arviz_compares_to_the_same() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(-80, 10, 500)
    second = first - 0.3 + rng.normal(0, 1, 500)
    found = pv.rank({"a": estimate(torch.tensor(first)), "b": estimate(torch.tensor(second))})

    def with_likelihood(values: np.ndarray) -> object:
        # log p(x_n) has no parameters: the same in each draw, but for tails that ArviZ can see
        each = values + 1e-7 * rng.normal(size=(2, 50, 500))
        groups = {"posterior": {"m": rng.normal(size=(2, 50))}, "log_likelihood": {"x": each}}
        dims = {"m": ["chain", "draw"], "x": ["chain", "draw", "datum"]}
        return to_arviz(groups, dims, {})

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the draws are all alike
        both = {"a": with_likelihood(first), "b": with_likelihood(second)}
        rounds = "round_to" in inspect.signature(az.compare).parameters  # ArviZ 1.x
        table = az.compare(both, **({"round_to": "none"} if rounds else {}))
    mean, error = found.difference("b")
    theirs = table.loc["b"]
    # ArviZ 1.x gives it the other sign
    assert abs(float(theirs["elpd_diff"])) == pytest.approx(500 * mean, rel=1e-3)
    # their variance divides by N, ours by N - 1
    assert float(theirs["dse"]) == pytest.approx(500 * error * math.sqrt(499 / 500), rel=1e-3)
    assert table.index[0] == found.leader
