"""Calibration against the linear-Gaussian model, whose exact posterior is known: right guides pass,
wrong ones are told.
"""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vae import MLP, Amortized, ExactGuide, LinearGaussian, MeanField, SemiAmortized
from pyro_vae.diagnostics.calibration import DENSITIES, check_calibration
from pyro_vae.diagnostics.uniformity import p_value
from tests.diagnostics.calibrated import LIKE, prior, two_site_guide, two_site_model
from tests.scenarios import Distorted


def test_the_exact_guide_is_flagged_at_most_at_alpha() -> None:
    model, alpha, num = LinearGaussian(5, 2, sigma=0.7), 0.05, 100
    found = [
        check_calibration(
            model, ExactGuide(model), LIKE, num_simulations=40, num_draws=19, seed=seed, alpha=alpha
        )
        for seed in range(num)
    ]
    rate, error = (
        sum(not one.calibrated for one in found) / num,
        math.sqrt(alpha * (1 - alpha) / num),
    )
    assert rate < alpha + 5 * error, (
        f"flagged {rate:.3f}, expected at most {alpha} +- {error:.3f} (n = {num})"
    )
    for name in found[0].ranks:
        ranks = torch.cat([one.ranks[name] for one in found])
        counts, expected = torch.bincount(ranks, minlength=20), len(ranks) / 20
        z = (counts - expected).abs().max() / math.sqrt(expected * 0.95)
        assert z < 5, f"{name}: {counts.tolist()}, expected {expected} each, {z:.1f} errors off"
        assert p_value(ranks, 19) > 1e-3


@pytest.mark.parametrize(
    ("change", "flagged", "cause"),
    [
        ({"width": 0.5}, ("latent[0]", "latent[1]", "log_guide"), "too narrow in 2 of 2 units"),
        ({"width": 2.0}, ("latent[0]", "latent[1]", "log_guide"), "too wide in 2 of 2 units"),
        ({"shift": (0.5, 0.0)}, ("latent[0]",), "biased (too high) in 1 of 2 units"),
        ({"shift": (-0.5, 0.0)}, ("latent[0]",), "biased (too low) in 1 of 2 units"),
    ],
    ids=str,
)
def test_a_wrong_guide_is_flagged_and_told(
    change: dict[str, Any], flagged: tuple[str, ...], cause: str
) -> None:
    model = LinearGaussian(5, 2, sigma=0.7)
    found = check_calibration(model, Distorted(model, **change), LIKE, num_simulations=300)
    assert not found.calibrated and set(flagged) <= set(found.flagged), found.p_values
    verdict = found.verdict
    assert verdict.startswith("miscalibrated: ") and verdict.endswith(f": the guide is {cause}"), (
        verdict
    )
    if "shift" in change:
        assert "latent[1]" not in found.flagged


def test_the_prior_passes_on_its_units_and_fails_on_what_looks_at_x() -> None:
    found = check_calibration(LinearGaussian(5, 2, sigma=0.7), prior, LIKE, num_simulations=300)
    assert set(found.flagged) == {"log_joint", "log_likelihood"}, found.p_values
    assert (
        found.p_values["log_likelihood"] < 1e-6
        and min(found.p_values[f"latent[{i}]"] for i in (0, 1)) > 0.01
    )
    assert found.verdict.endswith("(p < 1e-4): the guide ignores x, or a part of it")


def test_coverage_is_that_of_the_closed_form() -> None:
    """One latent whose scale is off by a factor s: the region of level c holds the truth with 2
    Phi(s z_c) - 1.
    """
    model, levels = (
        LinearGaussian(5, 1, sigma=0.7),
        torch.tensor([0.5, 0.8, 0.95], dtype=torch.float64),
    )
    z_c = math.sqrt(2) * torch.erfinv(levels)
    for scale in (1.0, 0.5, 2.0):
        found = check_calibration(
            model, Distorted(model, scale), LIKE, num_simulations=1000, num_draws=499
        )
        held, _ = found.coverage(levels.tolist())
        truth = torch.erf(scale * z_c / math.sqrt(2))
        error = (truth * (1 - truth) / 1000).sqrt()
        assert ((held - truth).abs() < 5 * error).all(), (
            f"scale {scale}: {held}, expected {truth} +- {error}"
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_several_sites_and_an_inner_plate(dtype: torch.dtype) -> None:
    like = torch.ones(4, 3, dtype=dtype)
    guides = two_site_guide(1.0), two_site_guide(0.25)
    right, wrong = (
        check_calibration(two_site_model, guide, like, num_simulations=300, num_draws=29)
        for guide in guides
    )
    assert list(right.ranks) == ["a[0]", "b[0]", "b[1]", "b[2]", *DENSITIES]
    assert all(
        ranks.shape == (300,) and ranks.min() >= 0 and ranks.max() <= 29
        for ranks in right.ranks.values()
    )
    assert right.calibrated, right.p_values
    assert "b[1]" in wrong.flagged and not {"a[0]", "b[0]", "b[2]"} & set(wrong.flagged), (
        wrong.p_values
    )
    assert wrong.verdict.endswith("the guide is too narrow in 1 of 4 units")


def test_discrete_quantities_tie_and_stay_uniform() -> None:
    def model(x: torch.Tensor, index: Any = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Bernoulli(0.1 + 0.8 * z[..., None]).to_event(1), obs=x)

    def guide(x: torch.Tensor, index: Any = None) -> None:
        one, zero = (
            0.3 * dist.Bernoulli(0.9).log_prob(x).exp(),
            0.7 * dist.Bernoulli(0.1).log_prob(x).exp(),
        )
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Bernoulli((one / (one + zero))[:, 0]))

    found = check_calibration(model, guide, torch.zeros(1, 1), num_simulations=2000, num_draws=9)
    assert found.calibrated, found.p_values
    assert all(len(ranks.unique()) == 10 for ranks in found.ranks.values())


def test_a_guide_that_is_noisy_besides_its_sites_is_one_q_in_both_runs() -> None:
    """Its mean is off by noise of its own, which is in the density of its own draws: coverage is
    that of a shift.
    """
    model = LinearGaussian(5, 1, sigma=0.7)

    def noisy(x: torch.Tensor, index: Any = None) -> None:
        exact = model.posterior(x)
        # a draw that no site knows of
        mean = exact.mean + 2 * torch.randn(exact.mean.shape) * exact.stddev
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("latent", dist.MultivariateNormal(mean, scale_tril=exact.scale_tril))

    held, _ = check_calibration(model, noisy, LIKE, num_simulations=2000, num_draws=199).coverage(
        [0.5, 0.95]
    )
    # z* - mean has variance 1 + 4
    for share, level in zip(held.tolist(), (0.5, 0.95), strict=True):
        truth = math.erf(
            torch.special.ndtri(torch.tensor((1 + level) / 2)).item() / math.sqrt(2 * 5)
        )
        error = math.sqrt(truth * (1 - truth) / 2000)
        assert abs(share - truth) < 5 * error, f"{share}, expected {truth} +- {error}"
    amortized = SemiAmortized(
        Amortized(MeanField(2), MLP(5, ())), LinearGaussian(5, 2, sigma=0.7), num_steps=2
    )
    assert (
        check_calibration(
            LinearGaussian(5, 2, sigma=0.7), amortized, LIKE, num_simulations=20
        ).num_simulations
        == 20
    )


def test_it_is_repeatable_and_leaves_no_trace() -> None:
    model = LinearGaussian(5, 2, sigma=0.7)
    encoder = nn.Sequential(MLP(5, (4,)), nn.Dropout(0.5))
    encoder.out_features = 4  # type: ignore[assignment]
    guide = Amortized(MeanField(2), encoder).train()
    options = {"num_simulations": 250, "num_draws": 99}
    state = torch.get_rng_state()
    first, second = (check_calibration(model, guide, LIKE, **options) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state) and guide.training and model.training
    other = check_calibration(model, guide, LIKE, seed=1, **options)
    for name, ranks in first.ranks.items():
        assert torch.equal(ranks, second.ranks[name]) and not torch.equal(ranks, other.ranks[name])
    # of like, which do not matter
    values = check_calibration(model, guide, torch.randn(7, 5), **options)
    evaluated = check_calibration(model, guide.eval(), LIKE, **options)
    for name, ranks in first.ranks.items():
        assert torch.equal(ranks, values.ranks[name]) and torch.equal(ranks, evaluated.ranks[name])


def test_the_verdict_of_a_right_guide() -> None:
    model = LinearGaussian(5, 2, sigma=0.7).double()
    found = check_calibration(model, ExactGuide(model), LIKE.double(), num_simulations=200)
    assert (
        found.verdict
        == "calibrated: no deviation of 5 quantities at the 5% level (200 simulations)"
    )
    assert found.calibrated and not found.flagged
